"""The most memory that training with a step holds: parameters, mini-batches, and what the step itself needs.

On a CPU only a fresh process can tell, so each measurement is one.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import torch

from sibp.bench.cases import CASES, QUICK
from sibp.bench.steps import STEPS
from sibp.bench.timed import Case
from sibp.core import precision
from sibp.nets import papers
from sibp.results import environment

__all__ = ["peak_bytes"]

SMALL = Case("small", papers.mlp([20, 10, 10]), batch=5)  # a run of it loads whatever code a step needs


def peak_bytes(case: str, step: str, device: str, threads: int) -> int:
    """Return how far memory rises in a fresh process that sets a step up and makes three.

    Args:
        case: a key of `CASES` or `QUICK`.
        step: a key of `STEPS`.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads.

    Returns:
        Bytes.

    Raises:
        RuntimeError: if that process fails, with its last line.
    """
    settings = json.dumps({"case": case, "step": step, "device": device, "threads": threads})
    command = [sys.executable, "-c", "from sibp.bench import memory; memory.main()", settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise RuntimeError(f"memory of {step} on {case}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return int(done.stdout)


def main() -> None:
    """Print the bytes of the measurement in the process's argument; what `peak_bytes` starts."""
    settings = json.loads(sys.argv[1])
    precision.configure(settings["threads"], deterministic=False)
    print(_measure((CASES | QUICK)[settings["case"]], settings["step"], torch.device(settings["device"])))


def _measure(case: Case, step: str, device: torch.device) -> int:
    _three(STEPS[step].build(SMALL if len(case.network.input_shape) == 1 else case, device))
    _trim()
    environment.reset_peak_memory(device)
    before = environment.peak_memory(device)
    call = STEPS[step].build(case, device)
    _trim()  # the initial law draws in double precision
    environment.reset_peak_memory(device)
    _three(call)
    return environment.peak_memory(device) - before


def _three(call: Callable[[], object]) -> None:
    for _ in range(3):
        call()


def _trim() -> None:
    """Give memory that was freed back to the system, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
