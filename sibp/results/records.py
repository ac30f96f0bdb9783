"""What a run leaves behind: a long table of measurements in Parquet and its provenance in JSON beside it.

Both files appear whole or not at all.
"""

import fcntl
import glob
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import torch

from sibp.core.version import VERSION
from sibp.kernels.status import status
from sibp.results import processor

__all__ = [
    "CLOCK_COLUMNS",
    "CLOCK_KEYS",
    "COLUMNS",
    "STATUSES",
    "RecordError",
    "environment",
    "peak_memory",
    "read_run",
    "reset_peak_memory",
    "sweep",
    "write_run",
    "written",
]

COLUMNS = ("exhibit", "method", "algorithm", "member", "seed", "epoch", "step", "samples", "seconds", "status")
CLOCK_COLUMNS = ("seconds",)  # these hang on the clock; equal runs on one device agree in all others, to the bit
CLOCK_KEYS = ("started", "seconds", "peak_memory_bytes", "notes")  # likewise of the provenance
STATUSES = ("running", "done", "diverged", "out_of_time")


class RecordError(RuntimeError):
    """A result file cannot be written or read; the message is one line."""


def write_run(folder: Path, label: str, rows: pd.DataFrame, provenance: dict[str, Any]) -> Path:
    """Write ``<label>.json`` and ``<label>.parquet`` into a folder and return the latter's path.

    Raises:
        RecordError: if the folder cannot be written to, or the rows lack a column.
    """
    _check(rows, label)
    path = folder / f"{label}.parquet"
    text = json.dumps(provenance, indent=2, allow_nan=False, default=str) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written(path.with_suffix(".json"), lambda file: file.write_text(text, encoding="utf-8"))
        written(path, lambda file: rows.to_parquet(file, engine="pyarrow", index=False))
        sweep(path.with_suffix(".json"), path)
    except OSError as fault:
        raise RecordError(f"{folder}: {fault.strerror or fault}") from None
    return path


def read_run(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows and the provenance of a run, given the path of its Parquet file.

    Raises:
        RecordError: in one line, if either file is missing, cut short or not what `write_run` writes.
    """
    path = Path(path)
    rows = _read(path, lambda file: pd.read_parquet(file, engine="pyarrow"))
    provenance = _read(path.with_suffix(".json"), lambda file: json.loads(file.read_text(encoding="utf-8")))
    _check(rows, str(path))
    return rows, provenance


def written(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, flush it to the disk and move it to `path` at once."""
    handle, name = _temporary(path)
    try:
        write(Path(name))
        os.fsync(handle)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    finally:
        os.close(handle)


def _temporary(path: Path) -> tuple[int, str]:
    """Return a new file beside `path`, open, with a lock on it that tells `sweep` that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(OSError):  # no locks on this file system: `sweep` then leaves all such files alone
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # not swept away before the lock was on it
            return handle, name
        os.close(handle)


def sweep(*paths: Path) -> None:
    """Remove what processes that were killed inside `written` have left behind for these paths; not what others are just writing."""
    for path in paths:
        for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*"):
            with suppress(OSError), unfinished.open("r+b") as file:  # BlockingIOError: its writer lives
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unfinished.unlink()


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a run depends on beside its settings: code version, packages, device, driver, time."""
    cuda, about = device.type == "cuda", processor.describe()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git(),
        "versions": {
            "sibp": VERSION,
            "python": platform.python_version(),
            **{name: _version(name) for name in ("torch", "numpy", "pandas")},
            "cuda": torch.version.cuda if cuda else None,
        },
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if cuda else about["name"],
        "device_kind": device.type,
        "processor": about,
        "driver": _driver() if cuda else None,
        "kernels": status(device),
    }


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from here on: a process may train one job after another. Where the system cannot, it goes on counting."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Return the most memory held since `reset_peak_memory`, in bytes: tensors on a CUDA device, else the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except OSError as fault:  # pyarrow's complaints about a file's content are OSErrors, too
        raise RecordError(f"{path}: {fault.strerror or str(fault).splitlines()[0]}") from None
    except (pyarrow.ArrowException, ValueError) as fault:
        raise RecordError(f"{path}: {str(fault).splitlines()[0]}") from None


def _check(rows: pd.DataFrame, where: str) -> None:
    if missing := [column for column in COLUMNS if column not in rows]:
        raise RecordError(f"{where}: lacks the columns {', '.join(missing)}")
    if unknown := sorted(set(rows["status"]) - set(STATUSES)):
        raise RecordError(f"{where}: status: got {unknown[0]!r}, need one of {', '.join(STATUSES)}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def _git() -> dict[str, Any] | None:
    """Return the commit of the checkout that holds the package and whether it has changes; None outside a checkout."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy is not the checkout around it
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
