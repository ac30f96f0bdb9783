"""How long the workflow takes on so many GPUs, from what its jobs cost: python plan.py [--provenance CSV] [--gpus 1 8 64] [--scale S]

Jobs depend on the data only, so any order will do; the longest job goes first, each to the GPU that is free soonest. The time is at
least that of the longest job, the critical path, and at least the sum over the number of GPUs.
"""

import argparse
import heapq
import math
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import campaign
import pandas as pd
from units import duration

from sibp import doctor

GPUS = (1, 8, 64)


def makespan(seconds: list[float], gpus: int) -> float:
    """Return when the last job ends if each, longest first, goes to the GPU that is free soonest."""
    free = [0.0] * gpus
    for cost in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + cost)
    return max(free)


def table(jobs: pd.DataFrame, gpus: Sequence[int]) -> str:
    """Return a Markdown table: wall time, idle share and GPU time for each number of GPUs; then the critical path."""
    seconds = jobs["total_seconds"].tolist()
    lines = ["| GPUs | wall time | idle | GPU time |", "| ---: | ---: | ---: | ---: |"]
    for count in gpus:
        span = makespan(seconds, count)
        lines.append(
            f"| {count} | {duration(span)} | {max(0.0, 1 - sum(seconds) / (span * count)):.0%} | {duration(span * count)} |"
        )
    longest = jobs.loc[jobs["total_seconds"].idxmax()]
    words = f"{longest['exhibit']}/{longest['method']}, {duration(longest['total_seconds'])}"
    return "\n".join([*lines, "", f"{len(jobs)} jobs; no number of GPUs is quicker than the longest of them, {words}."])


def measured_on(jobs: pd.DataFrame) -> str:
    """Return where the jobs' seconds come from."""
    machines = {
        f"{row.device}, {row.threads} thread{'s' * (row.threads > 1)}" if row.device_kind == "cpu" else row.device
        for row in jobs.itertuples()
    }
    return f"Seconds of jobs at scale {', '.join(jobs['scale'].unique())} on {'; '.join(sorted(machines))}"


def at_scale(jobs: pd.DataFrame, scale: str) -> pd.DataFrame:
    """Return the jobs with the seconds that they would take at another scale on the same machine: in proportion to their work.

    A job that trains for so many seconds takes these, whatever the machine.
    """
    jobs, experiment = jobs.copy(), cache(campaign.experiment)
    for row in jobs.itertuples():
        there, here = (doctor.cost(experiment(row.exhibit, name)[1], row.method) for name in (scale, row.scale))
        growth = (there.flops + campaign.LAUNCH * there.launches) / (here.flops + campaign.LAUNCH * here.launches)
        jobs.loc[row.Index, "total_seconds"] = there.limit if there.limit < math.inf else row.total_seconds * growth
    return jobs


def told(jobs: pd.DataFrame, gpus: Sequence[int] = GPUS, scale: str | None = None) -> str:
    """Return the table for these jobs, and above it what its seconds are."""
    said = measured_on(jobs)
    if scale:
        jobs, said = at_scale(jobs, scale), f"{said}, times how much more work each is at scale {scale}"
    return f"{said}.\n\n{table(jobs, gpus)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provenance", type=Path, default=Path("results/reference/provenance.csv"))
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS)
    parser.add_argument("--scale", help="another scale than that of the measured jobs: seconds grow with the work")
    arguments = parser.parse_args()
    if not arguments.provenance.is_file():
        sys.exit(f"plan: {arguments.provenance} is missing: `make` writes results/provenance.csv, `make reference` keeps it")
    if min(arguments.gpus) < 1:
        sys.exit(f"plan: gpus: got {min(arguments.gpus)}, need a whole number >= 1")
    jobs = pd.read_csv(arguments.provenance)
    try:
        print(told(jobs, arguments.gpus, arguments.scale))
    except ValueError as fault:  # a scale that does not exist, or a job that is no more
        sys.exit(f"plan: {fault}")


if __name__ == "__main__":
    main()
