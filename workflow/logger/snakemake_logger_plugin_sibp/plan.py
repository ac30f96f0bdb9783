"""What a run of the workflow will do, about how long that takes, and how much of it is left."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from statistics import mean
from typing import Any

__all__ = ["Job", "Plan", "duration", "from_facts"]

OTHER = {"cost": 60.0}  # seconds of a rule's job that trains nothing
SCRIPT = 5.0  # seconds of any other: the start of Python and its libraries takes most of them
TRUST = 0.1  # the estimate weighs as much as this part of the run when what is left is counted anew


@dataclass(frozen=True)
class Job:
    """A job to come.

    Attributes:
        rule: its rule's name.
        wildcards: their values.
        is_alone: whether no other of these jobs runs beside it.
        trains: the experiment's file and the labels that it trains, or None.
    """

    rule: str
    wildcards: Mapping[str, str]
    is_alone: bool
    trains: tuple[str, list[str]] | None = None

    @property
    def name(self) -> str:
        """What it is called, such as ``train j-table2/sgd``."""
        return " ".join(["train" if self.trains else self.rule, *filter(None, ["/".join(self.wildcards.values())])])


@dataclass
class Plan:
    """The jobs of a run, before the first of them starts.

    Args:
        scale: its name; `scale_file` is what `sibp run --scale` takes, `scales` the folder of the named ones.
        device: ``cpu`` or ``cuda``.
        cores: that jobs may use together.
        root: the folder of the results.
        log: Snakemake's full log.
        ready: how many jobs of the targets need not run, their files being up to date.
        jobs: by number.
        counts: whether training takes so long that counting its seconds, which takes some itself, pays.
    """

    scale: str
    scale_file: str
    scales: str
    device: str
    cores: int
    root: str
    log: str
    ready: int
    jobs: dict[int, Job]
    counts: bool = True
    seconds: dict[int, float] = field(default_factory=dict)
    counting: subprocess.Popen[str] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether the seconds of jobs that train are known, if there are any."""
        return bool(self.seconds) or not any(job.trains for job in self.jobs.values())

    def count(self) -> None:
        """Start counting the seconds of training jobs, in a process of its own because torch takes long to import."""
        jobs = {number: job.trains for number, job in self.jobs.items() if job.trains}
        if not jobs or not self.counts:
            return
        request = {"device": self.device, "scale": self.scale_file, "scales": self.scales, "jobs": jobs}
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "sibp.bench.durations"]
        with tempfile.TemporaryFile("w+") as file:  # not a pipe, which may break
            json.dump(request, file)
            file.seek(0)
            self.counting = subprocess.Popen(
                command, env=environment, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def take_count(self, seconds: float = 0.0) -> bool:
        """Take what was counted, after waiting for so many seconds at most; tell whether counting has ended just now."""
        if self.counting is None:
            return False
        try:
            self.counting.wait(seconds)  # what it prints, a number a job, fits in a pipe
        except subprocess.TimeoutExpired:
            return False
        printed, _ = self.counting.communicate()
        if self.counting.returncode == 0:  # where it failed, the time left comes from the jobs' pace alone
            self.seconds = {int(number): value for number, value in json.loads(printed).items()}
        self.counting = None
        return True

    def stop(self) -> None:
        """Stop counting."""
        if self.counting is not None:
            self.counting.kill()
            self.counting.communicate()
            self.counting = None

    def seconds_of(self, number: int) -> float:
        """Return about how many seconds a job takes; for one that trains but was not counted, the mean of those that were."""
        if self.seconds and self.jobs[number].trains:
            return self.seconds.get(number, mean(self.seconds.values()))
        return OTHER.get(self.jobs[number].rule, SCRIPT)

    def wall(self, parts: Mapping[int, float]) -> float:
        """Return about how many seconds pass while parts of jobs (between 0 and 1, by their numbers) are done."""
        cost = {number: part * self.seconds_of(number) for number, part in parts.items() if number in self.jobs}
        alone_seconds = sum(value for number, value in cost.items() if self.jobs[number].is_alone)
        return alone_seconds + (sum(cost.values()) - alone_seconds) / self.cores

    @property
    def total(self) -> float:
        """Seconds that the whole run takes, as planned."""
        return self.wall(dict.fromkeys(self.jobs, 1.0))

    def done(self, finished: Iterable[int], running: Mapping[int, float]) -> float:
        """Return the part of the run that is done, between 0 and 1.

        Args:
            finished: numbers of jobs.
            running: seconds since each of these was started; it counts as done at the planned pace, but for a last twentieth.
        """
        parts = {number: min(age / self.seconds_of(number), 0.95) for number, age in running.items() if number in self.jobs}
        return self.wall(parts | dict.fromkeys(finished, 1.0)) / self.total if self.total else 1.0

    def left(self, done: float, elapsed: float) -> float:
        """Return about how many seconds are left after `elapsed` seconds for a part `done`.

        (1 - done) T (elapsed + a T) / (done T + a T), with T planned in all: the plan's pace at first, the run's own later.
        """
        total = self.total
        return (1 - done) * total * (elapsed + TRUST * total) / ((done + TRUST) * total) if total else 0.0

    def table(self) -> list[tuple[str, str]]:
        """Return what there is to know before the first job: names and texts."""
        jobs, place = self.jobs.values(), Path(self.root).absolute()
        kinds = Counter("train" if job.trains else job.rule if job.wildcards else "draw, compute and write" for job in jobs)
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        fetched = sorted(job.wildcards["data"] for job in jobs if job.rule == "data")
        free = disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free
        needs = f"; fetches {', '.join(fetched)} where the cache lacks them" if fetched else ""
        return [
            ("scale", self.scale + ("" if self.scale == "full" else " (reduced)")),
            ("device", f"{self.device}, {self.cores} core{'s' * (self.cores > 1)} for jobs"),
            ("jobs", f"{len(self.jobs)}: {parts}"),
            ("done before", f"{self.ready} job{'s' * (self.ready != 1)} whose files are up to date"),
            ("time", self.time()),
            ("disk", f"{free / 2**30:.0f} GiB free in {self.root}{needs}"),
            ("full log", self.log),
        ]

    def time(self) -> str:
        """Return about how long the whole run takes, in words."""
        if not self.is_counted and not self.counts:
            return "not counted on generated data; the bar tells it from the jobs' pace"
        if not self.is_counted:
            return "being counted" if self.counting else "cannot be counted; the bar tells it from the jobs' pace"
        source = "counted at the rates of an H100" if self.device == "cuda" else "estimated from this machine's speed now"
        missing = sum(bool(job.trains) and number not in self.seconds for number, job in self.jobs.items())
        return f"about {duration(self.total)} ({source}{f'; {missing} training jobs could not be counted' * bool(missing)})"


def duration(seconds: float) -> str:
    """Return a time in words, as exact as it matters."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def from_facts(facts: Mapping[str, Any]) -> Plan:
    """Return the plan that the rules describe in plain values."""
    values: dict[str, Any] = {**facts, "jobs": {number: Job(**job) for number, job in facts["jobs"].items()}}
    return Plan(**values)
