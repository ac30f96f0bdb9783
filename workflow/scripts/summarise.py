"""Aggregate the seeds of one exhibit's runs: python -m workflow.scripts.summarise RUN.parquet... --output SUMMARY.csv

One row per label, setting of its options, and evaluation; see `sibp.results.summary`.
"""

import argparse
from pathlib import Path

import pandas as pd

from sibp.results import summary
from workflow.scripts import files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    table = summary.union([summary.curve(pd.read_parquet(path)) for path in arguments.runs])
    files.write(arguments.output, table.to_csv(index=False))


if __name__ == "__main__":
    main()
