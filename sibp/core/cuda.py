"""Whether torch can use this machine's GPU: the one answer that runs, `sibp doctor` and `make` go by."""

import re
import sys

import torch

__all__ = ["fault"]


def fault() -> str:
    """Return why torch can use no GPU here.

    Returns:
        Words that follow "torch 2.14", such as ``has no CUDA``; empty if torch can use a GPU.
    """
    if not torch.cuda.is_available():
        return f"for CUDA {torch.version.cuda} finds no usable device or driver" if torch.version.cuda else "has no CUDA"
    if torch.version.cuda is None:  # another maker's devices under the same names
        return ""
    capability = torch.cuda.get_device_capability()
    if not _runs_on(capability, torch.cuda.get_arch_list()):
        return f"for CUDA {torch.version.cuda} has no code for {torch.cuda.get_device_name()} (sm_{capability[0]}{capability[1]})"
    return ""


def _runs_on(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Tell whether code for one of `architectures` runs on a device: sm_80 on 8.0 to 8.9, compute_80 on all from 8.0 on.

    Returns:
        True or False; an empty list, as of a build that does not say, runs everywhere.
    """
    for name in architectures:
        if parts := re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", name):
            built = int(parts[2]), int(parts[3])
            if built <= capability and (parts[1] == "compute" or built[0] == capability[0]):
                return True
    return not architectures


if __name__ == "__main__":  # for a process that has not imported torch and does not want to wait for it
    reason = fault()
    print(f"torch {torch.__version__} {reason}" if reason else "", end="")
    sys.exit(0)
