"""Ensembles that were trained one by one, put together as the job that would have trained them all: more seeds, the more there are."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from sibp.experiments.jobs import Job, of_record
from sibp.results import records

SUMMED = ("diverged", "pruned", "notes", "ensembles")
EACH = ("ensemble", "started", "device", "threads", "seconds")  # what the joined record keeps of each part


def whole_seeds(job: Job, members: set[int]) -> int:
    """Return of how many seeds, from the first on, all members are there; members are numbered seed by seed."""
    settings = len(job.members) // len(job.seeds)
    missing = min(set(range(len(job.members))) - members, default=len(job.members))
    return missing // settings


def join(parts: list[records.Run]) -> records.Run | None:
    """Return what a job of as many seeds as the parts hold whole would have left behind; None if they hold no seed whole.

    But for the clock, and for `parts`, which says where each comes from, it is that job's result to the bit: no member touches another
    ensemble's.

    Args:
        parts: ensembles of one job, with equal settings and code, none of them twice.
    """
    parts = sorted(parts, key=lambda part: part.record["ensemble"])
    every, first = [part.record for part in parts], parts[0].record
    job = of_record(first, first["method"], first["exhibit"])
    seeds = whole_seeds(job, {number for record in every for group in record["ensembles"] for number in group})
    if not seeds:
        return None
    smaller = Job(job.experiment.model_copy(update={"seeds": seeds}), job.label)
    inside = set(range(len(smaller.members)))
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    rows = rows[rows["member"].isin(inside)].sort_values(["member", "step"], ignore_index=True)
    lists = {key: [entry for record in every for entry in record[key]] for key in SUMMED}
    for key in ("diverged", "pruned"):
        lists[key] = sorted((entry for entry in lists[key] if entry["member"] in inside), key=lambda entry: entry["member"])
    lists["ensembles"] = [numbers for group in lists["ensembles"] if (numbers := [number for number in group if number in inside])]
    record = (
        first
        | lists
        | smaller.in_record
        | {
            "device": "; ".join(dict.fromkeys(record["device"] for record in every)),
            "started": min(record["started"] for record in every),
            "peak_memory_bytes": max(record["peak_memory_bytes"] for record in every),
            "seconds": _sums(record["seconds"] for record in every),
            "parts": [{key: record[key] for key in EACH} for record in every],
        }
    )
    del record["ensemble"]
    return records.Run(rows, record, parts[0].roles)


def _sums(phases: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for seconds in phases:
        total |= {name: total.get(name, 0.0) + value for name, value in seconds.items()}
    return total


def joined(tables: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield the Parquet files of whole jobs as they are, and for parts of jobs those of what they join to, written below a folder.

    Parts belong together that were trained with equal settings by one commit's code; of two of the same ensemble the first counts.
    """
    groups: dict[tuple[str, ...], dict[int, Path]] = {}
    for table in tables:
        try:
            record = records.read_record(table)
        except records.RecordError:  # whoever reads the run says so
            record = {}
        if "ensemble" in record:
            key = (record["exhibit"], record["method"], record["digest"], str((record.get("git") or {}).get("commit")))
            groups.setdefault(key, {}).setdefault(record["ensemble"], table)
        else:
            yield table
    for (exhibit, label, digest, commit), numbered in groups.items():
        if (run := join([records.read(table) for table in numbered.values()])) is not None:
            path = folder / digest[:12] / commit[:12] / exhibit / f"{label}.parquet"
            records.write(path, run)
            yield path
