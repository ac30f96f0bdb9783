"""What a run leaves behind: one Parquet file, a long table of measurements whose schema says all about it.

Each column's role is metadata of its field, the run's record (settings, versions, hardware, seconds) is metadata of the table, as JSON. The
file appears whole or not at all.
"""

import io
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
from pyarrow import parquet

from sibp.core import atomic
from sibp.core.errors import OneLineError
from sibp.core.messages import first_line

__all__ = ["CLOCK_KEYS", "STATUSES", "RecordError", "Role", "Run", "read", "read_record", "roles", "table", "write"]

# of a record, depend on the clock; all others are equal in equal runs
CLOCK_KEYS = ("started", "seconds", "peak_memory_bytes", "notes")
STATUSES = ("running", "done", "diverged", "out_of_time")
RECORD = b"sibp.record"  # the key of the schema's metadata


class RecordError(OneLineError):
    """A result file cannot be written or read; the message is one line."""


class Role(StrEnum):
    """What a column is for. Equal runs on one device agree in all columns but those of the role `clock`, to the bit."""

    label = "label"  # whose run it is
    seed = "seed"  # which network
    setting = "setting"  # an option of its method
    position = "position"  # how far it was trained
    clock = "clock"
    metric = "metric"
    status = "status"


EVERY_RUN = {
    "exhibit": Role.label,
    "method": Role.label,
    "algorithm": Role.label,
    "member": Role.seed,
    "seed": Role.seed,
    "epoch": Role.position,
    "step": Role.position,
    "samples": Role.position,
    "seconds": Role.clock,
    "status": Role.status,
}


def roles(columns: Iterable[str], settings: Collection[str]) -> dict[str, Role]:
    """Return the role of each column of a new run: what is neither in every run nor a setting is a metric.

    Args:
        columns: their names.
        settings: the names of the method's options.

    Returns:
        Roles by column.
    """
    return {name: EVERY_RUN.get(name) or (Role.setting if name in settings else Role.metric) for name in columns}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        rows: one for each member and evaluation.
        record: what it was trained from, on and with, and how it went.
        roles: of the columns of `rows`.
    """

    rows: pd.DataFrame
    record: dict[str, Any]
    roles: dict[str, Role]

    def columns(self, *chosen: Role) -> list[str]:
        """Return the names of the columns that have one of some roles.

        Args:
            chosen: the roles.

        Returns:
            Names, in the order of the table.
        """
        return [name for name in self.rows if self.roles[name] in chosen]


def write(path: Path, run: Run) -> None:
    """Write a run's file, whole or not at all.

    Args:
        path: ``<id>/<label>.parquet``; its folder is made.
        run: what to write.

    Raises:
        RecordError: if the folder cannot be written to, or the rows lack a column.
    """
    _check(run.rows, str(path))
    text = json.dumps(run.record, indent=2, allow_nan=False, default=str)
    buffer = io.BytesIO()
    parquet.write_table(table(run.rows, run.roles, {RECORD: text.encode()}), buffer)
    try:
        atomic.write(path, buffer.getvalue())
        atomic.sweep(path)
    except OSError as fault:
        raise RecordError(f"{path}: {fault.strerror or fault}") from None


def read(path: Path) -> Run:
    """Return the run that a file holds.

    Args:
        path: of a file that `write` wrote.

    Returns:
        Rows, record and roles. A file that is missing, cut short or not what `write` writes is refused with a RecordError, in one line.
    """
    record, columns = _schema(path)
    rows = _guarded(path, pd.read_parquet)
    _check(rows, str(path))
    return Run(rows, record, columns)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record of the run that a file holds, without reading its rows.

    Args:
        path: of a file that `write` wrote.

    Returns:
        The record; refusals are those of `read`.
    """
    return _schema(path)[0]


def table(rows: pd.DataFrame, columns: dict[str, Role], metadata: dict[bytes, bytes]) -> pyarrow.Table:
    """Return rows as Arrow has them, with each column's role as metadata of its field.

    Args:
        rows: one for each member and evaluation.
        columns: roles by column.
        metadata: of the schema.

    Returns:
        The table.
    """
    plain = pyarrow.Table.from_pandas(rows, preserve_index=False)
    fields = [field.with_metadata({"role": columns[field.name]}) for field in plain.schema]
    return plain.cast(pyarrow.schema(fields, plain.schema.metadata | metadata))


def _schema(path: Path) -> tuple[dict[str, Any], dict[str, Role]]:
    schema = _guarded(path, parquet.read_schema)
    if RECORD not in (schema.metadata or {}):
        older = "; `make reference FROM=FOLDER` takes it" if path.with_suffix(".json").is_file() else ""
        raise RecordError(f"{path}: holds no record of a run{older}")
    if unknown := [field.name for field in schema if b"role" not in (field.metadata or {})]:
        raise RecordError(f"{path}: the column {unknown[0]} has no role")
    record = _guarded(path, lambda _: json.loads(schema.metadata[RECORD]))
    return record, _guarded(path, lambda _: {field.name: Role(field.metadata[b"role"].decode()) for field in schema})


def _guarded(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except OSError as fault:  # pyarrow's complaints about a file's content are OSErrors, too
        raise RecordError(f"{path}: {fault.strerror or first_line(fault)}") from None
    except (pyarrow.ArrowException, ValueError) as fault:
        raise RecordError(f"{path}: {first_line(fault)}") from None


def _check(rows: pd.DataFrame, context: str) -> None:
    if missing := [column for column in EVERY_RUN if column not in rows]:
        raise RecordError(f"{context}: lacks the columns {', '.join(missing)}")
    if unknown := sorted(set(rows["status"]) - set(STATUSES)):
        raise RecordError(f"{context}: status: got {unknown[0]!r}, need one of {', '.join(STATUSES)}")
