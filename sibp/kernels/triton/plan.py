"""A solve as a list of launches, made before anything runs: so they can be counted, and compiled before the first one changes a number."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sibp.core.messages import first_line

__all__ = ["CompileError", "Launch", "Search", "blocks", "millionths", "run", "scratch"]

HELD = 4096  # numbers that a program of eight warps holds in registers without spilling, in float64 too


class Launch(NamedTuple):
    """One kernel on one grid.

    Attributes:
        kernel: a `triton.jit` function.
        grid: number of programs per axis.
        arguments: tensors and integers.
        constants: what the kernel is compiled for.
        warps: of 32 threads, to a program.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Tensor | int, ...]
    constants: dict[str, int | float | bool]
    warps: int = 4

    @property
    def variant(self) -> tuple[object, ...]:
        """What decides whether this launch needs code that another one does not."""
        types = (argument.dtype for argument in self.arguments if isinstance(argument, Tensor))
        return (self.kernel, self.warps, *types, *self.constants.items())


@dataclass(frozen=True)
class Search:
    """Steps t_m = first * shrink^m, m < trials, along a line, of which the first that passes the test is taken.

    Attributes:
        armijo: first = 1, and f must fall by sigma t slope; else first is the curvature step, and f must only fall.
        sigma, shrink: of Armijo's test; the curvature step is halved.
        trials: how many.
    """

    armijo: bool
    sigma: float
    shrink: float
    trials: int

    @property
    def width(self) -> int:
        """Columns for all trials and for t = 0."""
        return 2 ** math.ceil(math.log2(self.trials + 1))

    @property
    def block(self) -> int:
        """Elements of a layer that a program holds at once for all trials."""
        return max(16, HELD // self.width)

    def constants(self, *names: str) -> dict[str, int | float | bool]:
        """Return what kernels are compiled for, all of it or what is named."""
        every = {
            "ARMIJO": self.armijo,
            "SIGMA": float(self.sigma),
            "LOG2": math.log2(self.shrink),
            "LIMIT": self.trials,
            "TRIALS": self.width,
        }
        return {name: every[name] for name in names or every}


def blocks(size: int, block: int) -> tuple[int, int]:
    """Return how many parts share `size` elements, and how many blocks each visits in turn; independent of the number of members.

    Many parts fill a device with one member alone; few are quick to add up for each program of the next kernel.
    """
    most = 128 if size <= 2**18 else 512
    steps = max(1, math.ceil(size / (block * most)))
    return math.ceil(size / (block * steps)), steps


def millionths(leak: float) -> int:
    """Return sigma's slope below 0 as kernels take it.

    Raises:
        ValueError: if it has more than six decimals.
    """
    count = round(leak * 1e6)
    if count / 1e6 != leak:
        raise ValueError(f"leak: got {leak}, need a number of at most six decimals")
    return count


def scratch(like: Tensor, *shape: int) -> Tensor:
    """Return room for partial sums or a line's numbers, on the same device."""
    return torch.empty(shape, dtype=torch.float64, device=like.device)


class CompileError(Exception):
    """A kernel has no code for this device; says which and why. Nothing has been launched."""


_compiled: set[tuple[object, ...]] = set()


def run(launches: list[Launch]) -> None:
    """Compile what is new, then launch in order.

    Raises:
        CompileError: if a kernel cannot be compiled or loaded.
    """
    for launch in launches:
        if launch.variant not in _compiled:
            _compile(launch)
            _compiled.add(launch.variant)
    tensor = next(argument for argument in launches[0].arguments if isinstance(argument, Tensor))
    with torch.cuda.device_of(tensor):
        for launch in launches:
            launch.kernel[launch.grid](*launch.arguments, num_warps=launch.warps, **launch.constants)


def _compile(launch: Launch) -> None:
    try:
        code = launch.kernel.warmup(*launch.arguments, grid=launch.grid, num_warps=launch.warps, **launch.constants)
        getattr(code, "run", None)  # loads the code, which fails where it needs more than the device has
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each part of Triton, and the compilers it calls, has its own
        raise CompileError(f"{launch.kernel.__name__}: {type(error).__name__}: {first_line(error)}") from error
