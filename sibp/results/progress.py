"""Time by phase, and observers of a training that show how far it is: a bar on a terminal, plain lines elsewhere, or nothing."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from typing_extensions import override

from sibp.results.records import Role

__all__ = ["Bar", "Clock", "Lines", "Progress", "for_stream"]

QUIET = 5.0  # seconds between two plain lines


@dataclass
class Clock:
    """Seconds by phase; ``with clock("steps"):`` adds to one.

    Attributes:
        device: all work queued on it is awaited before the time is read.
        seconds: by phase, of those that have ended.
        begun: when each phase in progress began.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)

    def now(self) -> float:
        """Return a time after all work queued on the device.

        Returns:
            Seconds, from an arbitrary origin. Cost: on CUDA a host sync.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase.

        Args:
            phase: its name.
            seconds: >= 0.
        """
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def __call__(self, phase: str) -> Generator[None]:
        """Return a context whose time is added to a phase.

        Args:
            phase: its name.

        Yields:
            Nothing.
        """
        self.begun[phase] = self.now()
        try:
            yield
        finally:
            self.add(phase, self.now() - self.begun.pop(phase))

    def so_far(self) -> dict[str, float]:
        """Return the seconds by phase, those of phases in progress included.

        Returns:
            A new dictionary.
        """
        now = self.now()
        return self.seconds | {phase: self.seconds.get(phase, 0.0) + now - begin for phase, begin in self.begun.items()}


class Progress:
    """No-op observer of the training; the base of those that show something."""

    def start(self, title: str, steps: int) -> None:
        """The training of one label begins.

        Args:
            title: the exhibit and the label.
            steps: over all its ensembles.
        """

    def advance(self, steps: int, loss: float) -> None:
        """Steps have been made.

        Args:
            steps: since the last call.
            loss: the mean mini-batch loss of the members that have not diverged.
        """

    def evaluated(self, metrics: dict[str, float]) -> None:
        """An evaluation has been made.

        Args:
            metrics: means over the members that have not diverged, by name.
        """

    def recorded(self, rows: list[dict[str, Any]], roles: dict[str, Role]) -> None:
        """Rows of the run's table are known; the same ones come again and again.

        Args:
            rows: all so far of the ensemble in training, or of those that are trained.
            roles: of their columns.
        """

    def note(self, text: str) -> None:
        """Something out of the ordinary has happened, which the record will say, too.

        Args:
            text: one line.
        """

    def finish(self) -> None:
        """The label is trained, or training was given up."""


class Bar(Progress):
    """One bar per label: steps, loss, the last accuracy, time left.

    Args:
        stream: a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.rich = RichProgress(*columns, TextColumn("{task.fields[shown]}"), console=Console(file=stream))

    @override
    def start(self, title: str, steps: int) -> None:
        self.loss, self.metrics = float("nan"), {}
        self.rich.start()
        self.task = self.rich.add_task(title, total=steps, shown="")

    @override
    def advance(self, steps: int, loss: float) -> None:
        self.loss = loss
        self.rich.update(self.task, advance=steps, shown=_words_of(self.loss, self.metrics))

    @override
    def evaluated(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics
        self.rich.update(self.task, shown=_words_of(self.loss, self.metrics))

    @override
    def note(self, text: str) -> None:
        self.rich.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @override
    def finish(self) -> None:
        self.rich.stop()


class Lines(Progress):
    """At most one line every few seconds, for logs.

    Args:
        stream: where to write.
        quiet: least seconds between two lines.
    """

    def __init__(self, stream: TextIO, quiet: float = QUIET) -> None:
        self.stream, self.quiet = stream, quiet

    @override
    def start(self, title: str, steps: int) -> None:
        self.title, self.steps, self.done = title, steps, 0
        self.loss, self.metrics = float("nan"), {}
        self.begin = self.last = perf_counter()

    @override
    def advance(self, steps: int, loss: float) -> None:
        self.done += steps
        self.loss = loss
        if perf_counter() - self.last >= self.quiet:
            self.say()

    @override
    def evaluated(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics

    @override
    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    @override
    def finish(self) -> None:
        self.say()

    def say(self) -> None:
        """Write a line now: steps, time left or spent, loss, the last accuracy."""
        self.last = perf_counter()
        spent = self.last - self.begin
        left = f", {spent * (self.steps / self.done - 1):.0f} s left" if 0 < self.done < self.steps else f", {spent:.0f} s"
        shown = _words_of(self.loss, self.metrics)
        print(f"{self.title}: step {self.done}/{self.steps}{left}{'  ' + shown if shown else ''}", file=self.stream, flush=True)


def for_stream(stream: TextIO = sys.stderr) -> Progress:
    """Return an observer that shows the training on a stream.

    Args:
        stream: standard error by default.

    Returns:
        A bar for a terminal, plain lines for anything else.
    """
    return Bar(stream) if stream.isatty() else Lines(stream)


def _words_of(loss: float, metrics: dict[str, float]) -> str:
    accuracies = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in metrics.items() if name.endswith("accuracy")]
    return "  ".join([f"loss {loss:.4g}", *accuracies])
