"""Whether a driver lists a GPU: known at once, without torch, which takes seconds and has the last word (`sibp.core.cuda`)."""

import os
import shutil
import subprocess

__all__ = ["lists_a_gpu"]

DEVICES = ("/dev/nvidiactl", "/dev/dxg")  # of the driver on Linux, and under Windows


def lists_a_gpu() -> bool:
    """Tell whether there is a GPU to ask torch about.

    Returns:
        True if `nvidia-smi` lists one, or, where there is no `nvidia-smi`, if the driver's device files exist.
    """
    if not shutil.which("nvidia-smi"):  # as in some containers, which have the devices alone
        return any(map(os.path.exists, DEVICES))
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and "GPU" in listing.stdout
