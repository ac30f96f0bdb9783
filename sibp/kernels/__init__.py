"""Compiled code and how it is called: C++ on the CPU (`native`), Triton on CUDA devices (`triton`); neither is ever needed.

Which of them, or their eager twins, does a piece of work is chosen in `solvers.dispatch`.
"""

import torch

from sibp.kernels import native, triton
from sibp.kernels.switch import off

__all__ = ["off", "status"]


def status(device: torch.device) -> str:
    """Return that kernels are compiled for a device, or why the eager code runs instead; for a run's record."""
    return triton.status() if device.type == "cuda" else native.status()
