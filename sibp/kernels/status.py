"""Which compiled code runs on a device."""

import torch

from sibp.kernels import native
from sibp.kernels.triton import calls

__all__ = ["status"]


def status(device: torch.device) -> str:
    """Return that kernels are compiled for a device, or why the eager code runs instead; for a run's record."""
    return calls.status() if device.type == "cuda" else native.status()
