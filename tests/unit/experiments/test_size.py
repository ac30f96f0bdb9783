"""The one decision on the papers' size, and its words."""

import pytest

from sibp.experiments import size
from sibp.experiments.jobs import Job
from tests.unit.tiny import experiment

FULL = Job(experiment(), "sgd")


def job(**changes):
    return Job(experiment(**changes), "sgd")


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 9, "first_seed": 3},
        {"training__evaluate_every": {"steps": 1}},
        {"training__ensemble": 1},
        {"methods": {"sgd": {"eta": 1}}},
        {"title": "Another"},
    ],
)
def test_seeds_options_and_measures_are_no_part_of_the_size(change):
    assert size.has_papers_size(job(**change), FULL)
    assert size.reductions(job(**change), FULL) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data__train": 40}, ["40 of 60 training samples"]),
        ({"data__validation": 0, "data__test": 10}, ["0 of 10 validation samples", "10 of 20 test samples"]),
        ({"training__epochs": 1}, ["1 of 2 epochs"]),
        ({"training__batch_size": 10}, ["batches of 10 for 20"]),
        ({"training__batch_size": "full"}, ["batches of full for 20"]),
        ({"network__widths": [784, 4, 10]}, ["widths 784-4-10 for 784-6-10"]),
        ({"network__init": {"std": 0.01}}, ["another initial law"]),
        ({"network__bias": False}, ["other settings"]),
        ({"training__epochs": 3}, ["other settings"]),
        ({"data__name": "fashion-mnist"}, ["other settings"]),
        ({"methods": {"sgd": {"eta": 1, "training": {"epochs": 1}}}}, ["1 of 2 epochs"]),
        ({"methods": {"sgd": {"eta": 1, "network": {"init": {"std": 0.01}}}}}, ["another initial law"]),
    ],
)
def test_data_network_length_and_batch_are_the_size(change, words):
    assert not size.has_papers_size(job(**change), FULL)
    assert size.reductions(job(**change), FULL) == words


def test_seconds_are_a_length():
    full, short = job(training__max_seconds=60), job(training__max_seconds=7.5)
    assert size.reductions(short, full) == ["7.5 of 60 seconds"]


def test_a_stand_in_is_not_the_papers_data():
    assert size.reductions(FULL, job(data__generated=False)) == ["generated data"]


def test_the_chain_of_scalars_is_drawn_at_every_scale():
    chain = {"data": {"name": "chain", "train": 10}, "network": {"kind": "chain", "widths": [1] * 8}, "loss": "squared"}
    assert size.has_papers_size(job(**chain | {"data__generated": True}), job(**chain))
