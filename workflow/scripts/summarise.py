"""Aggregate the seeds of one exhibit's runs: python -m workflow.scripts.summarise RUN.parquet... --output SUMMARY.csv

One row per label, setting of its options, and evaluation; see `sibp.results.summary`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sibp.core import atomic
from sibp.results import records, summary


def write(runs: Sequence[Path], output: Path) -> None:
    """Write the summary of some runs, one below the other, as CSV."""
    table = summary.union([summary.curve(records.read(path)) for path in runs])
    atomic.write(output, table.to_csv(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.runs, arguments.output)


if __name__ == "__main__":
    main()
