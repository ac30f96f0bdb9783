"""How long the workflow takes on so many GPUs, from what its jobs cost: python plan.py [--provenance CSV] [--gpus 1 8 64]

Jobs depend on the data only, so any order will do; the longest job goes first, each to the GPU that is free soonest. The time is at
least that of the longest job, and at least the sum over the number of GPUs.
"""

import argparse
import heapq
import sys
from pathlib import Path

import pandas as pd


def makespan(seconds: list[float], gpus: int) -> float:
    """Return when the last job ends if each, longest first, goes to the GPU that is free soonest."""
    free = [0.0] * gpus
    for cost in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + cost)
    return max(free)


def table(jobs: pd.DataFrame, gpus: list[int]) -> str:
    """Return a Markdown table: time, share of GPU time in use, and GPU-hours for each number of GPUs."""
    seconds = jobs["total_seconds"].tolist()
    lines = ["| GPUs | hours | in use | GPU-hours |", "| ---: | ---: | ---: | ---: |"]
    for count in gpus:
        span = makespan(seconds, count)
        lines.append(f"| {count} | {span / 3600:.2f} | {sum(seconds) / (span * count):.0%} | {span * count / 3600:.1f} |")
    longest = jobs.loc[jobs["total_seconds"].idxmax()]
    words = f"{longest['exhibit']}/{longest['method']}, {longest['total_seconds'] / 3600:.2f} h"
    devices = ", ".join(jobs["device"].unique())
    return "\n".join([*lines, "", f"{len(jobs)} jobs measured on {devices}; the longest, {words}, is a bound for any number."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--provenance", type=Path, default=Path("results/reference/provenance.csv"))
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    arguments = parser.parse_args()
    if not arguments.provenance.is_file():
        sys.exit(f"plan: {arguments.provenance} is missing: `make` writes results/provenance.csv, `make reference` keeps it")
    if min(arguments.gpus) < 1:
        sys.exit(f"plan: gpus: got {min(arguments.gpus)}, need a whole number >= 1")
    print(table(pd.read_csv(arguments.provenance), arguments.gpus))


if __name__ == "__main__":
    main()
