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
from sibp.experiments.settings import Data

__all__ = ["Batches", "Samples", "load"]

DATA_SEED = 0  # of generated samples: all methods and members of an exhibit share them


@dataclass(frozen=True)
class Samples:
    """Samples on a device.

    Attributes:
        inputs: `[N, *input_shape]`, uint8 or floating point.
        targets: class indices `[N]` or values `[N, K]`.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labelled(self) -> bool:
        """Whether the targets are class indices."""
        return not self.targets.is_floating_point()

    def shaped(self, input_shape: tuple[int, ...], device: torch.device) -> "Samples":
        """Return the same samples in a network's input shape.

        Args:
            input_shape: one sample's.
            device: where they are to be.

        Returns:
            Samples; the tensors are views where nothing has to be copied.
        """
        inputs = self.inputs.reshape(len(self), *input_shape)
        return Samples(inputs.to(device), self.targets.to(device))

    def take(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Gather samples.

        Args:
            index: sample numbers `[S, B]`.
            dtype: of the inputs.

        Returns:
            x `[S, B, *input_shape]`, and y `[S, B]` or `[S, B, K]`.
        """
        flat = index.flatten()
        x = _scaled(self.inputs.index_select(0, flat), dtype).unflatten(0, index.shape)
        return x, _typed(self.targets.index_select(0, flat), dtype).unflatten(0, index.shape)

    def chunks(self, size: int, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in order.

        Args:
            size: most of them at a time.
            dtype: of the inputs.

        Yields:
            x `[1, <= size, *input_shape]` and y.
        """
        for inputs, targets in zip(self.inputs.split(size), self.targets.split(size), strict=True):
            yield _scaled(inputs, dtype).unsqueeze(0), _typed(targets, dtype).unsqueeze(0)


def load(settings: Data, root: str | None = None) -> tuple[dict[str, Samples], dict[str, Any]]:
    """Load the splits of an experiment.

    Args:
        settings: an experiment's ``data``.
        root: the data cache; None takes the user's.

    Returns:
        The splits that have samples, on the CPU, and what a record says about them: name, source and hashes. A data set that is not in
        the cache, or damaged, is a DataError.
    """
    name = settings.name
    if settings.is_chain:
        x, y = (torch.from_numpy(values[: settings.train]) for values in data.chain(DATA_SEED))
        return {"train": Samples(x, y)}, {"name": name, "source": f"generated with seed {DATA_SEED}", "hashes": {}}
    if settings.generated:
        whole = data.generated(name, settings.train + settings.validation, max(settings.test, 1), DATA_SEED)
    else:
        whole = data.load(name, root)
    cut = data.split(whole, settings.train, settings.validation, settings.test, merge_test=settings.merge_test)
    splits = {
        part: Samples(torch.tensor(getattr(cut, f"x_{part}")), torch.tensor(getattr(cut, f"y_{part}")).long())
        for part, size in settings.sizes().items()
        if size
    }
    return splits, {"name": name, "source": whole.source, "hashes": whole.hashes}


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
        """Return the mini-batch of a step.

        Args:
            step: counted from 0.

        Returns:
            x `[E, B, *input_shape]` and y, or `[1, ...]` where all members see the same samples.
        """
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
        """Return how many samples a member has seen.

        Args:
            step: after so many steps.

        Returns:
            Samples, each counted as often as it was seen.
        """
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
