"""Which errors say that memory was short."""

import sys

__all__ = ["is_short"]

HOST = "DefaultCPUAllocator"  # names itself in what torch raises for the host's memory, a plain RuntimeError


def is_short(fault: BaseException) -> bool:
    """Tell whether an error says that memory was short: Python's own, torch's for a device, or torch's for the host.

    Args:
        fault: anybody's.

    Returns:
        True if less work at a time might have gone well.
    """
    torch = sys.modules.get("torch")  # what it raises is only known where it was imported
    return isinstance(fault, (MemoryError, torch.OutOfMemoryError) if torch else MemoryError) or HOST in str(fault)
