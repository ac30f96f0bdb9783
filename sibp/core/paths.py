"""Where the package keeps files of its own."""

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(root: str | Path | None = None) -> Path:
    """Return the folder of everything cached: `root`, else SIBP_CACHE, else `sibp` in XDG_CACHE_HOME or ~/.cache."""
    named = root or os.environ.get("SIBP_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sibp"
