"""The plan for many GPUs follows from the costs of the jobs."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import plan
import pytest
import yaml

from sibp.experiments import specs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("seconds", "gpus", "expected"),
    [
        ([3, 1, 2], 1, 6),
        ([3, 1, 2], 2, 3),
        ([3, 1, 2], 64, 3),  # the longest job is a bound
        ([3, 3, 2, 2, 2], 2, 7),  # longest first: 3 + 2 + 2 beside 3 + 2; the best would be 6
    ],
)
def test_longest_jobs_go_first(seconds, gpus, expected):
    assert plan.makespan(seconds, gpus) == expected


@pytest.fixture
def jobs():
    row = {"exhibit": "j-fig4", "scale": "laptop", "device": "H", "device_kind": "cuda", "threads": 1}
    return pd.DataFrame([row | {"method": "sgd", "total_seconds": 3600.0}, row | {"method": "sibp", "total_seconds": 7200.0}])


def test_the_table_names_wall_time_idle_share_and_the_longest_job(jobs):
    lines = plan.table(jobs, [1, 2]).splitlines()
    assert lines[2:4] == ["| 1 | 3.0 h | 0% | 3.0 h |", "| 2 | 2.0 h | 25% | 4.0 h |"]
    assert lines[-1] == "2 jobs; no number of GPUs is quicker than the longest of them, j-fig4/sibp, 2.0 h."


def test_seconds_grow_with_the_work_of_another_scale(jobs):
    same, full = plan.at_scale(jobs, "laptop"), plan.at_scale(jobs, "full")
    assert same["total_seconds"].tolist() == jobs["total_seconds"].tolist()
    assert (full["total_seconds"] > 10 * jobs["total_seconds"]).all()
    assert "times how much more work each is at scale full" in plan.told(jobs, scale="full")


def test_a_job_that_trains_for_so_many_seconds_takes_these_at_any_scale(jobs):
    timed = jobs.assign(exhibit="a-fig4")
    seconds = specs.load_experiment(Path("workflow/experiments/a-fig4.yaml")).training.max_seconds
    assert plan.at_scale(timed, "full")["total_seconds"].tolist() == [seconds, seconds]


@pytest.mark.parametrize(
    ("profile", "plugins"),
    [
        ("slurm", ["snakemake_executor_plugin_slurm"]),
        ("kubernetes", ["snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs"]),
    ],
)
def test_a_dry_run_with_the_profile_of_a_cluster_plans_every_job(profile, plugins):
    if missing := [name for name in plugins if importlib.util.find_spec(name) is None]:
        pytest.skip(f"no {missing[0]}")
    words = [
        "snakemake",
        "-n",
        "--quiet",
        "--nolock",
        "--workflow-profile",
        f"profiles/{profile}",
        "--container-image",
        "registry.example/sibp",
    ]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["default", "slurm", "kubernetes"])
def test_every_word_of_a_profile_is_an_option_of_snakemake_or_of_its_plugin(profile):
    words = yaml.safe_load((ROOT / f"profiles/{profile}/profile.yaml").read_text(encoding="utf-8"))
    options = subprocess.run([sys.executable, "-m", "snakemake", "--help"], capture_output=True, text=True, check=True).stdout
    assert [word for word in words if f"--{word}" not in options and not word.startswith(f"{profile}-")] == []


def test_files_of_the_repository_stay_in_the_repository_where_outputs_are_stored_elsewhere():
    """A storage provider takes every input that is not marked as local for one of its own."""
    rules = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "workflow/rules").glob("*.smk"))
    inputs = re.findall(r"^        (?:\w+=)?(f?\"(?:workflow|docs|paper)/.*)", rules, flags=re.MULTILINE)
    assert [line for line in inputs if not line.startswith("f") and "{}" not in line] == []
