"""Curves for TensorBoard while a run trains: one series for each member and measure, from the rows that its record gets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sibp.results.progress import Progress
from sibp.results.records import Role

__all__ = ["Live", "Writer", "to_folder"]


class Writer(Protocol):
    """What is used of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def add_text(self, tag: str, text_string: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class Live(Progress):
    """Tells a run's progress to another and writes its rows, a folder a member: ``<exhibit>/<label>/<member>``.

    Rows come at the latest 50 steps after they were measured. A series has a point for each evaluation, at its step; that of a member
    that has diverged goes on as NaN while others of its ensemble train.

    Args:
        told: who else is told.
        writer: opens a writer for a folder, given by its name below that of all curves.
    """

    def __init__(self, told: Progress, writer: Callable[[str], Writer]) -> None:
        self.told, self.open = told, writer
        self.writers: dict[int, Writer] = {}
        self.written: set[tuple[int, int]] = set()  # member and step

    def start(self, title: str, steps: int) -> None:
        self.folder = title.replace(" ", "/")
        self.told.start(title, steps)

    def advance(self, steps: int, loss: float) -> None:
        self.told.advance(steps, loss)

    def evaluated(self, metrics: dict[str, float]) -> None:
        self.told.evaluated(metrics)

    def note(self, text: str) -> None:
        self.told.note(text)

    def recorded(self, rows: list[dict[str, Any]], roles: dict[str, Role]) -> None:
        new = [row for row in rows if (row["member"], row["step"]) not in self.written]
        for row in new:
            self.write(row, roles)
        for member in {row["member"] for row in new}:
            self.writers[member].flush()
        self.told.recorded(rows, roles)

    def write(self, row: dict[str, Any], roles: dict[str, Role]) -> None:
        """Write one row, and before a member's first one its seed and options."""
        member = row["member"]
        if member not in self.writers:
            self.writers[member] = self.open(f"{self.folder}/{member:03}")
            options = ["seed", *(name for name in row if roles[name] == Role.setting)]
            self.writers[member].add_text("member", ", ".join(f"{name} {row[name]}" for name in options))
        for name in (name for name in row if roles[name] == Role.metric):
            self.writers[member].add_scalar(name, row[name], global_step=row["step"])
        self.written.add((member, row["step"]))

    def finish(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers, self.written = {}, set()
        self.told.finish()


def to_folder(folder: str | Path, told: Progress) -> Live:
    """Return progress that also writes curves below a folder, for ``tensorboard --logdir FOLDER``.

    Raises:
        ImportError: in one line, if the package `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("tensorboard: the package is not installed: python -m pip install tensorboard") from None
    return Live(told, lambda name: SummaryWriter(str(Path(folder) / name)))
