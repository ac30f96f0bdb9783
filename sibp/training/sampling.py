"""Samples on the device, the order in which members see them, and mini-batches.

Images stay uint8 on the device and become k/255 as they are gathered. A member's order is a function of its seed and the epoch
alone, drawn on the CPU, so that every method, ensemble and device sees the same mini-batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

import sibp.data as data
from sibp.core import seeding
from sibp.experiments.schema import Data

__all__ = ["Batches", "Samples", "load"]

DATA_SEED = 0  # of generated samples: all methods and members of an exhibit share them


@dataclass(frozen=True)
class Samples:
    """Inputs `[N, *input_shape]`, uint8 or floating point, and targets: class indices `[N]` or values `[N, K]`."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labelled(self) -> bool:
        """Whether the targets are class indices."""
        return not self.targets.is_floating_point()

    def shaped(self, input_shape: tuple[int, ...], device: torch.device) -> "Samples":
        """Return the same samples on a device, each in a network's input shape."""
        inputs = self.inputs.reshape(len(self), *input_shape)
        return Samples(inputs.to(device), self.targets.to(device))

    def take(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the samples of an index `[S, B]` as x `[S, B, *input_shape]` and y `[S, B]` or `[S, B, K]`."""
        flat = index.flatten()
        x = _scaled(self.inputs.index_select(0, flat), dtype).unflatten(0, index.shape)
        return x, _typed(self.targets.index_select(0, flat), dtype).unflatten(0, index.shape)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in order, `[1, <= size, ...]` at a time."""
        for inputs, targets in zip(self.inputs.split(size), self.targets.split(size), strict=True):
            yield _scaled(inputs, dtype).unsqueeze(0), _typed(targets, dtype).unsqueeze(0)


def load(asked: Data, root: str | None = None) -> tuple[dict[str, Samples], dict[str, Any]]:
    """Return the splits on the CPU, and what a record says about them: name, source and hashes.

    Raises:
        DataError: if the data set is not in the cache, or damaged.
    """
    if asked.is_chain:
        x, y = (torch.from_numpy(values[: asked.train]) for values in data.chain(DATA_SEED))
        return {"train": Samples(x, y)}, {"name": asked.name, "source": f"generated with seed {DATA_SEED}", "hashes": {}}
    if asked.generated:
        whole = data.generated(asked.name, asked.train + asked.validation, max(asked.test, 1), DATA_SEED)
    else:
        whole = data.load(asked.name, root)
    cut = data.split(whole, asked.train, asked.validation, asked.test, asked.merge_test)
    splits = {
        part: Samples(torch.tensor(getattr(cut, f"x_{part}")), torch.tensor(getattr(cut, f"y_{part}")).long())
        for part, size in asked.sizes().items()
        if size
    }
    return splits, {"name": asked.name, "source": whole.source, "hashes": whole.hashes}


class Batches:
    """The mini-batches of an ensemble: `at(step)` is a function of the step and the members' seeds.

    Args:
        samples: the training set.
        seeds: one per member; members with equal seeds see the same samples.
        batch_size: B, at most the samples. The last batch of an epoch is smaller when B does not divide the training set.
        sampling: ``permutation`` visits every sample once per epoch, ``replacement`` draws each one anew.
        dtype: of the inputs handed out.
    """

    def __init__(
        self,
        samples: Samples,
        seeds: Sequence[int],
        batch_size: int,
        sampling: Literal["permutation", "replacement"],
        dtype: torch.dtype,
    ) -> None:
        self.samples, self.sampling, self.dtype = samples, sampling, dtype
        self.batch_size = batch_size
        self.steps_per_epoch = -(-len(samples) // self.batch_size)
        self.seeds = sorted(set(seeds))
        self.device = samples.inputs.device
        self.member = torch.tensor([self.seeds.index(seed) for seed in seeds], device=self.device)
        self._epoch, self._order = -1, torch.empty(0)
        self._whole: tuple[Tensor, Tensor] | None = None

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Return x `[E, B, *input_shape]` and y of a step, or `[1, ...]` where all members see the same samples."""
        if self.steps_per_epoch == 1 and self.sampling == "permutation":
            if self._whole is None:
                self._whole = next(self.samples.chunks(len(self.samples), self.dtype))
            return self._whole
        epoch, batch = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._draw(epoch)
        x, y = self.samples.take(self._order[:, batch * self.batch_size : (batch + 1) * self.batch_size], self.dtype)
        return (x, y) if len(self.seeds) == 1 else (x[self.member], y[self.member])

    def seen(self, step: int) -> int:
        """Return how many samples a member has seen after so many steps."""
        epochs, batches = divmod(step, self.steps_per_epoch)
        return epochs * self._per_epoch + batches * self.batch_size

    @property
    def _per_epoch(self) -> int:
        return len(self.samples) if self.sampling == "permutation" else self.steps_per_epoch * self.batch_size

    def _draw(self, epoch: int) -> Tensor:
        """Return one epoch's sample numbers for each seed, `[seeds, samples per epoch]`."""
        orders = []
        for seed in self.seeds:
            generator = seeding.generator("order", seed, epoch)
            if self.sampling == "permutation":
                orders.append(torch.randperm(len(self.samples), generator=generator))
            else:
                orders.append(torch.randint(len(self.samples), (self._per_epoch,), generator=generator))
        return torch.stack(orders).to(self.device)


def _scaled(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    return inputs.to(dtype) / 255 if inputs.dtype == torch.uint8 else inputs.to(dtype)


def _typed(targets: Tensor, dtype: torch.dtype) -> Tensor:
    return targets.to(dtype) if targets.is_floating_point() else targets
