"""One run: a network trained by one method from one seed, with its curves."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sibp.bench.fits.methods import METHODS
from sibp.bench.fits.networks import NETWORKS
from sibp.bench.timing import wait
from sibp.core import seeding
from sibp.experiments.schema import Fit
from sibp.training.sampling import Batches, Samples

__all__ = ["NOISE", "Problem", "train"]

NOISE = 0.5  # standard deviation of what a network that denoises must take away; pixels lie in [0, 1]
CHUNK = 500  # samples that are measured at a time


class Problem(NamedTuple):
    """A network and how it is trained, the splits on the device in the network's shape, and the device."""

    fit: Fit
    splits: Mapping[str, Samples]
    classes: int
    device: torch.device

    @property
    def task(self) -> str:
        """``classify`` or ``denoise``."""
        return NETWORKS[self.fit.network].task

    def build(self, seed: int) -> nn.Module:
        """Return the network with initial weights that are a function of the seed alone: torch's own.

        Args:
            seed: >= 0.

        Returns:
            The network, on the device.
        """
        torch.manual_seed(seeding.derive("fit", self.fit.network, seed))
        channels, height, width = self.splits["train"].inputs.shape[1:]
        return NETWORKS[self.fit.network].build((channels, height, width), self.classes).to(self.device)


def train(problem: Problem, method: str, options: Mapping[str, Any], *, seed: int, split: str, evaluations: int) -> dict[str, Any]:
    """Train a network and return its curves.

    Args:
        problem: what is trained.
        method: of `METHODS`.
        options: its own.
        seed: of the initial weights, the mini-batches' order and the noise.
        split: what is measured: ``validation`` or ``test``.
        evaluations: how often, evenly spaced, the last time after the last step.

    Returns:
        ``step``; ``seconds`` of training up to there (of the processor on a CPU, which other processes hardly change); ``train_loss``, the
        mean over the steps since the point before; ``loss`` and, for classes, ``accuracy`` on the split. None is a number that is none.
    """
    model = problem.build(seed)
    step = METHODS[method](model, **options)
    batches = Batches(problem.splits["train"], [seed], problem.fit.batch_size, "permutation", torch.float32)
    clock, spent, losses = _clock(problem.device), 0.0, []
    curves: dict[str, list[float | None]] = {"step": [], "seconds": [], "train_loss": []}
    points = {max(1, round(problem.fit.steps * i / evaluations)) for i in range(1, evaluations + 1)}
    model.train()
    for number in range(1, problem.fit.steps + 1):
        x, y = (part[0] for part in batches.at(number - 1))
        inputs = _noisy(x, "noise", seed, number) if problem.task == "denoise" else x
        begin = clock()
        losses.append(step(lambda inputs=inputs, x=x, y=y: _loss(problem.task, model(inputs), x, y)))
        spent += clock() - begin
        if number in points:
            measured = {"train_loss": torch.stack(losses).mean().item(), **_measure(problem, model, split)}
            for name, value in {"step": number, "seconds": spent, **measured}.items():
                curves.setdefault(name, []).append(value if abs(value) < float("inf") else None)  # not so for a NaN either
            losses.clear()
    return curves


def _loss(task: str, output: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return functional.mse_loss(output, x) if task == "denoise" else functional.cross_entropy(output, y)


@torch.no_grad()
def _measure(problem: Problem, model: nn.Module, split: str) -> dict[str, float]:
    """Return the mean loss on a split, and for classes the accuracy; the noise is the same each time."""
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=problem.device)
    for number, (x, y) in enumerate(_chunks(problem.splits[split])):
        output = model(_noisy(x, "noise", split, number) if problem.task == "denoise" else x)
        right = (output.argmax(1) == y).sum() if problem.task == "classify" else sums[1] * 0
        sums += torch.stack([_loss(problem.task, output, x, y).double() * len(x), right.double()])
    model.train()
    loss, accuracy = (sums / len(problem.splits[split])).tolist()
    return {"loss": loss} | ({"accuracy": accuracy} if problem.task == "classify" else {})


def _chunks(samples: Samples) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x[0], y[0]) for x, y in samples.chunks(CHUNK, torch.float32))


def _noisy(x: Tensor, *purpose: str | int) -> Tensor:
    noise = torch.randn(x.shape, generator=seeding.generator(*purpose))
    return x + NOISE * noise.to(x.device)


def _clock(device: torch.device) -> Callable[[], float]:
    """Return a clock of training: the processor's time on a CPU, and on a device the time until its work is done."""
    if device.type != "cuda":
        return time.process_time

    def now() -> float:
        wait(device)
        return time.perf_counter()

    return now
