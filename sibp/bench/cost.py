"""How long training takes and how much memory, counted without the device: steps and evaluations on fake tensors, times a device's rates.

    cost.estimate(experiment, "sibp", "h100").seconds

The counts are exact for the operations of torch's library; the seconds are counted, not measured, and good to a factor of about two.
Counts are kept: labels that differ in numbers only share one.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sibp.bench import count_cache, fake_cuda
from sibp.bench.rates import DEVICES, Device
from sibp.bench.recorder import Count, Recorder
from sibp.experiments.jobs import Job, Member
from sibp.experiments.schema import Trained
from sibp.methods import Method, Options, registry
from sibp.nets import losses, papers, propagation
from sibp.nets.network import Network
from sibp.training import evaluation
from sibp.training.sampling import Samples

__all__ = ["Estimate", "Step", "estimate", "step"]

DRAW = 14e-9  # seconds of the host for an initial weight
AROUND = 12  # kernels that the sampler and the loop launch around a captured step


@dataclass(frozen=True)
class Step:
    """One step of one ensemble.

    Attributes:
        count: what it does on the device.
        bytes: held while it runs: parameters, state, mini-batch, temporaries.
        captured: whether it can be a CUDA graph.
    """

    count: Count
    bytes: int
    captured: bool


@dataclass(frozen=True)
class Estimate:
    """What a label's training takes on a device.

    Attributes:
        device: whose rates these are.
        start: seconds until a process of its own can train; a worker that takes job after job does so once.
        train: seconds of steps.
        evaluate: seconds of evaluations and pruning.
        other: seconds of drawing weights and capturing.
        kernels: of one step of the largest ensemble.
        bytes: most memory at a time, libraries included.
    """

    device: str
    start: float
    train: float
    evaluate: float
    other: float
    kernels: int
    bytes: int

    @property
    def seconds(self) -> float:
        """In all, the start of the process included."""
        return self.start + self.train + self.evaluate + self.other


def estimate(experiment: Trained, label: str, device: str | Device = "h100") -> Estimate:
    """Estimate what a label's training takes; a job of products too small for a GPU insists on the CPU, and is counted there.

    Args:
        experiment: resolved at a scale, see `sibp.experiments.specs`.
        label: one of its methods.
        device: of `DEVICES`, or rates of one's own, see `rates.measured`.

    Returns:
        The estimate, over all ensembles.
    """
    job, rates = Job(experiment, label), DEVICES[device] if isinstance(device, str) else device
    if job.training.device == "cpu" and rates.kind != "cpu":
        rates = DEVICES["cpu"]
    times = {"start": rates.job, "train": 0.0, "evaluate": 0.0, "other": 0.0}
    result = Estimate(rates.name, **times, kernels=0, bytes=0)
    for group in job.groups:
        result = _with_group(result, job, [job.members[i] for i in group], rates)
    return result


def _with_group(result: Estimate, job: Job, members: Sequence[Member], device: Device) -> Estimate:
    """Return an estimate with one more ensemble."""
    training, loss, sizes = job.training, job.experiment.loss, job.experiment.data.sizes()
    network, dtype = papers.build(**job.network.settings()), getattr(torch, job.training.dtype)
    shared = job.batch == sizes["train"] or len({member.seed for member in members}) == 1
    options = [member.options for member in members]
    counted = step(job.algorithm, options, network, job.batch, shared=shared, loss=loss, dtype=dtype, kind=device.kind)
    each, limit = _step_seconds(counted, device), training.max_seconds or math.inf
    trained = min(job.steps * each, limit)
    points = len(job.evaluation_points)
    reached = points if trained < limit else max(2, math.ceil(points * trained / (job.steps * each)))
    evaluated = partial(_evaluation, network, len(members), job.batch, sizes, loss=loss, dtype=dtype, kind=device.kind)
    seen, pruned = evaluated(training.measure), evaluated([*sizes]) if training.prune else Count()
    drawn = DRAW * len(members) * network.parameter_count * (2 if training.is_timed else 1)
    resident = sum(sizes.values()) * math.prod(network.input_shape) + device.context
    return replace(
        result,
        train=result.train + trained,
        evaluate=result.evaluate + reached * device.seconds(seen) + len(training.prune) * device.seconds(pruned),
        other=result.other + drawn + device.ensemble,
        kernels=max(result.kernels, counted.count.kernels),
        bytes=max(result.bytes, counted.bytes + resident, counted.bytes - counted.count.peak + seen.peak + resident),
    )


def _step_seconds(counted: Step, device: Device) -> float:
    if device.kind == "cuda" and counted.captured:
        return max(device.loop, device.seconds(counted.count, eager=False) + AROUND * device.smallest["map"])
    return device.loop + device.seconds(counted.count)


def step(
    algorithm: str,
    members: Sequence[Options],
    network: Network,
    batch: int,
    *,
    shared: bool = False,
    loss: str = "cross-entropy",
    dtype: torch.dtype = torch.float32,
    kind: str = "cuda",
) -> Step:
    """Count what one step of an ensemble does on a kind of device.

    Args:
        algorithm: the method's name.
        members: one `Options` each.
        network: what is trained.
        batch: B.
        shared: whether all members see the same samples.
        loss: its name.
        dtype: of the parameters.
        kind: ``cuda`` or ``cpu``.

    Returns:
        The count, from memory or the user's cache where it was counted before.
    """
    key = (
        "step",
        algorithm,
        registry.get(algorithm).group_key(members[0]),
        len(members),
        network,
        batch,
        shared,
        loss,
        dtype,
        kind,
    )
    method = registry.build(algorithm, network, losses.get(loss), members, dtype=dtype)
    captured, samples = method.capture_obstacle is None, (1 if shared else len(members), batch)
    count, size = count_cache.cached(key, lambda: _counted_step(method, samples, loss, dtype, torch.device(kind)))
    return Step(count, size, captured)


def _counted_step(
    method: Method[Any], samples: tuple[int, int], loss: str, dtype: torch.dtype, device: torch.device
) -> tuple[Count, int]:
    """Count a step on `samples` `[E or 1, B]`.

    Returns:
        The count, and the bytes held.

    Raises:
        RuntimeError: if the step cannot run on fake tensors.
    """
    network = method.network
    with fake_cuda.fake_device() as mode:
        fake_cuda.on_device(mode, method, device)
        parameters = fake_cuda.affines(mode, network, method.size, dtype, device)
        x = fake_cuda.empty(mode, *samples, *network.input_shape, dtype=dtype, device=device)
        y = _targets(mode, samples, network, loss, dtype=dtype, device=device)
        state = fake_cuda.started(mode, method, parameters)
        first = fake_cuda.watch(mode, lambda: method.step(parameters, state, x, y), device) if method.whole_data else None
        count = fake_cuda.watch(mode, lambda: method.step(parameters, state, x, y), device)
    if count.raised:
        raise RuntimeError(f"{method.name} on {network.name}: {count.raised}")
    held = [*propagation.tensors(parameters), *(tensor for tensors in state.values() for tensor in tensors), x, y]
    peak = max(
        count.peak, 0 if first is None else first.peak - sum(tensor.nbytes for tensors in state.values() for tensor in tensors)
    )
    return count, sum(tensor.nbytes for tensor in held) + peak


def _targets(mode: Any, shape: tuple[int, int], network: Network, loss: str, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    if loss == "squared" and network.layers[-1].fan_out == 1:
        return fake_cuda.empty(mode, *shape, 1, dtype=dtype, device=device)
    return fake_cuda.empty(mode, *shape, dtype=torch.int64, device=device)


class _Counted(Samples):
    """Samples that hold nothing and are counted chunk by chunk: equal chunks are worked on once."""

    recorder: Recorder

    @override
    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        whole, rest = divmod(len(self), size)
        for count, times in ((size, whole), (rest, 1)):
            if count and times:
                with self.recorder.repeated(times):
                    yield from Samples(self.inputs[:count], self.targets[:count]).chunks(count, dtype)


def _evaluation(
    network: Network,
    members: int,
    batch: int,
    sizes: Mapping[str, int],
    measure: Sequence[str],
    *,
    loss: str,
    dtype: torch.dtype,
    kind: str,
) -> Count:
    """Return what one evaluation does: splits, whose sizes are given, and metrics of a network."""
    splits = tuple(sizes[name] for name in measure if sizes.get(name))
    metrics = tuple(name for name in measure if name in evaluation.METRICS)
    rows = batch if metrics else 0  # the splits are measured in chunks of their own
    key = ("evaluation", network, members, rows, splits, metrics, loss, dtype, kind)
    count = partial(_counted_evaluation, loss=loss, dtype=dtype, device=torch.device(kind))
    return count_cache.cached(key, lambda: (count(network, members, rows, splits, metrics), 0))[0]


def _counted_evaluation(
    network: Network,
    members: int,
    batch: int,
    splits: Iterable[int],
    metrics: Iterable[str],
    *,
    loss: str,
    dtype: torch.dtype,
    device: torch.device,
) -> Count:
    with fake_cuda.fake_device() as mode:
        parameters, recorder = fake_cuda.affines(mode, network, members, dtype, device), Recorder(device)
        parts = []
        for size in splits:
            inputs = fake_cuda.empty(mode, size, *network.input_shape, dtype=torch.uint8, device=device)
            y = _targets(mode, (1, size), network, loss, dtype=dtype, device=device)
            with mode:
                part = _Counted(inputs, y[0])
            object.__setattr__(part, "recorder", recorder)
            parts.append(part)
        x = fake_cuda.empty(mode, members, batch, *network.input_shape, dtype=dtype, device=device)
        labels = _targets(mode, (members, batch), network, loss, dtype=dtype, device=device)

        def work() -> None:
            for part in parts:
                evaluation.measure(network, losses.get(loss), parameters, part, dtype)
            snapshot = evaluation.Snapshot(network, losses.get(loss), parameters, lambda: (x, labels))
            for name in metrics:
                evaluation.METRICS[name](snapshot)

        seen = fake_cuda.watch_with(mode, recorder, work)
    if seen.raised:
        raise RuntimeError(f"evaluation of {network.name}: {seen.raised}")
    return seen
