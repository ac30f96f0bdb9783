"""Finished runs as curves: which files a path means, and the mean over the seeds for each label and choice of hyper-parameters."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from sibp.results import archive, records
from sibp.results.records import RecordError, Role

__all__ = ["Curve", "Runs", "find", "read", "read_records"]


@dataclass(frozen=True)
class Curve:
    """One label at one choice of hyper-parameters.

    Attributes:
        label: of the experiment.
        name: the label, and the hyper-parameters that its members differ in: ``sgd eta=0.1``.
        table: a row for each evaluation; the axes and all measures, means over the seeds that did not diverge.
        seeds: how many networks were trained.
        diverged: how many of them diverged; where all did, the table has no rows.
    """

    label: str
    name: str
    table: pd.DataFrame
    seeds: int
    diverged: int

    def values(self, measure: str) -> np.ndarray:
        """Return a measure's finite values.

        Args:
            measure: a column of `table`.

        Returns:
            `[N]` float64, in the order of steps; empty if it was not measured.
        """
        values = self.table[measure].to_numpy(float) if measure in self.table else np.empty(0)
        return values[np.isfinite(values)]

    def last(self, measure: str) -> float:
        """Return a measure's last finite value.

        Args:
            measure: a column of `table`.

        Returns:
            The value, or NaN.
        """
        values = self.values(measure)
        return float(values[-1]) if len(values) else float("nan")


@dataclass(frozen=True)
class Runs:
    """The runs of one experiment.

    Attributes:
        name: the experiment's id.
        curves: of all labels.
        measures: the names of what was measured.
        records: each label's record.
    """

    name: str
    curves: list[Curve]
    measures: list[str]
    records: dict[str, dict[str, Any]]


def find(path: Path) -> list[Path]:
    """Return the tables that a path means.

    Args:
        path: a run's own file or an experiment's archive, with or without its ending, or an experiment's folder.

    Returns:
        Paths of Parquet files, sorted.

    Raises:
        RecordError: in one line, if there are none, or several experiments to choose from.
    """
    if path.suffix == ".parquet" and path.is_file():
        return [path]
    if (file := path.parent / f"{path.name}.parquet").is_file():
        return [file]
    if not path.is_dir():
        raise RecordError(f"{path}: no such folder, nor a run's file; need a folder DIR/<id> that 'sibp run --out DIR' has written")
    if tables := _tables(path):
        return tables
    inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and _tables(folder))
    if len(inside) == 1:
        return _tables(inside[0])
    if inside:
        raise RecordError(f"{path}: holds the runs of several experiments, show one: {', '.join(map(str, inside))}")
    raise RecordError(f"{path}: holds no finished runs; need a folder DIR/<id> that 'sibp run --out DIR' has written")


def _tables(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.parquet") if not file.name.startswith("."))


def read(path: Path) -> Runs:
    """Read what a path means, see `find`.

    Args:
        path: of a run or an experiment's runs.

    Returns:
        Curves of all labels.

    Raises:
        RecordError: in one line, if there is nothing, or it cannot be read.
    """
    files = find(path)
    packed = _archive(path, files)
    runs = archive.read(packed) if packed else {file.stem: records.read(file) for file in files}
    name = packed.stem if packed else files[0].absolute().parent.name
    measures = dict.fromkeys(name for run in runs.values() for name in run.columns(Role.metric))
    curves = [curve for label, run in runs.items() for curve in _curves(label, run)]
    return Runs(name, curves, list(measures), {label: run.record for label, run in runs.items()})


def read_records(path: Path) -> dict[str, dict[str, Any]]:
    """Read what `read` reads, without the rows.

    Args:
        path: of a run or an experiment's runs.

    Returns:
        Records by label.

    Raises:
        RecordError: in one line, if there is nothing, or it cannot be read.
    """
    files = find(path)
    packed = _archive(path, files)
    return archive.read_records(packed) if packed else {file.stem: records.read_record(file) for file in files}


def _archive(path: Path, files: list[Path]) -> Path | None:
    """Return the archive among the tables that a path means; None if they are runs.

    Raises:
        RecordError: naming them, if there are several.
    """
    packed = [file for file in files if archive.is_archive(file)]
    if len(packed) > 1:
        raise RecordError(f"{path}: holds the runs of several experiments, show one: {', '.join(map(str, packed))}")
    return packed[0] if packed else None


def _curves(label: str, run: records.Run) -> list[Curve]:
    rows, measures = run.rows, run.columns(Role.metric)
    varied = [name for name in run.columns(Role.setting) if rows[name].nunique(dropna=False) > 1]
    if not varied:
        return [_curve(label, {}, rows, measures)]
    groups = cast("Iterable[tuple[tuple[Any, ...], pd.DataFrame]]", rows.groupby(varied, sort=False, dropna=False))
    return [_curve(label, dict(zip(varied, key, strict=True)), group, measures) for key, group in groups]


def _curve(label: str, options: dict[str, Any], rows: pd.DataFrame, measures: list[str]) -> Curve:
    diverged = set(rows.loc[rows["status"] == "diverged", "member"])
    whole = rows[~rows["member"].isin(diverged)]
    table = whole.groupby("step", as_index=False)[["epoch", "seconds", *measures]].mean() if len(whole) else whole
    name = " ".join(
        [label, *(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in options.items())]
    )
    return Curve(label, name, table, rows["member"].nunique(), len(diverged))
