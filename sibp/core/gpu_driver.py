"""Whether a driver lists a GPU: known at once, without torch, which takes seconds and has the last word (`sibp.core.cuda`)."""

import os
import shutil
import subprocess
import sys

__all__ = ["lists_a_gpu"]

DEVICES = ("/dev/nvidiactl", "/dev/dxg")  # of the driver on Linux, and under Windows
SECONDS = 30  # a driver that has failed may never answer, one without its persistence daemon takes a few


def lists_a_gpu() -> bool:
    """Tell whether there is a GPU to ask torch about.

    Returns:
        True if `nvidia-smi` lists one, or, where there is no `nvidia-smi`, if the driver's device files exist. If `nvidia-smi` does
        not answer, False, and one line on the terminal.
    """
    if not shutil.which("nvidia-smi"):  # as in some containers, which have the devices alone
        return any(map(os.path.exists, DEVICES))
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        print(f"sibp: nvidia-smi has not answered in {SECONDS} s: going on with the CPU", file=sys.stderr)
        return False
    return listing.returncode == 0 and "GPU" in listing.stdout
