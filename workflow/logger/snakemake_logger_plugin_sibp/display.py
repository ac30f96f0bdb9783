"""How a run is shown: one bar on a terminal, few and short lines elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .plan import Plan, duration

__all__ = ["Bar", "Display", "Lines", "Running", "last_line"]

WIDTH = 200  # characters of a plain line at most
NOTES = 120  # lines of failures and warnings at most; with the table and 100 percentages no run prints 300 lines
QUIET = 10.0  # seconds between two plain lines of progress at least
SILENCE = 60.0  # seconds until a line says that jobs are still running; each such line waits half as long again
TAIL = 4096  # bytes of a log that are looked at


@dataclass(frozen=True)
class Running:
    """A job that runs: its name, its log, and when it was started."""

    name: str
    log: str | None
    since: float

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return monotonic() - self.since


def last_line(log: str | None) -> str:
    """Return the last line of a log that is not empty, or nothing."""
    try:
        with open(log or "", "rb") as file:
            file.seek(max(0, Path(log or "").stat().st_size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def last_accuracy(log: str | None) -> str:
    """Return the last accuracy that a log tells, such as ``test accuracy 0.9712``, or nothing."""
    accuracies = re.findall(r"\w+ accuracy [\d.]+", last_line(log))
    return accuracies[-1] if accuracies else ""


def shorten(text: str, width: int) -> str:
    """Return a text in so many characters at most."""
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


class Display:
    """The state of a run, and what all ways to show it share."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.begin = plan, monotonic()
        self.running: dict[int, Running] = {}
        self.finished: set[int] = set()
        self.failed: set[int] = set()

    def say(self, line: str) -> None:
        """Show a line that stays."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Show how far the run is."""
        raise NotImplementedError

    def stop(self) -> None:
        """Show nothing more that changes."""

    def table(self) -> None:
        """Show what the run will do."""
        for name, text in self.plan.table():
            self.say(f"  {name:12} {text}")

    def tick(self) -> None:
        """Show about every second what has changed, and the counted time once it is there."""
        if self.plan.take_count():
            self.say(f"time: {self.plan.time()}")
        self.refresh()

    def fail(self, number: int, name: str, log: str | None) -> None:
        """Say in one line that a job failed, why, and where its log is."""
        self.failed.add(number)
        running = self.running.pop(number, None)
        after = f" after {duration(running.age)}" if running else ""
        log_part = f"; log: {log}" if log else ""
        head = f"FAILED {name}{after}: "
        fault = last_line(log) or "no word in its log"
        self.say(f"{head}{shorten(fault, max(20, WIDTH - len(head) - len(log_part)))}{log_part}")

    def end(self) -> None:
        """Say how the run ended."""
        self.plan.stop()
        self.stop()
        failed = f", {len(self.failed)} failed" if self.failed else ""
        spent = duration(monotonic() - self.begin)
        self.say(f"{len(self.finished)} of {len(self.plan.jobs)} jobs done in {spent}{failed}; full log: {self.plan.log}")

    @property
    def done(self) -> float:
        """The part of the run that is done, between 0 and 1."""
        return self.plan.done(self.finished, self.ages())

    def ages(self) -> Mapping[int, float]:
        """Return the seconds since each running job was started."""
        return {number: job.age for number, job in self.running.items()}

    def status(self) -> str:
        """Return how much is done and how long the rest takes."""
        done = self.done
        left = self.plan.left(done, monotonic() - self.begin)
        rest = f", about {duration(left)} left" if done < 1 and (self.plan.is_counted or self.finished) else ""
        return f"{100 * done:.0f} %, {len(self.finished)} of {len(self.plan.jobs)} jobs{rest}"


class Lines(Display):
    """Plain lines: at most one for each hundredth of the run, and some where nothing happens for long."""

    def __init__(self, plan: Plan, stream: TextIO) -> None:
        super().__init__(plan)
        self.stream, self.notes, self.silence = stream, 0, SILENCE
        self.told, self.percent = monotonic(), 0

    def write(self, line: str) -> None:
        """Print a line that does not count as a note."""
        print(shorten(line, WIDTH), file=self.stream, flush=True)

    def table(self) -> None:
        super().table()
        self.notes = 0

    def say(self, line: str) -> None:
        self.notes += 1
        if self.notes < NOTES:
            self.write(line)
        elif self.notes == NOTES:
            self.write(f"more failures and warnings are in {self.plan.log}")

    def end(self) -> None:
        self.notes = 0
        super().end()

    def refresh(self) -> None:
        percent, quiet = int(100 * self.done), monotonic() - self.told
        if quiet > self.silence:
            self.silence *= 1.5
        elif percent <= self.percent or quiet < QUIET:
            return
        self.told, self.percent = monotonic(), max(percent, self.percent)
        now = [" ".join([job.name, last_accuracy(job.log)]).strip() for job in self.running.values()]
        self.write(f"{self.status()}; now: {', '.join(now) or '-'}")


class Bar(Display):
    """One bar for the whole, and below it the jobs that run."""

    def __init__(self, plan: Plan, console: Console) -> None:
        super().__init__(plan)
        self.console = console
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def table(self) -> None:
        grid = Table.grid(padding=(0, 2))
        for name, text in self.plan.table():
            grid.add_row(Text(name, style="bold"), Text(text))
        self.console.print(grid)
        self.live.start()

    def refresh(self) -> None:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=1.0, completed=self.done, width=30), Text(self.status()))
        shown = list(self.running.values())[: max(1, self.console.height - 4)]
        rows = [
            Text(f"  {job.name}  {duration(job.age)}  {last_accuracy(job.log)}", overflow="ellipsis", no_wrap=True) for job in shown
        ]
        self.live.update(Group(grid, *rows), refresh=True)

    def stop(self) -> None:
        self.live.stop()
