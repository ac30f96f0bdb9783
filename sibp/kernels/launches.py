"""What one call of a kernel of ours does on its device, for those who count a step without running it (`sibp.bench.fake_cuda`).

A counter sees a custom operator's name and arguments and nothing of what it launches. Whoever writes a kernel declares that here, in one
place for all devices: operators of torch's library as ``sibp::NAME``, compiled CPU kernels by the name that `native.call` takes.

    @declare("sibp::armijo")
    def _armijo(Z, Z_d, *rest):
        return Work(kernels=2, bytes=3 * Z.nbytes, flops=300 * Z.numel())
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

__all__ = ["DECLARED", "Work", "declare"]


class Work(NamedTuple):
    """What an operation does.

    kernels: how many it launches one after another.
    bytes: of memory that these read and write, all together.
    flops: floating point operations, a multiply-add being two.
    tiles: how many processors of a device can share a matrix product, in blocks of 64 x 64; 0 where all can.
    """

    kernels: int = 1
    bytes: int = 0
    flops: int = 0
    tiles: int = 0


DECLARED: dict[str, Callable[..., Work]] = {}


def declare(name: str) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Return a decorator that puts a function of a kernel's own arguments into the table under this name."""

    def put(function: Callable[..., Work]) -> Callable[..., Work]:
        DECLARED[name] = function
        return function

    return put


# The compiled CPU kernels: `native.call` hands over shape (E, R, O) and dtype first. Passes that stay in cache count no bytes.


@declare("targets")
def _targets(shape: torch.Size, dtype: torch.dtype, *_: object) -> Work:
    numbers = shape.numel()
    return Work(1, 4 * numbers * dtype.itemsize, 3 * numbers)


@declare("cross")
def _cross(shape: torch.Size, dtype: torch.dtype, inputs: int, members: int, *_: object) -> Work:
    E, R, O = shape
    moved = E * R * O + members * R * inputs + 2 * E * O * inputs
    return Work(1, moved * dtype.itemsize, 2 * E * R * O * inputs)


@declare("minimise")
def _minimise(
    shape: torch.Size, dtype: torch.dtype, inputs: int, members: int, rows: object, iterations: int, kind: int, *_: object
) -> Work:
    E, R, O = shape
    searched = (60 if kind else 24) * E * R * O * iterations
    flops = members * R * R * inputs + iterations * 2 * E * R * R * O + searched
    return Work(1, (4 * E * R * O + members * R * inputs) * dtype.itemsize, flops)


@declare("linear")
def _linear(
    shape: torch.Size, dtype: torch.dtype, inputs: int, members: int, rows: object, joint: int, iterations: int, *_: object
) -> Work:
    E, R, O = shape
    flops = members * R * R * inputs + iterations * (2 * E * R * R * O + 12 * E * R * O)
    return Work(1, (3 * E * R * O + members * R * inputs) * dtype.itemsize, flops)


def _weights(shape: torch.Size, dtype: torch.dtype, channels: int, kernel: tuple[int, int], iterations: int, extra: int) -> Work:
    """Return the work of a solve in weight space: two products with the patches an iteration, on images that stay in cache."""
    E, R, O = shape
    inputs = channels * kernel[0] * kernel[1]
    return Work(1, 6 * iterations * E * R * O * dtype.itemsize, iterations * E * R * O * (4 * inputs + extra))


@declare("minimise_weights")
def _minimise_weights(shape: torch.Size, dtype: torch.dtype, *given: object) -> Work:
    _, channels, _, _, height, width = given[:6]  # B, C, H, W, kh, kw, then padding, strides and the images themselves
    iterations, kind = given[14:16]
    return _weights(shape, dtype, channels, (height, width), iterations, 60 if kind else 24)


@declare("linear_weights")
def _linear_weights(shape: torch.Size, dtype: torch.dtype, *given: object) -> Work:
    _, channels, _, _, height, width = given[:6]
    return _weights(shape, dtype, channels, (height, width), given[15], 12)
