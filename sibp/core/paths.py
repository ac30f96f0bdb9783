"""Where the package keeps files of its own."""

import errno
import os
from pathlib import Path

__all__ = ["cache_folder", "unreadable"]


def cache_folder(root: str | Path | None = None) -> Path:
    """Return the folder of everything cached: `root`, else SIBP_CACHE, else `sibp` in XDG_CACHE_HOME or ~/.cache.

    Args:
        root: the folder, where the caller names one; ``~`` is expanded.

    Returns:
        The folder, which need not exist.

    Raises:
        FileNotFoundError: it would be in the home folder, and this user has none.
    """
    named = root or os.environ.get("SIBP_CACHE")
    try:
        if named:
            return Path(named).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sibp"
    except RuntimeError:  # no HOME, and no entry for the user that names one
        fault = "this user has no home folder for the cache; set SIBP_CACHE or XDG_CACHE_HOME to a folder"
        raise FileNotFoundError(errno.ENOENT, fault) from None


def unreadable(path: Path) -> str:
    """Return which part of a path this user may not look into, with its owner.

    Args:
        path: a file or folder, which need not exist.

    Returns:
        Such as ``/shared/cache, which belongs to ann``; empty if nothing stands in the way.
    """
    for part in reversed([path, *path.absolute().parents]):
        try:
            status = part.stat()
        except OSError:  # not there, or below something that was looked at before
            return ""
        if not os.access(
            part, os.R_OK | os.X_OK if part.is_dir() else os.R_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            return f"{part}, which belongs to {_user(status.st_uid)}"
    return ""


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
