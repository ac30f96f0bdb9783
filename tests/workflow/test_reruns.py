"""What is trained again after an edit, and what is not: two small experiments are trained once, then Snakemake is asked for its plan."""

import os
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import copy_repository, jobs, snakemake

SETTINGS = {
    "title": "A test",
    "paper": {"source": "J", "exhibit": "none", "section": "0"},
    "data": {"name": "chain", "train": 10},
    "network": {"kind": "mlp", "widths": [1, 1, 1], "activation": "identity", "bias": False, "init": {"mean": 0.5, "std": 0.01}},
    "loss": "squared",
    "training": {"steps": 2, "batch_size": "full", "evaluate_every": {"steps": 1}, "measure": ["train"]},
    "seeds": 2,
}
METHODS = {"t-one": {"sgd": {"eta": 0.01}, "sibp": {"eta": 0.01, "lam": 1.0}}, "t-two": {"sgd": {"eta": 0.02}}}
WORDS = ("--quiet", "rules", "--config", "scale=full", "device=cpu", "root=out")
AT_THE_END = """

onsuccess:
    Path("limiter").write_text(str(workflow.scheduler.job_rate_limiter))
"""
TARGETS = [f"out/results/summary/{name}.csv" for name in METHODS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of the repository with two experiments more, which have been trained."""
    copy = copy_repository(tmp_path_factory.mktemp("reruns"), *METHODS)
    for name, methods in METHODS.items():
        text = yaml.safe_dump({"id": name, **SETTINGS, "methods": methods})
        (copy / f"workflow/experiments/{name}.yaml").write_text(text)
    with (copy / "Snakefile").open("a") as file:
        file.write(AT_THE_END)
    snakemake(copy, *TARGETS, *WORDS)
    return copy


def test_jobs_of_this_machine_are_not_limited_by_the_second(folder):
    """With a limit, each time that Snakemake looks for jobs has it look again a second later: the more jobs have ended, the more often."""
    assert (folder / "limiter").read_text() == "None"


@pytest.fixture
def plan_after(folder):
    """Edit a file, ask for the plan, put the file back."""
    edited = {}

    def plan(name: str, *replacement: str) -> tuple[dict[str, int], str]:
        file = folder / name
        text = edited[file] = file.read_text(encoding="utf-8")
        assert not replacement or text.count(replacement[0]) >= 1
        file.write_text(text.replace(*replacement, 1) if replacement else text, encoding="utf-8")
        os.utime(file)
        said = snakemake(folder, "--dry-run", *TARGETS, *WORDS[2:])
        return jobs(said), said

    yield plan
    for file, text in edited.items():
        file.write_text(text, encoding="utf-8")


def test_touched_files_rerun_nothing(plan_after, folder):
    for name in ("workflow/experiments/t-one.yaml", "workflow/scripts/summarise.py", "sibp/training/runs.py"):
        os.utime(folder / name)
    assert plan_after("sibp/methods/sibp.py")[0] == {}


def test_comments_and_docstrings_of_a_method_rerun_nothing(plan_after):
    assert plan_after("sibp/methods/sibp.py", '"""', '"""Other words. ')[0] == {}


def test_code_of_a_method_reruns_its_jobs_and_no_others(plan_after):
    planned, said = plan_after("sibp/methods/sibp.py", "\nclass ", "\nEDITED = 1\n\n\nclass ")
    assert planned == {"train": 1, "summary": 1}
    assert "runs/t-one/sibp.parquet" in said and "Params have changed" in said
    assert "label=sgd" not in said


def test_more_seeds_rerun_that_experiment_only(plan_after):
    planned, said = plan_after("workflow/experiments/t-two.yaml", "seeds: 2", "seeds: 3")
    assert planned == {"train": 1, "summary": 1}
    assert "exhibit=t-two, label=sgd" in said


def test_a_step_size_reruns_its_label_only(plan_after):
    planned, said = plan_after("workflow/experiments/t-one.yaml", "lam: 1.0", "lam: 2.0")
    assert planned == {"train": 1, "summary": 1}
    assert "exhibit=t-one, label=sibp" in said


def test_title_and_paper_rerun_nothing(plan_after):
    assert plan_after("workflow/experiments/t-one.yaml", "title: A test", "title: Another title")[0] == {}
