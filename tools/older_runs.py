"""Runs as they were written before a run was one file: a Parquet file, and its record as JSON beside it."""

import json
from pathlib import Path

import pandas as pd

from sibp.results import records

__all__ = ["read"]


def read(path: Path) -> records.Run:
    """Return a run of either form; in the older one the columns' roles follow from the record, which names the options of its members.

    Raises:
        RecordError: in one line, if it is neither.
    """
    try:
        return records.read(path)
    except records.RecordError:
        beside = path.with_suffix(".json")
        if not beside.is_file():
            raise
    try:
        rows, record = pd.read_parquet(path), json.loads(beside.read_text(encoding="utf-8"))
        return records.Run(rows, record, records.roles(rows, record["members"][0]))
    except (OSError, ValueError, LookupError, TypeError) as fault:
        raise records.RecordError(f"{beside}: {' '.join(str(fault).split())}") from None
