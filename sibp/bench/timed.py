"""What a timed step is: a network with its mini-batches, how to set a step up on it, and the products that are counted in one."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sibp.bench.floor import Solves
from sibp.core import seeding
from sibp.kernels import native
from sibp.methods import Method, Options, State, registry
from sibp.nets import initialisation, losses, to_sequential
from sibp.nets.layers import Affine
from sibp.nets.network import Network

__all__ = ["BATCHES", "Call", "Case", "Step", "count_operations"]

Call = Callable[[], object]
BATCHES = 8  # different mini-batches, so that nothing converges on a single one


@dataclass(frozen=True)
class Case:
    """A network, its mini-batches, and the labels of the steps that are timed on it.

    Attributes:
        name: for people, and the key of the mini-batches' seed.
        network: its structure.
        batch: samples in a mini-batch.
        std: standard deviation of the initial parameters.
        steps: keys of `steps.STEPS`.
    """

    name: str
    network: Network
    batch: int = 100
    std: float = 0.03
    steps: tuple[str, ...] = ()

    def module(self, device: torch.device) -> nn.Sequential:
        """Return the network as a module.

        Args:
            device: where it is to be.

        Returns:
            A fresh module, the same one each time.
        """
        return to_sequential.to_module(self.network, 0, self.std, device=device)

    def started(
        self,
        name: str,
        members: Sequence[Options],
        device: torch.device,
        *,
        first_seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Method, list[Affine], State]:
        """Return a method on the network, ready for its first step.

        Args:
            name: of the method.
            members: one `Options` each.
            device: where they are to be.
            first_seed: of the first member's initial parameters; the others' follow.
            dtype: of the parameters.

        Returns:
            The method, its members' parameters and its state.
        """
        method = registry.build(name, self.network, losses.get("cross-entropy"), members, dtype=dtype, device=device)
        seeds = range(first_seed, first_seed + len(members))
        parameters = initialisation.initialise(self.network, seeds, std=self.std, dtype=dtype, device=device)
        return method, parameters, method.start(parameters)

    def stacked(self, device: torch.device, count: int) -> tuple[Tensor, Tensor]:
        """Return random inputs in [0, 1), as pixels are, with random classes: a mini-batch for each member of an ensemble.

        Args:
            device: where they are to be.
            count: how many mini-batches.

        Returns:
            x `[count, B, *input_shape]` and y `[count, B]`, the same ones each time.
        """
        generator, classes = seeding.generator("bench", self.name), self.network.layers[-1].fan_out
        shape = (count, self.batch, *self.network.input_shape)
        x = torch.rand(shape, generator=generator).to(device)
        y = torch.randint(classes, shape[:2], generator=generator).to(device)
        return x, y

    def batches(self, device: torch.device, count: int = BATCHES) -> list[tuple[Tensor, Tensor]]:
        """Return those mini-batches one by one.

        Args:
            device: where they are to be.
            count: how many.

        Returns:
            Pairs of x `[B, *input_shape]` and y `[B]`.
        """
        return list(zip(*self.stacked(device, count), strict=True))

    def endless(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the mini-batches again and again.

        Args:
            device: where they are to be.

        Returns:
            An iterator without an end.
        """
        return itertools.cycle(self.batches(device))


@dataclass(frozen=True)
class Step:
    """How to set a step up on a case and a device.

    Attributes:
        build: gives the step, a function without arguments.
        solves: what it solves on every layer, for its floor; None where that is unknown.
        per: how many mini-batches a call handles; its time is divided by that.
        counted: whether matrix products can be counted in it.
        compiled: whether torch.compile makes it first.
        captured: whether a CUDA graph replays it.
    """

    build: Callable[[Case, torch.device], Call]
    solves: Solves | None = None
    per: int = 1
    counted: bool = True
    compiled: bool = False
    captured: bool = False


def count_operations(step: Call) -> int:
    """Count the floating point operations of all matrix products in one call, with the eager twins in the kernels' place.

    Args:
        step: called once.

    Returns:
        Floating point operations.
    """
    in_place = {torch.ops.aten.addmm_: _product, torch.ops.aten.baddbmm_: _product}  # torch counts only those that return
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    with native.off(), counter:
        step()
    return counter.get_total_flops()


def _product(_into: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    return 2 * left.numel() * right[-1]
