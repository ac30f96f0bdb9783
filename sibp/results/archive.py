"""The runs of all experiments in little space, and back: what the repository keeps so that exhibits can be drawn without training.

One Parquet file an experiment instead of one a job: the rows of all its labels, and in the schema each column's role and, compressed, the
labels' records. What was measured is kept to the 24 bits of float32, about seven digits, hyper-parameters exactly.
"""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from sibp.results import records
from sibp.results.records import Role

__all__ = ["is_archive", "pack", "read", "read_records", "unpack"]

LABELS = b"sibp.records"  # the key of the schema's metadata
MEASURED = (Role.clock, Role.metric)


def pack(runs: Path, folder: Path) -> None:
    """Write ``<id>.parquet`` into a folder for each experiment below `runs`.

    Args:
        runs: what ``sibp run --out`` wrote.
        folder: of the files; made if need be.

    Raises:
        RecordError: if a file holds another label's run than its name says, as that of a single ensemble does.
    """
    for experiment in sorted(path for path in runs.glob("*") if any(path.glob("*.parquet"))):
        finished = {file.stem: _read_label(file) for file in sorted(experiment.glob("*.parquet"))}
        roles = {name: role for run in finished.values() for name, role in run.roles.items()}
        labels = {
            label: {"record": run.record, "columns": {name: str(kind) for name, kind in run.rows.dtypes.items()}}
            for label, run in finished.items()
        }
        whole = pd.concat([run.rows for run in finished.values()], ignore_index=True)
        measured = [name for name in whole.select_dtypes("float64") if roles[name] in MEASURED]
        packed = gzip.compress(json.dumps(labels, separators=(",", ":")).encode(), mtime=0)  # equal runs are equal files
        table = records.table(
            whole.assign(**{name: _short(whole[name]) for name in measured}), roles, {LABELS: base64.b64encode(packed)}
        )
        folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, folder / f"{experiment.name}.parquet", compression="zstd", compression_level=19)


def _short(values: pd.Series) -> pd.Series:
    """Return numbers as float32, or as float64 of as many bits where one is too large, such as a loss that has exploded."""
    if not (np.isfinite(values) & (values.abs() > np.finfo(np.float32).max)).any():
        return values.astype("float32")
    bits = np.finfo(np.float32).nmant + 1
    fraction, exponent = np.frexp(values)
    return pd.Series(np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits), values.index)


def _read_label(file: Path) -> records.Run:
    run = records.read(file)
    if (label := run.rows["method"].iloc[0]) != file.stem:
        raise records.RecordError(f"{file}: holds a run of {label}, need a file named {label}.parquet")
    return run


def is_archive(file: Path) -> bool:
    """Return whether a Parquet file holds a whole experiment.

    Args:
        file: that may be damaged.

    Returns:
        Whether `read` reads it.
    """
    try:
        return LABELS in (parquet.read_schema(file).metadata or {})
    except (OSError, pyarrow.ArrowException):
        return False


def read(file: Path) -> dict[str, records.Run]:
    """Return the runs that `pack` put into a file.

    Args:
        file: of one experiment.

    Returns:
        Runs by label.
    """
    whole, schema = pd.read_parquet(file), parquet.read_schema(file)
    roles = {field.name: Role(field.metadata[b"role"].decode()) for field in schema}
    runs = {}
    for label, content in _labels(schema).items():
        rows = whole[whole["method"] == label][list(content["columns"])].reset_index(drop=True).astype(content["columns"])
        runs[label] = records.Run(rows, content["record"], {name: roles[name] for name in rows})
    return runs


def read_records(file: Path) -> dict[str, dict[str, Any]]:
    """Return the records of the runs that `pack` put into a file, without their rows.

    Args:
        file: of one experiment.

    Returns:
        Records by label.
    """
    return {label: content["record"] for label, content in _labels(parquet.read_schema(file)).items()}


def _labels(schema: pyarrow.Schema) -> dict[str, dict[str, Any]]:
    """Return each label's record, and its columns with their dtypes."""
    return json.loads(gzip.decompress(base64.b64decode(schema.metadata[LABELS])))


def unpack(folder: Path, runs: Path) -> list[str]:
    """Write the job files that `pack` has read.

    Args:
        folder: of the experiments' files.
        runs: below which ``<id>/<label>.parquet`` are written.

    Returns:
        The experiments' ids.
    """
    files = sorted(folder.glob("*.parquet"))
    for file in files:
        for label, run in read(file).items():
            records.write(runs / file.stem / f"{label}.parquet", run)
    return [file.stem for file in files]
