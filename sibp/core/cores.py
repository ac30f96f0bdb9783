"""How many processes may compute beside each other."""

import os

__all__ = ["count"]


def count() -> int:
    """Return the number of cores that this process may use.

    Returns:
        Those that the system has left to it; where the system does not tell, as macOS, all of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
