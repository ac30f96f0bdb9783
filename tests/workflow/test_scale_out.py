"""The plan for many GPUs follows from the costs of the jobs."""

from pathlib import Path

import pandas as pd
import plan
import pytest

from sibp import specs


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
