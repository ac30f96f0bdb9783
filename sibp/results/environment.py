"""The machine and the code behind a run: versions, commit, device, driver, memory."""

import platform
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sibp.core.version import VERSION
from sibp.kernels.status import status
from sibp.results import processor

__all__ = ["environment", "peak_memory", "reset_peak_memory"]


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a run depends on beside its settings: code version, packages, device, driver, time.

    Args:
        device: that it trains on.

    Returns:
        Plain JSON: ``started`` (UTC), ``git``, ``versions``, ``platform``, ``device``, ``device_kind``, ``processor``, ``driver`` and
        ``kernels``.
    """
    cuda, cpu = device.type == "cuda", processor.describe()
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
        "device": torch.cuda.get_device_name(device) if cuda else cpu["name"],
        "device_kind": device.type,
        "processor": cpu,
        "driver": _driver() if cuda else None,
        "kernels": status(device),
    }


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from here on: a process may train one job after another.

    Where the system cannot, it goes on counting from the start of the process.

    Args:
        device: whose memory.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device: torch.device) -> int:
    """Return the most memory held since `reset_peak_memory`: tensors on a CUDA device, else the whole process.

    Args:
        device: whose memory.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says is also of the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


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
