"""Writing a file so that it appears whole or not at all."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write text to a file beside `path`, then move it there; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".part-{path.name}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
