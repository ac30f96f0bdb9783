"""What ran where, from which commit, at what cost, a row a training job.

python -m workflow.scripts.provenance RUN.parquet... --output FILE.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sibp.core import atomic
from sibp.results import records


def row(record: dict[str, Any]) -> dict[str, Any]:
    """Return the line of one run's record."""
    git = record["git"] or {"commit": None, "dirty": None}
    return {
        **{name: record[name] for name in ("exhibit", "method", "scale", "device", "device_kind", "threads")},
        "members": len(record["members"]),
        "diverged": len(record["diverged"]),
        "train_seconds": round(record["seconds"].get("train", 0.0), 2),
        "total_seconds": round(record["seconds"]["total"], 2),
        "peak_memory_megabytes": round(record["peak_memory_bytes"] / 2**20),
        "commit": git["commit"],
        "dirty": git["dirty"],
        **{name: record["versions"][name] for name in ("sibp", "python", "torch", "cuda")},
        "started": record["started"],
    }


def write(runs: Sequence[Path], output: Path) -> None:
    """Write the lines of some runs' records as CSV."""
    atomic.write(output, pd.DataFrame([row(records.read_record(path)) for path in runs]).to_csv(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.runs, arguments.output)


if __name__ == "__main__":
    main()
