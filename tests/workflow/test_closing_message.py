"""The last lines of `make`: where the results are, also when only some exhibits were asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COSTS = "scale,device,total_seconds,exhibit,members\nlaptop,a CPU,90,x,3\n"


@pytest.mark.parametrize("words", [("--root", "{}"), ("--root", "elsewhere", "--config", "scale=laptop", "root={}", "-n")])
@pytest.mark.parametrize(("costs", "said"), [(COSTS, "Scale: laptop"), (None, "The exhibits asked for are in")])
def test_it_says_where_the_results_are(tmp_path, costs, said, words):
    (tmp_path / "results").mkdir()
    if costs:
        (tmp_path / "results" / "provenance.csv").write_text(costs)
    command = [sys.executable, "-m", "tools.closing_message", *(word.format(tmp_path) for word in words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said in done.stdout and str(tmp_path / "figures") in done.stdout
