"""The training loop of one ensemble: sample, step, evaluate at fixed points.

Training seconds exclude warm-up and evaluation, and are read after the device has finished. A member whose loss or parameters
stop being finite is `diverged`: from the next evaluation on its metrics are NaN, and the others go on untouched.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sibp.experiments.jobs import Member
from sibp.methods import registry
from sibp.methods.base import State
from sibp.nets.layers import Affine
from sibp.results.progress import Clock, Progress
from sibp.training import evaluation
from sibp.training.cuda_graph import Captured
from sibp.training.problem import Problem
from sibp.training.sampling import Batches

__all__ = ["Run", "Trainer"]

SAVED = ("state", "diverged_at", "step", "seconds", "first_weight_change", "rows")  # of a run, beside the parameters
CHECK_EVERY = 50  # steps between two looks of the host at the device
WARM_UP = 3  # steps before a run on CUDA or a timed one; thrown away


@dataclass
class Run:
    """The state of one ensemble's loop; with it and the settings, training can resume.

    Attributes:
        parameters: one `Affine` per layer, trained in place.
        state: of the method, likewise.
        diverged_at: `[E]`, the number of steps after which a member was not finite, or -1.
        captured: the step, as a CUDA graph where it can be one.
        step: steps made.
        seconds: of training, evaluation and warm-up left out.
        first_weight_change: ||W_1 - its old value|| of the last step, `[E]`, where it is measured.
        rows: one per member and evaluation.
    """

    parameters: list[Affine]
    state: State
    diverged_at: Tensor
    captured: Captured | None = None
    step: int = 0
    seconds: float = 0.0
    first_weight_change: Tensor | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def mark(self, bad: Tensor) -> None:
        """Note members that are not finite after `step` steps.

        Args:
            bad: flags `[E]`.
        """
        self.diverged_at = torch.where(bad & (self.diverged_at < 0), self.step, self.diverged_at)

    def freeze(self) -> Tensor:
        """Set the parameters of diverged members to zero, so that no search runs on NaN.

        Returns:
            Which members go on, `[E]`.
        """
        diverged = (self.diverged_at >= 0).view(-1, 1, 1)
        for tensor in self.tensors():
            tensor.masked_fill_(diverged, 0)
        return ~diverged.flatten()

    def tensors(self, layers: int | None = None) -> list[Tensor]:
        """Return weights and biases in one list.

        Args:
            layers: of so many layers nearest the input; None for all.

        Returns:
            W and b of the first layer, of the second, and so on.
        """
        return [tensor for layer in self.parameters[:layers] for tensor in layer if tensor is not None]

    def content(self) -> dict[str, Any]:
        """Collect what a checkpoint needs.

        Returns:
            What `restore` takes; the tensors are the run's own.
        """
        return {"parameters": self.tensors(), **{name: getattr(self, name) for name in SAVED}}

    def restore(self, content: dict[str, Any]) -> None:
        """Resume where a content was taken, in tensors of the run's own layout, since products may round by layout.

        Args:
            content: from `content`.
        """
        device = self.diverged_at.device
        for tensor, values in zip(self.tensors(), content["parameters"], strict=True):
            tensor.copy_(values)
        for name in SAVED:
            setattr(self, name, _moved(content[name], device))


class Trainer:
    """Trains one ensemble: members whose products are batched together.

    Args:
        problem: what is trained on what.
        algorithm: the name of the method.
        members: numbers, seeds and options; their non-float options agree.
        clock: of the job's phases.
        progress: observer of the training.
    """

    def __init__(self, problem: Problem, algorithm: str, members: Sequence[Member], clock: Clock, progress: Progress) -> None:
        self.problem, self.training, self.members = problem, problem.training, members
        self.clock, self.progress = clock, progress
        self.seeds = [member.seed for member in members]
        train, training = problem.splits["train"], problem.training
        self.batches = Batches(train, self.seeds, training.batch(len(train)), training.sampling, problem.dtype)
        self.steps = training.total_steps(len(train))
        options = [member.options for member in members]
        self.method = registry.build(algorithm, problem.network, problem.loss, options, dtype=problem.dtype, device=problem.device)

    def start(self) -> Run:
        """Draw the initial parameters.

        Returns:
            A run at step 0.
        """
        parameters = self.problem.parameters(self.seeds)
        diverged_at = torch.full((len(self.seeds),), -1, device=self.problem.device)
        return Run(parameters, self.method.start(parameters), diverged_at)

    def train(self, content: dict[str, Any] | None = None, keep: Callable[[Run], None] = lambda _run: None) -> Run:
        """Train from start to end and evaluate at the fixed points.

        Args:
            content: where to resume instead, see `Run.content`.
            keep: called with the run now and then, between two steps and before the evaluation that follows them.

        Returns:
            The run, which holds the rows.
        """
        if steps := self.warm_up_steps():
            with self.clock("warm-up"):
                self.steps_to(self.start(), steps)
        run = self.start()
        if content is not None:
            run.restore(content)
            self.progress.advance(run.step, math.nan)
        self.capture(run)
        points = self.training.evaluation_points(len(self.problem.splits["train"]))
        for point in points[len(run.rows) // len(self.members) :]:
            in_time = self.advance(run, point, keep)
            with self.clock("evaluate"):
                self.evaluate(run, in_time=in_time)
            if not in_time:
                break
        return run

    def warm_up_steps(self) -> int:
        """Count the steps that are made and thrown away first, in which libraries set themselves up.

        Returns:
            Steps; 0 where a step is captured as a graph, which warms up by itself; a whole sweep over the data is as much as several steps.
        """
        is_cuda, is_timed = self.problem.device.type == "cuda", self.training.is_timed
        if self.method.whole_data:
            return int(is_timed)
        captured = is_cuda and self.method.capture_obstacle is None
        return min(WARM_UP, self.steps) if (is_timed or is_cuda) and not captured else 0

    def capture(self, run: Run) -> None:
        """Let a CUDA device replay the step as one graph, see `cuda_graph`; a step on the whole data is too long to gain by it.

        Args:
            run: whose step it is.
        """
        if self.method.whole_data:
            return
        run.captured = Captured(self.method, run.parameters, run.state)
        if run.captured.reason is None and run.step < self.steps:
            with self.clock("warm-up"):
                run.captured.graph(*self.batches.at(run.step))

    def advance(self, run: Run, point: int, keep: Callable[[Run], None] = lambda _run: None) -> bool:
        """Step to an evaluation point.

        Args:
            run: trained in place.
            point: the number of steps to reach.
            keep: called with the run now and then, between two steps.

        Returns:
            False if the time limit came first.
        """
        limit = self.training.max_seconds or math.inf
        while run.step < point:
            before, begin = run.step, self.clock.now()
            if run.freeze().any():
                losses = self.steps_to(run, min(point, run.step + CHECK_EVERY))
                spent = self.clock.now() - begin
                run.seconds += spent
                self.clock.add("train", spent)
                self.progress.advance(run.step - before, losses[losses.isfinite()].mean().item())
            else:
                run.step = point
                self.progress.advance(run.step - before, math.nan)
            if run.seconds > limit and run.step < self.steps:
                return False
            keep(run)
        return True

    def steps_to(self, run: Run, stop: int) -> Tensor:
        """Make steps without a host sync.

        Args:
            run: trained in place.
            stop: the number of steps to reach, more than `run.step`.

        Returns:
            The mean losses of the last mini-batch before its step, `[E]`.
        """
        step = run.captured or partial(self.method.step, run.parameters, run.state)
        watch = "first_weight_change" in self.training.measure
        fixed = [(tensor, tensor.clone()) for tensor in run.tensors(self.training.fixed_layers or 0)]
        while run.step < stop:
            x, y = self.batches.at(run.step)
            W = run.parameters[0].W
            before = W.clone() if watch and run.step == stop - 1 else None
            losses = step(x, y)
            for tensor, drawn in fixed:  # no error of a trained layer has gone through them
                tensor.copy_(drawn)
            run.mark(~losses.isfinite())
            run.step += 1
            if before is not None:
                run.first_weight_change = (W - before).flatten(1).norm(dim=1)
        return losses

    def evaluate(self, run: Run, *, in_time: bool = True) -> None:
        """Measure all members in one pass and add a row for each; a member that has diverged gets NaN.

        Args:
            run: gets the rows.
            in_time: False if the time limit ends the run here.
        """
        run.mark(~torch.stack([tensor.isfinite().flatten(1).all(1) for tensor in run.tensors()]).all(0))
        metrics = self.measure(run) if run.freeze().any() else {}
        for name, values in metrics.items():
            if name.endswith("_loss"):
                run.mark(~values.isfinite())
        alive = run.freeze().tolist()
        table = {name: values.tolist() for name, values in metrics.items()}
        end = "done" if run.step == self.steps else "running" if in_time else "out_of_time"
        for i, member in enumerate(self.members):
            row = {"member": member.number, "seed": member.seed, **asdict(member.options)}
            row |= {"epoch": run.step / self.batches.steps_per_epoch, "step": run.step}
            row |= {"samples": self.batches.seen(run.step), "seconds": run.seconds}
            row |= {name: values[i] if alive[i] else math.nan for name, values in table.items()}
            run.rows.append(row | {"status": end if alive[i] else "diverged"})
        self.progress.evaluated({name: _mean(values, alive) for name, values in table.items()})

    def measure(self, run: Run) -> dict[str, Tensor]:
        """Return every metric of the experiment; the gradient is that of the next mini-batch.

        Args:
            run: what is measured.

        Returns:
            Values `[E]` by the metric's name, such as ``test_accuracy``.
        """
        problem, metrics = self.problem, {}
        batch = partial(self.batches.at, run.step)
        snapshot = evaluation.Snapshot(problem.network, problem.loss, run.parameters, batch, run.first_weight_change)
        for name in self.training.measure:
            if name in evaluation.METRICS:
                metrics[name] = evaluation.METRICS[name](snapshot)
            else:
                split = evaluation.measure(problem.network, problem.loss, run.parameters, problem.splits[name], problem.dtype)
                metrics |= {f"{name}_{key}": values for key, values in split.items()}
        return metrics


def _moved(value: Any, device: torch.device) -> Any:
    """Return a value of a checkpoint with its tensors, in lists and dictionaries or not, as fresh ones on a device."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, dict):
        return {key: _moved(inner, device) for key, inner in value.items()}
    return [_moved(inner, device) for inner in value] if isinstance(value, list) else value


def _mean(values: list[float], alive: list[bool]) -> float:
    finite = [value for value, lives in zip(values, alive, strict=True) if lives]
    return sum(finite) / len(finite) if finite else math.nan
