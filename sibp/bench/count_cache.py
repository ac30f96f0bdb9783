"""Counts of steps and evaluations, kept in the user's cache: they change with the package's code and torch's version only."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from sibp.bench import recorder
from sibp.bench.operations import Operation
from sibp.bench.recorder import Count, Fault
from sibp.core import atomic, paths
from sibp.kernels.launches import Work

__all__ = ["cached", "keep_in"]

_folder: Path | None = None  # where counts are kept; None is the user's cache
_counts: dict[str, tuple[Count, int]] = {}


def cached(key: tuple[Any, ...], make: Callable[[], tuple[Count, int]]) -> tuple[Count, int]:
    """Return what `make` counts, with a number of bytes, from memory or the user's cache if it was counted there before.

    Args:
        key: all that decides the count; values that print what they are.
        make: counts.

    Returns:
        The count and the number of bytes.
    """
    words = json.dumps([_sources(), torch.__version__, repr(key)])
    name = hashlib.sha256(words.encode()).hexdigest()
    if name not in _counts:
        _counts[name] = _read(name) or _written(name, make())
    return _counts[name]


def keep_in(folder: Path) -> None:
    """Keep this process's counts in a folder instead of the user's cache.

    Args:
        folder: made when a count is written.
    """
    global _folder
    _folder = folder


@cache
def _sources() -> str:
    """Return the SHA-256 of all Python files of the package: any of them may change what a step does."""
    sha = hashlib.sha256()
    for path in sorted(Path(recorder.PACKAGE).rglob("*.py")):
        sha.update(path.read_bytes())
    return sha.hexdigest()


def _path(name: str) -> Path:
    return (_folder or paths.cache_folder() / "counts") / f"{name}.json"


def _read(name: str) -> tuple[Count, int] | None:
    """Return a count from the cache; one that is missing or damaged is counted anew."""
    try:
        content = json.loads(_path(name).read_text(encoding="utf-8"))
        operations = Counter(
            {
                Operation(word, kind, getattr(torch, dtype), Work(*work)): count
                for word, kind, dtype, work, count in content["operations"]
            }
        )
        faults = Counter({Fault(*words): count for *words, count in content["fault_counts"]})
        return Count(operations, faults, peak=content["peak"]), content["bytes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _written(name: str, counted: tuple[Count, int]) -> tuple[Count, int]:
    seen, size = counted
    operations = [
        [operation.name, operation.kind, str(operation.dtype).removeprefix("torch."), list(operation.work), count]
        for operation, count in seen.operations.items()
    ]
    text = json.dumps(
        {
            "operations": operations,
            "fault_counts": [[*fault, count] for fault, count in seen.fault_counts.items()],
            "peak": seen.peak,
            "bytes": size,
        }
    )
    with suppress(OSError):  # a cache that cannot be written costs time only
        atomic.write(_path(name), text)
    return counted
