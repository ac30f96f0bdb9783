"""One switch for all compiled kernels: SIBP_NATIVE=0 for a process, `off()` for a `with` block."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_off", "obstacle", "off"]

_resting = ContextVar("resting", default=False)


@contextmanager
def off() -> Generator[None]:
    """Let the eager code run inside a `with` block, for comparisons."""
    token = _resting.set(True)
    try:
        yield
    finally:
        _resting.reset(token)


def is_off() -> bool:
    """Return whether this is inside `off()`."""
    return _resting.get()


def obstacle() -> str | None:
    """Return why no kernel runs in this process, or None."""
    return "switched off by SIBP_NATIVE=0" if os.environ.get("SIBP_NATIVE", "1") == "0" else None
