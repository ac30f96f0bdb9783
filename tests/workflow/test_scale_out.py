"""The plan for many GPUs follows from the costs of the jobs."""

import pandas as pd
import plan
import pytest


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


def test_the_table_names_hours_use_and_the_longest_job():
    jobs = pd.DataFrame({"exhibit": "j-fig4", "method": ["sgd", "sibp"], "total_seconds": [3600, 7200], "device": "H"})
    lines = plan.table(jobs, [1, 2]).splitlines()
    assert lines[2:4] == ["| 1 | 3.00 | 100% | 3.0 |", "| 2 | 2.00 | 75% | 4.0 |"]
    assert lines[-1] == "2 jobs measured on H; the longest, j-fig4/sibp, 2.00 h, is a bound for any number."
