"""The fused CUDA kernels: compiled by Triton at their first use, called as operators of torch, never needed.

`operators` are what torch sees of the kernels, which the other modules hold. Nothing here imports Triton before a kernel is needed.
Where it is missing or cannot compile, the eager code runs in its place, with the same result up to rounding; that is said once, and
`status()` says why. With TRITON_INTERPRET=1 the kernels run on the CPU, slowly, for tests.
"""

import importlib
import os
import warnings
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from sibp.kernels.native import LEAKS
from sibp.kernels.switch import is_off, obstacle
from sibp.kernels.triton import operators
from sibp.kernels.triton.plan import CompileError

__all__ = ["call", "interpreted", "status", "supports"]

DTYPES = (torch.float32, torch.float64)
_failures: list[str] = []


@cache
def interpreted() -> bool:
    """Return whether Triton runs kernels on the CPU in this process."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@cache
def _version() -> tuple[str | None, str]:
    if reason := obstacle():
        return None, reason
    try:
        return importlib.import_module("triton").__version__, ""
    except (ImportError, OSError) as error:
        return None, f"no Triton: {error}"


def status() -> str:
    """Return `compiled by Triton` with its version, or why the eager code runs instead; for a run's record."""
    version, obstacle = _version()
    return _failures[0] if _failures else obstacle or f"compiled by Triton {version}"


def supports(activation: str, *tensors: Tensor) -> bool:
    """Return whether the kernels can work on these tensors: CUDA, float32 or float64, a piecewise linear activation.

    Tensors without numbers count as what they stand for, so that a step's launches can be counted without a device.
    """
    if activation not in LEAKS or is_off() or not all(t.dtype in DTYPES and _is_reached(t) for t in tensors):
        return False
    return _version()[0] is not None and not _failures


def _is_reached(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda" or (interpreted() and tensor.device.type == "cpu" and not isinstance(tensor, FakeTensor))


def call(name: str, *arguments: Tensor | int | float | bool | list[int] | None) -> bool:
    """Run one of `operators` on contiguous tensors; return False, with its arguments unchanged, if a kernel cannot be compiled."""
    try:
        getattr(operators, name)(*arguments)
    except CompileError as error:
        _failures.append(f"not compiled by Triton: {error}")
        warnings.warn(f"{_failures[0]}; the eager code runs instead", RuntimeWarning, stacklevel=2)
        return False
    return True
