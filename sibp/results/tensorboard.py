"""Curves for TensorBoard while a run trains: one series for each member and metric, from the rows of the run's table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override

from sibp.results.progress import Progress
from sibp.results.records import Role

__all__ = ["Live", "Writer", "to_folder"]


class Writer(Protocol):
    """What is used of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a series."""

    def add_text(self, tag: str, text_string: str) -> None:
        """Show a text."""

    def flush(self) -> None:
        """Write what is buffered."""

    def close(self) -> None:
        """Write what is buffered and end."""


class Live(Progress):
    """An observer of the training that writes its rows for TensorBoard and passes every event on to another observer.

    A member's folder is ``<exhibit>/<label>/<member>``. A row is written at most 50 steps after its evaluation. A series has a point for
    each evaluation, at its step; that of a member that has diverged goes on as NaN while others of its ensemble train.

    Args:
        observer: what events are passed on to.
        writer: opens a writer for a folder, given by its name below that of all curves.
    """

    def __init__(self, observer: Progress, writer: Callable[[str], Writer]) -> None:
        self.observer, self.open = observer, writer
        self.writers: dict[int, Writer] = {}
        self.written: set[tuple[int, int]] = set()  # member and step

    @override
    def start(self, title: str, steps: int) -> None:
        self.folder = title.replace(" ", "/")
        self.observer.start(title, steps)

    @override
    def advance(self, steps: int, loss: float) -> None:
        self.observer.advance(steps, loss)

    @override
    def evaluated(self, metrics: dict[str, float]) -> None:
        self.observer.evaluated(metrics)

    @override
    def note(self, text: str) -> None:
        self.observer.note(text)

    @override
    def recorded(self, rows: list[dict[str, Any]], roles: dict[str, Role]) -> None:
        new = [row for row in rows if (row["member"], row["step"]) not in self.written]
        for row in new:
            self.write(row, roles)
        for member in {row["member"] for row in new}:
            self.writers[member].flush()
        self.observer.recorded(rows, roles)

    def write(self, row: dict[str, Any], roles: dict[str, Role]) -> None:
        """Write one row, and before a member's first one its seed and options.

        Args:
            row: values by column.
            roles: of the columns.
        """
        member = row["member"]
        if member not in self.writers:
            self.writers[member] = self.open(f"{self.folder}/{member:03}")
            options = ["seed", *(name for name in row if roles[name] == Role.setting)]
            self.writers[member].add_text("member", ", ".join(f"{name} {row[name]}" for name in options))
        for name in (name for name in row if roles[name] == Role.metric):
            self.writers[member].add_scalar(name, row[name], global_step=row["step"])
        self.written.add((member, row["step"]))

    @override
    def finish(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers, self.written = {}, set()
        self.observer.finish()


def to_folder(folder: str | Path, observer: Progress) -> Live:
    """Return an observer that also writes curves below a folder, for ``tensorboard --logdir FOLDER``.

    Args:
        folder: made if it is not there.
        observer: what events are passed on to.

    Returns:
        The observer.

    Raises:
        ImportError: in one line, if the package `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("tensorboard: the package is not installed: python -m pip install tensorboard") from None
    return Live(observer, lambda name: SummaryWriter(str(Path(folder) / name)))
