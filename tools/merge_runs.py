"""Which of several runs of a job the repository keeps: the papers' size before a smaller one, more seeds before fewer, the newer of equals.

A run that comes in must have today's settings, and have been trained by code that passes today's golden runs (`tests/golden`): the package
of its commit is checked out and computes them anew, bit by bit.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sibp.experiments import size, specs
from sibp.experiments.jobs import Job, jobs, of_record
from sibp.experiments.yaml_file import SpecError
from sibp.results import records
from tests.golden import runs as golden
from tools import older_runs
from tools.offline_gpu import parts

EXPERIMENTS = Path("workflow/experiments")
# of `training`: its size, where it is measured, and what a machine's memory and kind decide
MAY_DIFFER = {*size.LENGTHS, "batch_size", "evaluate_every", "measure", "prune", "ensemble", "device"}


@dataclass(frozen=True)
class Finished:
    """A finished run, the job that it was, and the job that it would be today."""

    run: records.Run
    ran: Job
    full: Job  # the same label as its experiment file has it today

    @property
    def name(self) -> str:
        return self.ran.name

    @property
    def record(self) -> dict[str, Any]:
        return self.run.record

    @property
    def rank(self) -> tuple[bool, int, str]:
        """What is kept before what: the larger."""
        return size.has_papers_size(self.ran, self.full) and not self.other_settings(), len(self.ran.seeds), self.record["started"]

    def other_settings(self) -> list[str]:
        """Return the settings, seeds and size aside, in which the run differs from today's experiment file."""
        ours, theirs = self.ran.settings(), self.full.settings()
        others = [key for key in ours if key not in {"seeds", "data", "network", "training"} and ours[key] != theirs[key]]
        ran, full = self.ran.training.model_dump(), self.full.training.model_dump()
        return others + [f"training.{key}" for key in ran if key not in MAY_DIFFER and ran[key] != full[key]]

    def words(self) -> str:
        """Return its size and number of seeds in words."""
        reductions = ", ".join(size.reductions(self.ran, self.full)) or "the papers' size"
        return f"{reductions}, {len(self.ran.seeds)} of {len(self.full.seeds)} seeds"


def read(path: Path, experiments: Path = EXPERIMENTS) -> Finished:
    """Return the run whose Parquet file this is, also one of the older form, see `tools.older_runs`.

    Raises:
        SpecError: if it has no record, or belongs to no job of this checkout.
    """
    try:
        run = older_runs.read(path)
        ran = of_record(run.record, run.record["method"], str(path))
    except (records.RecordError, SpecError, LookupError) as fault:
        raise SpecError(f"{path}: its record is missing or damaged ({' '.join(str(fault).split())})") from None
    return Finished(
        run, ran, Job(specs.load_experiment(experiments / f"{ran.experiment.id}.yaml", shallow=True).trained, ran.label)
    )


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its line, and the experiment whose kept runs changed, if any."""

    line: str
    changed: str | None = None


def merge(
    folders: list[Path], into: Path, check: Callable[[Finished], str] | None = None, experiments: Path = EXPERIMENTS
) -> Iterator[Outcome]:
    """Take from folders what is better than the runs below `into`, ``<id>/<label>.parquet``; yield an outcome for each job.

    Ensembles that were trained one by one are joined first. `check` says why a run's code does not count as today's, or nothing; by
    default the golden runs decide, see `other_code`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        paths = parts.joined(sorted(path for folder in folders for path in folder.rglob("*.parquet")), Path(scratch))
        yield from (_take(path, into, check or other_code, experiments) for path in paths)


def _take(path: Path, into: Path, check: Callable[[Finished], str], experiments: Path) -> Outcome:
    """Take one run if it is better than what there is."""
    try:
        new = read(path, experiments)
    except SpecError as fault:
        return Outcome(f"refused {fault}")
    target = into / f"{new.name}.parquet"
    old = read(target, experiments) if target.exists() else None
    if other := new.other_settings():
        return Outcome(f"refused {new.name}: was trained with another {', '.join(other)} than its experiment file has")
    if old is not None and old.rank >= new.rank:
        return Outcome(f"left {new.name}: {new.words()}; there is {old.words()}")
    if fault := check(new):
        return Outcome(f"refused {new.name}: {fault}")
    records.write(target, new.run)
    place = f" in place of {old.words()}" if old else ""
    return Outcome(f"took {new.name}: {new.words()}{place}", new.ran.experiment.id)


def other_code(run: Finished) -> str:
    """Return why the code that trained a run does not count as today's; nothing if it passes the golden runs that cover it to the bit."""
    git = run.record.get("git") or {}
    if not git.get("commit"):
        return "its record names no commit"
    if git.get("dirty"):
        return f"it was trained from a checkout with changes to {git['commit'][:8]}"
    try:
        then, now = golden_bits(git["commit"]), golden_bits(None)
    except RuntimeError as fault:
        return str(fault)
    covering = [label for label in now if label in covered_by(run.ran)]
    if not covering:
        return "no golden run covers its method's variant on its kind of network"
    other = [label for label in covering if then.get(label) != now[label]]
    return f"commit {git['commit'][:8]} computes other numbers in the golden run {other[0]}" if other else ""


def covered_by(job: Job) -> set[str]:
    """Return the golden runs that run a job's code: its method's, of its variant, on its kind of network, dense or convolutional."""
    return {
        f"{name}/{other.label}"
        for name in golden.FILES
        for other in jobs(specs.load_experiment(golden.HERE / f"{name}.yaml"))
        if other.code_paths & job.code_paths
    }


@cache
def golden_bits(commit: str | None) -> dict[str, str]:
    """Return the SHA-256 of each golden run's numbers, as a commit's package computes them; None is this checkout.

    Raises:
        RuntimeError: in one line, if the commit is not there or cannot train them.
    """
    if commit is None:
        return _bits(None)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        added = subprocess.run(["git", "worktree", "add", "--detach", checkout, commit], capture_output=True, text=True)
        if added.returncode:
            raise RuntimeError(f"commit {commit[:8]} is not in this repository")
        try:
            return _bits(checkout)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", checkout], capture_output=True)


def _bits(checkout: Path | None) -> dict[str, str]:
    values = {label: value for name in golden.FILES for label, value in golden.run(name, checkout).items()}
    return {label: value["bits"] for label, value in values.items()}
