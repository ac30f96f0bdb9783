"""Time by phase, and how a run shows that it is alive: a bar on a terminal, plain lines elsewhere, or nothing."""

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

from sibp.results.records import Role

__all__ = ["Bar", "Clock", "Lines", "Progress", "for_stream"]

QUIET = 5.0  # seconds between two plain lines


@dataclass
class Clock:
    """Seconds by phase, read after the device has finished."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)

    def now(self) -> float:
        """Return a time in seconds after all work queued on the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    @contextmanager
    def __call__(self, phase: str) -> Generator[None]:
        self.begun[phase] = self.now()
        try:
            yield
        finally:
            self.add(phase, self.now() - self.begun.pop(phase))

    def so_far(self) -> dict[str, float]:
        """Return the seconds by phase, those of phases that are still going on included."""
        now = self.now()
        return self.seconds | {phase: self.seconds.get(phase, 0.0) + now - begin for phase, begin in self.begun.items()}


class Progress:
    """What a run tells while it trains; this one keeps it to itself."""

    def start(self, title: str, steps: int) -> None:
        """The training of one label begins, with so many steps over all its ensembles."""

    def advance(self, steps: int, loss: float) -> None:
        """So many more steps are done; the mean mini-batch loss of the members that have not diverged."""

    def evaluated(self, metrics: dict[str, float]) -> None:
        """The mean metrics of the members that have not diverged."""

    def recorded(self, rows: list[dict[str, Any]], roles: dict[str, Role]) -> None:
        """Rows of the record: all so far of the ensemble in training, or of those that are trained. The same ones come again and again.

        `roles` are those of their columns.
        """

    def note(self, text: str) -> None:
        """Something out of the ordinary that the record will say, too."""

    def finish(self) -> None:
        """The label is trained, or training was given up."""


class Bar(Progress):
    """One bar per label: steps, loss, the last accuracy, time left."""

    def __init__(self, stream: TextIO) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.rich = RichProgress(*columns, TextColumn("{task.fields[shown]}"), console=Console(file=stream))

    def start(self, title: str, steps: int) -> None:
        self.loss, self.metrics = float("nan"), {}
        self.rich.start()
        self.task = self.rich.add_task(title, total=steps, shown="")

    def advance(self, steps: int, loss: float) -> None:
        self.loss = loss
        self.rich.update(self.task, advance=steps, shown=_shown(self.loss, self.metrics))

    def evaluated(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics
        self.rich.update(self.task, shown=_shown(self.loss, self.metrics))

    def note(self, text: str) -> None:
        self.rich.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        self.rich.stop()


class Lines(Progress):
    """At most one line every few seconds, for logs."""

    def __init__(self, stream: TextIO, quiet: float = QUIET) -> None:
        self.stream, self.quiet = stream, quiet

    def start(self, title: str, steps: int) -> None:
        self.title, self.steps, self.done = title, steps, 0
        self.loss, self.metrics = float("nan"), {}
        self.begin = self.last = perf_counter()

    def advance(self, steps: int, loss: float) -> None:
        self.done += steps
        self.loss = loss
        if perf_counter() - self.last >= self.quiet:
            self.say()

    def evaluated(self, metrics: dict[str, float]) -> None:
        self.metrics = metrics

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def finish(self) -> None:
        self.say()

    def say(self) -> None:
        self.last = perf_counter()
        spent = self.last - self.begin
        left = f", {spent * (self.steps / self.done - 1):.0f} s left" if 0 < self.done < self.steps else f", {spent:.0f} s"
        shown = _shown(self.loss, self.metrics)
        print(f"{self.title}: step {self.done}/{self.steps}{left}{'  ' + shown if shown else ''}", file=self.stream, flush=True)


def for_stream(stream: TextIO = sys.stderr) -> Progress:
    """Return a bar for a terminal, plain lines for anything else."""
    return Bar(stream) if stream.isatty() else Lines(stream)


def _shown(loss: float, metrics: dict[str, float]) -> str:
    accuracies = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in metrics.items() if name.endswith("accuracy")]
    return "  ".join([f"loss {loss:.4g}", *accuracies])
