"""What follows from an experiment's settings: members, groups, steps, and when two jobs are the same."""

import subprocess
import sys

import pytest

from sibp.experiments.jobs import Job, jobs
from sibp.experiments.settings import Every, Training
from sibp.experiments.yaml_file import SpecError
from tests.unit.tiny import experiment


def test_members_are_numbered_seed_by_seed_with_the_last_grid_key_fastest():
    crossed = Job(experiment(methods={"sibp": {"grid": {"eta": [1, 2], "lam": [3, 4]}}}), "sibp")
    points = [(1, 3), (1, 4), (2, 3), (2, 4)]
    expected = [(4 * seed + i, seed, *point) for seed in (0, 1) for i, point in enumerate(points)]
    assert [(m.number, m.seed, m.options.eta, m.options.lam) for m in crossed.members] == expected


def test_seeds_may_start_elsewhere():
    job = Job(experiment(first_seed=1000), "sgd")
    assert list(job.seeds) == [1000, 1001] == sorted({member.seed for member in job.members})


def test_members_are_grouped_in_their_order_at_most_as_many_as_the_ensemble_holds():
    grid = {"sgd": {"grid": {"eta": [1, 2, 3, 4, 5]}}}
    assert Job(experiment(methods=grid, seeds=1, training__ensemble=2), "sgd").groups == [[0, 1], [2, 3], [4]]
    assert Job(experiment(methods=grid, seeds=1, training__mode="timed"), "sgd").groups == [[0], [1], [2], [3], [4]]


def test_members_that_differ_in_more_than_numbers_train_apart():
    method = {"eta": 1, "grid": {"cg_steps": [5, 3], "l1": [0, 0.1, 0.2]}}
    groups = Job(experiment(methods={"sibp": method}, seeds=2, training__ensemble=10), "sibp").groups
    assert groups == [[0, 6], [1, 2, 7, 8], [3, 9], [4, 5, 10, 11]]


def test_a_label_that_is_not_there_is_refused():
    with pytest.raises(SpecError, match="tiny: methods: got 'sibp', need sgd"):
        Job(experiment(), "sibp")
    assert [job.name for job in jobs(experiment())] == ["tiny/sgd"]


SAME = [
    {"title": "Another title"},
    {"note": "a note"},
    {"methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}}, "adam": {}}},
    {"methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}, "training": {"epochs": 2}}}},
    {"network__bias": True},
]
OTHER = [
    {"seeds": 3},
    {"first_seed": 1},
    {"loss": "squared"},
    {"data__train": 50},
    {"data__generated": False},
    {"network__init": {"std": 0.1}},
    {"training__batch_size": 10},
    {"training__evaluate_every": {"epochs": 2}},
    {"methods": {"sgd": {"grid": {"eta": [0.01, 0.1]}}}},  # members are numbered otherwise
    {"methods": {"sgd": {"momentum": 0.5, "grid": {"eta": [0.1, 0.01]}}}},
    {"methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}, "training": {"sampling": "replacement"}}}},
    {"methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}, "network": {"widths": [784, 7, 10]}}}},
]


@pytest.mark.parametrize("changes", SAME, ids=str)
def test_jobs_that_differ_in_names_and_other_labels_are_the_same(changes):
    assert Job(experiment(**changes), "sgd").digest == Job(experiment(), "sgd").digest


@pytest.mark.parametrize("changes", OTHER, ids=str)
def test_jobs_that_differ_in_what_decides_a_number_are_not(changes):
    assert Job(experiment(**changes), "sgd").digest != Job(experiment(), "sgd").digest


def test_the_scale_s_name_does_not_matter_but_what_it_caps_does():
    full, other = (experiment().model_copy(update={"scale": scale}) for scale in ("full", "laptop"))
    assert Job(full, "sgd").digest == Job(other, "sgd").digest


@pytest.mark.parametrize(
    ("every", "points"),
    [
        ({"epochs": 1}, [0, 10, 20, 25]),
        ({"epochs": 9}, [0, 25]),
        ({"steps": 8}, [0, 8, 16, 24, 25]),
        ({"log_points": 4}, [0, 1, 2, 5, 11, 25]),
    ],
)
def test_evaluation_points_include_the_start_and_the_end(every, points):
    assert Training(steps=25, batch_size=10, evaluate_every=Every(**every)).evaluation_points(100) == points


def test_epochs_become_steps_with_a_last_smaller_batch():
    assert Training(epochs=3, batch_size=20).total_steps(50) == 9
    assert Training(epochs=3, batch_size="full").total_steps(50) == 3
    assert Training(steps=7, batch_size=20).total_steps(50) == 7
    assert (Training(epochs=1, batch_size=20).batch(50), Training(epochs=1, batch_size="full").batch(50)) == (20, 50)


def test_an_experiment_is_resolved_without_torch_or_numpy():
    code = """
import sys
from sibp.experiments import jobs, specs
experiment = specs.load_experiment("workflow/experiments/a-table1.yaml", shallow=True)
resolved = specs.resolve(experiment, specs.load_scale("laptop"), shallow=True)
print(*(job.digest[:8] + str(job.steps) for job in jobs.jobs(resolved)), {"torch", "numpy"} & sys.modules.keys())
"""
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(words) > 1 and words[-1] == "set()"
