"""What ran where, from which commit, at what cost, a row a training job.

python -m workflow.scripts.provenance RUN.json... --output FILE.csv
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from workflow.scripts import files


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


def write(records: Sequence[Path], output: Path) -> None:
    """Write the lines of some runs' records as CSV."""
    rows = [row(json.loads(path.read_text(encoding="utf-8"))) for path in records]
    files.write(output, pd.DataFrame(rows).to_csv(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    write(arguments.records, arguments.output)


if __name__ == "__main__":
    main()
