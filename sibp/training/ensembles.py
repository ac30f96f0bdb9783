"""The ensembles of one label, trained one after another, with a checkpoint on the way."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import torch

from sibp.core import memory, messages
from sibp.core.errors import OneLineError
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

__all__ = ["Ensembles", "State", "bytes_per_member"]


@dataclass
class State:
    """The state of a job between two ensembles; a checkpoint holds it.

    Attributes:
        waiting: ensembles still to train, by member numbers.
        trained: ensembles that are done.
        rows: the records of those.
        diverged: their members that diverged, and after which step.
        pruned: their measurements after pruning.
        notes: one line each on what the record has to say beside the numbers, such as going on from a checkpoint.
        run: the first waiting ensemble's loop, see `Run.content`; None at its start.
    """

    waiting: list[list[int]]
    trained: list[list[int]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    diverged: list[dict[str, int]] = field(default_factory=list)
    pruned: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    run: dict[str, Any] | None = None


class Ensembles:
    """All members of one label.

    Args:
        job: what is trained.
        problem: on what.
        clock: of the job's phases; a run that resumes from a checkpoint adds the seconds before it.
        progress: observer of the training.
        checkpoint: where the job resumes, and where its state is kept.
        record: the job's JSON record so far; on a resume, `started` and `peak_memory_bytes` come from the checkpoint.
        groups: the ensembles to train, of `Job.groups`.
    """

    def __init__(
        self,
        job: Job,
        problem: Problem,
        clock: Clock,
        progress: Progress,
        *,
        checkpoint: Checkpoint,
        record: dict[str, Any],
        groups: list[list[int]],
    ) -> None:
        self.job, self.problem, self.record = job, problem, record
        self.clock, self.progress, self.checkpoint = clock, progress, checkpoint
        self.state = State(list(groups))

    def train(self) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Train what is not yet trained.

        Returns:
            The rows of all members, and for the JSON record: the ensembles, who diverged, what pruning gives, and the notes.
        """
        steps = self.job.steps
        self.progress.start(f"{self.job.experiment.id} {self.job.label}", steps * len(self.state.waiting))
        try:
            with self.checkpoint.listening():
                self.resume()
                self.note_slower_code()
                self.progress.advance(steps * len(self.state.trained), float("nan"))
                while self.state.waiting:
                    self.train_next()
        finally:
            self.progress.finish()
        state = self.state
        table = pd.DataFrame(state.rows).sort_values(["member", "step"], ignore_index=True)
        names = {"exhibit": self.job.experiment.id, "method": self.job.label, "algorithm": self.job.algorithm}
        for position, column in enumerate(names.items()):
            table.insert(position, *column)
        return table, {
            "ensembles": state.trained,
            "diverged": sorted(state.diverged, key=lambda entry: entry["member"]),
            "pruned": sorted(state.pruned, key=lambda entry: entry["member"]),
            "notes": state.notes,
        }

    def train_next(self) -> None:
        """Train the first ensemble waiting; one that does not fit into memory is put back as two halves.

        Raises:
            OneLineError: if a single member does not fit.
        """
        state, group = self.state, self.state.waiting[0]
        try:
            members = [self.job.members[i] for i in group]
            trainer = Trainer(self.problem, self.job.algorithm, members, self.clock, self.progress)
            trained = trainer.train(state.run, self.keep)
        except Exception as fault:
            if not memory.is_short(fault):
                raise
            if len(group) == 1:
                advice = "a single member does not fit: a smaller network or `training.batch_size` needs less"
                raise OneLineError(f"out of memory: {messages.first_line(fault)}; {advice}") from fault
            trained = None
        state.run = None
        if trained is None:  # here, not in the except clause, whose traceback holds the tensors
            self.halve(group)
            return
        if self.problem.device.type == "cuda" and trained.captured and trained.captured.reason:
            self.note(f"steps ran one by one, not as a graph: {trained.captured.reason}")
        state.rows += trained.rows
        state.pruned += evaluation.pruned(self.problem, trained.parameters, group, self.problem.training.prune)
        ends = zip(group, trained.diverged_at.tolist(), strict=True)
        state.diverged += [{"member": number, "step": step} for number, step in ends if step >= 0]
        state.trained.append(state.waiting.pop(0))
        self.keep()

    def halve(self, group: list[int]) -> None:
        """Put the first waiting ensemble back as two, which start anew.

        Args:
            group: its members' numbers, at least two.
        """
        half = len(group) // 2
        self.state.waiting[:1] = [group[:half], group[half:]]
        sizes = f"{half} and {len(group) - half} members"
        self.note(f"an ensemble of {len(group)} members was out of memory: trained as {sizes}, equal up to rounding")
        if self.problem.device.type == "cuda":
            torch.cuda.empty_cache()

    def keep(self, run: Run | None = None) -> None:
        """Hand the rows so far to the observer, and offer the job's state to the checkpoint.

        Args:
            run: the first waiting ensemble's loop; None between two ensembles.
        """

        def content() -> dict[str, Any]:
            begun = {"started": self.record["started"], "peak_memory_bytes": self.peak_memory(), "seconds": self.clock.so_far()}
            return begun | vars(self.state) | {"run": run and run.content()}

        rows = run.rows if run else self.state.rows
        self.progress.recorded(rows, records.roles(rows[0] if rows else (), self.job.options))
        self.checkpoint.offer(content)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one that belongs to this job."""
        content, fault = self.checkpoint.load()
        if content is not None:
            self.state = State(**{name: content[name] for name in vars(self.state)})
            self.record |= {name: content[name] for name in ("started", "peak_memory_bytes")}
            for phase, seconds in content["seconds"].items():
                self.clock.add(phase, seconds)
            step = self.state.run["step"] if self.state.run else 0
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.note(f"went on from ensemble {len(self.state.trained) + 1}, step {step}, at {now}")
        elif fault:
            self.note(fault)

    def note_slower_code(self) -> None:
        """Have the record say that the compiled kernels are missing; who starts runs says it to people, once for all its labels."""
        line = native.fallback() if self.problem.device.type == "cpu" else ""
        if line and line not in self.state.notes:
            self.state.notes.append(line)

    def note(self, text: str) -> None:
        """Say in one line what is not as usual, now and in the record.

        Args:
            text: the line.
        """
        self.state.notes.append(text)
        self.progress.note(text)

    def peak_memory(self) -> int:
        """Return the most memory held so far, in bytes, before the job was killed and after."""
        return max(self.record.get("peak_memory_bytes", 0), environment.peak_memory(self.problem.device))


def bytes_per_member(network: Network, batch_size: int, dtype: torch.dtype = torch.float32, method: type[Method] = Method) -> int:
    """Estimate one member's memory while it trains, to a factor of two; `sibp.bench.cost` counts it.

    Args:
        network: what is trained.
        batch_size: B.
        dtype: of the parameters.
        method: what holds arrays beside the parameters, and numbers for each sample.

    Returns:
        Bytes.
    """
    return dtype.itemsize * ((1 + method.buffers) * network.parameter_count + batch_size * method.numbers_per_sample(network))
