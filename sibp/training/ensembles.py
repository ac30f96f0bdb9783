"""The ensembles of one label, trained one after another, with a checkpoint on the way."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch

from sibp.experiments.jobs import Job
from sibp.kernels import native
from sibp.methods import Method
from sibp.nets.network import Network
from sibp.results import environment, records
from sibp.results.progress import Clock, Progress
from sibp.training import evaluation
from sibp.training.checkpoint import Checkpoint
from sibp.training.problem import Problem
from sibp.training.trainer import Run, Trainer

__all__ = ["Done", "Ensembles", "bytes_per_member"]


@dataclass
class Done:
    """How far a job is: the ensembles still to train, what those before left behind, and what was out of the ordinary."""

    waiting: list[list[int]]  # member numbers
    trained: list[list[int]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    diverged: list[dict[str, int]] = field(default_factory=list)
    pruned: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: dict[str, Any] | None = None  # of the first ensemble waiting, see `Run.content`


class Ensembles:
    """All members of one label.

    Args:
        job: what is trained.
        problem: on what.
        clock: of the job's phases; where a checkpoint is gone on from, its seconds go on, too.
        progress: what to tell.
        checkpoint: what to go on from and to keep on the way.
        about: the job's record so far; `started` and `peak_memory_bytes` of a job that was killed replace its own.
        groups: the ensembles to train, of `Job.groups`.
    """

    def __init__(
        self,
        job: Job,
        problem: Problem,
        clock: Clock,
        progress: Progress,
        checkpoint: Checkpoint,
        about: dict[str, Any],
        groups: list[list[int]],
    ) -> None:
        self.job, self.problem, self.about = job, problem, about
        self.clock, self.progress, self.checkpoint = clock, progress, checkpoint
        self.done = Done(list(groups))

    def train(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Train what is not yet trained; return the rows of all members and how they ended."""
        steps = self.job.steps
        self.progress.start(f"{self.job.experiment.id} {self.job.label}", steps * len(self.done.waiting))
        try:
            with self.checkpoint.listening():
                self.resume()
                self.note_slower_code()
                self.progress.advance(steps * len(self.done.trained), float("nan"))
                while self.done.waiting:
                    self.train_next()
        finally:
            self.progress.finish()
        done = self.done
        table = pd.DataFrame(done.rows).sort_values(["member", "step"], ignore_index=True)
        names = {"exhibit": self.job.experiment.id, "method": self.job.label, "algorithm": self.job.algorithm}
        for position, column in enumerate(names.items()):
            table.insert(position, *column)
        return table, {
            "ensembles": done.trained,
            "diverged": sorted(done.diverged, key=lambda one: one["member"]),
            "pruned": sorted(done.pruned, key=lambda one: one["member"]),
            "notes": done.notes,
        }

    def train_next(self) -> None:
        """Train the first ensemble waiting; one that does not fit into the device's memory is put back as two halves."""
        done, group = self.done, self.done.waiting[0]
        try:
            members = [self.job.members[i] for i in group]
            trainer = Trainer(self.problem, self.job.algorithm, members, self.clock, self.progress)
            trained = trainer.train(done.run, self.keep)
        except (torch.OutOfMemoryError, MemoryError):  # neither is the other
            if len(group) == 1:
                raise
            trained = None
        done.run = None
        if trained is None:  # here, not in the except clause, whose traceback holds the tensors
            self.halve(group)
            return
        if self.problem.device.type == "cuda" and trained.recorded and trained.recorded.reason:
            self.note(f"steps ran one by one, not as a graph: {trained.recorded.reason}")
        done.rows += trained.rows
        done.pruned += evaluation.pruned(self.problem, trained.parameters, group, self.problem.training.prune)
        ends = zip(group, trained.diverged_at.tolist(), strict=True)
        done.diverged += [{"member": number, "step": step} for number, step in ends if step >= 0]
        done.trained.append(done.waiting.pop(0))
        self.keep()

    def halve(self, group: list[int]) -> None:
        """Put the first ensemble back as two, which start anew."""
        half = len(group) // 2
        self.done.waiting[:1] = [group[:half], group[half:]]
        sizes = f"{half} and {len(group) - half} members"
        self.note(f"an ensemble of {len(group)} members was out of memory: trained as {sizes}, equal up to rounding")
        if self.problem.device.type == "cuda":
            torch.cuda.empty_cache()

    def keep(self, run: Run | None = None) -> None:
        """Offer the rows so far and a checkpoint; `run` is that of the first ensemble waiting."""

        def content() -> dict[str, Any]:
            begun = {"started": self.about["started"], "peak_memory_bytes": self.peak_memory(), "seconds": self.clock.so_far()}
            return begun | vars(self.done) | {"run": run and run.content()}

        rows = run.rows if run else self.done.rows
        self.progress.recorded(rows, records.roles(rows[0] if rows else (), self.job.options))
        self.checkpoint.offer(content)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one that belongs to this job."""
        content, fault = self.checkpoint.load()
        if content is not None:
            self.done = Done(**{name: content[name] for name in vars(self.done)})
            self.about |= {name: content[name] for name in ("started", "peak_memory_bytes")}
            for phase, seconds in content["seconds"].items():
                self.clock.add(phase, seconds)
            step = self.done.run["step"] if self.done.run else 0
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.note(f"went on from ensemble {len(self.done.trained) + 1}, step {step}, at {now}")
        elif fault:
            self.note(fault)

    def note_slower_code(self) -> None:
        """Have the record say that the compiled kernels are missing; who starts runs says it to people, once for all its labels."""
        line = native.fallback() if self.problem.device.type == "cpu" else ""
        if line and line not in self.done.notes:
            self.done.notes.append(line)

    def note(self, text: str) -> None:
        """Say something out of the ordinary, now and in the record."""
        self.done.notes.append(text)
        self.progress.note(text)

    def peak_memory(self) -> int:
        """Return the most memory held so far, in bytes, before the job was killed and after."""
        return max(self.about.get("peak_memory_bytes", 0), environment.peak_memory(self.problem.device))


def bytes_per_member(network: Network, batch_size: int, dtype: torch.dtype = torch.float32, method: type[Method] = Method) -> int:
    """Estimate one member's memory in bytes while it trains, to a factor of two: its parameters, what `method` holds beside them, and
    what it holds for each sample. `sibp.bench.cost` counts it.
    """
    return dtype.itemsize * ((1 + method.buffers) * network.parameter_count + batch_size * method.numbers_per_sample(network))
