"""Files that appear whole or not at all, whoever is killed while writing them."""

import fcntl
import glob
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["sweep", "write"]


def write(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file beside `path`, flush it to the disk and move it to `path` at once, with the permissions that the umask leaves.

    Missing folders are made. Of several processes that write the same path, the last one to end leaves its content.

    Args:
        path: of the file.
        content: its text (UTF-8), its bytes, or what writes them into an open file.

    Raises:
        OSError: it cannot be written; what was at `path` is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, file = _temporary(path)
    try:
        with file:  # open, and so locked, until it has its name
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def sweep(path: Path) -> None:
    """Remove what processes that were killed inside `write` have left behind for a path; not what others are just writing."""
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError), unfinished.open("r+b") as file:  # BlockingIOError: its writer lives
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unfinished.unlink()


def _temporary(path: Path) -> tuple[str, BinaryIO]:
    """Return a new file beside `path`, its name and itself, open, with a lock on it that tells `sweep` that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with suppress(OSError):  # no locks on this file system: `sweep` then leaves all such files alone
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # not swept away before the lock was on it
            return name, os.fdopen(handle, "wb")
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
