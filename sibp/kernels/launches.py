"""What one call of a kernel of ours does on its device, for those who count a step without running it (`sibp.bench.fake_cuda`).

A counter sees a custom operator's name and arguments and nothing of what it launches. Whoever writes a kernel declares that here, in one
place for all devices: operators of torch's library as ``sibp::NAME``, compiled CPU kernels by the name that `native.call` takes.

    @declare("sibp::twice")
    def _twice(Z):
        return Work(kernels=1, bytes=2 * Z.nbytes, flops=Z.numel())
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.kernels.triton.operators import LAUNCHES

__all__ = ["DECLARED", "Work", "declare"]


class Work(NamedTuple):
    """What an operation does.

    kernels: how many it launches one after another.
    bytes: of memory that these read and write, all together.
    flops: floating point operations, a multiply-add being two.
    tiles: how many processors of a device can share a matrix product, in blocks of 64 x 64; 0 where all can.
    held: bytes of memory that it takes for its own use meanwhile.
    """

    kernels: int = 1
    bytes: int = 0
    flops: int = 0
    tiles: int = 0
    held: int = 0


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


# The Triton kernels: what they launch is their own table's; a product is cut into rows of 32, or 64 where there are many, and 32 neurons.


def _cut(shape: torch.Size) -> tuple[int, int]:
    """Return how many blocks of rows a product K g `[E, R, O]` is cut into, and how many programs work on it."""
    E, R, O = shape
    blocks = -(-R // (32 if R <= 128 else 64))
    return blocks, E * blocks * -(-O // 32)


@declare("sibp::targets")
def _triton_targets(Z: Tensor, delta: Tensor, eta: Tensor, D: Tensor | None, leak: float) -> Work:
    return Work(LAUNCHES["targets"](0), (3 + (D is not None)) * Z.nbytes, 3 * Z.numel())


@declare("sibp::armijo_exponents")
def _triton_armijo(Z: Tensor, along: Tensor, T: Tensor, *rest: object) -> Work:
    trials = rest[-1]
    return Work(LAUNCHES["armijo_exponents"](0), Z.nbytes + along.nbytes + T.nbytes, 6 * trials * Z.numel())


@declare("sibp::minimise_batch")
def _triton_minimise(
    K: Tensor,
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    P: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    *_: object,
) -> Work:
    blocks, programs = _cut(Z.shape)
    passes = iterations * (6 * blocks + 4 + 7) + 6  # every block of rows reads what the gradient of all rows needs
    flops = iterations * (2 * K.shape[-1] + 6 * trials + 30) * Z.numel()
    return Work(LAUNCHES["minimise_batch"](iterations), passes * Z.nbytes + iterations * K.nbytes, flops, programs, 8 * Z.nbytes)


@declare("sibp::minimise_bias")
def _triton_bias(
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    b: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    *_: object,
) -> Work:
    flops = iterations * (6 * trials + 12) * Z.numel()
    return Work(LAUNCHES["minimise_bias"](iterations), 4 * iterations * Z.nbytes, flops)


@declare("sibp::solve_linear_batch")
def _triton_linear(K: Tensor, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int) -> Work:
    blocks, programs = _cut(R.shape)
    passes = iterations * (2 * blocks + 8)
    flops = iterations * (2 * K.shape[-1] + 12) * R.numel()
    return Work(
        LAUNCHES["solve_linear_batch"](iterations), passes * R.nbytes + iterations * K.nbytes, flops, programs, 8 * R.nbytes
    )


def _triton_product(X: Tensor, geometry: Sequence[int], shape: torch.Size, joint: bool = False) -> tuple[int, int]:
    """Return the operations of one product with a layer's rows, and how many programs share it."""
    E, R, O = shape
    inputs = X.shape[2] * (1 if X.ndim == 3 else geometry[0] * geometry[1]) + joint
    return 2 * E * R * inputs * O, E * -(-R // 64) * -(-O // 32)


@declare("sibp::minimise_weights")
def _triton_weights(
    X: Tensor,
    geometry: Sequence[int],
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    P: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    *_: object,
) -> Work:
    product, programs = _triton_product(X, geometry, Z.shape)
    flops = iterations * (2 * product + (6 * trials + 20) * Z.numel())
    moved = iterations * (9 * Z.nbytes + 2 * X.nbytes) + 3 * Z.nbytes
    return Work(LAUNCHES["minimise_weights"](iterations), moved, flops, programs, 3 * Z.nbytes)


@declare("sibp::minimise_sparse")
def _triton_sparse(
    X: Tensor, geometry: Sequence[int], joint: bool, Z: Tensor, T: Tensor, V: Tensor, lam: Tensor, gamma: Tensor, *rest: object
) -> Work:
    """Say what an iteration does whose first trial is lower, as most are: four products and as many passes over Z."""
    iterations, held = rest[3], V.nbytes * 2 + 16 * Z.nbytes // Z.shape[2]
    product, programs = _triton_product(X, geometry, Z.shape, joint)
    moved = (iterations + 1) * (5 * Z.nbytes + 4 * X.nbytes)
    return Work(LAUNCHES["minimise_sparse"](iterations), moved, (4 * iterations + 3) * product, programs, held)


@declare("sibp::solve_linear_weights")
def _triton_linear_weights(
    X: Tensor, geometry: Sequence[int], joint: bool, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int
) -> Work:
    product, programs = _triton_product(X, geometry, R.shape, joint)
    moved = iterations * 2 * (R.nbytes + X.nbytes)
    return Work(LAUNCHES["solve_linear_weights"](iterations), moved, (2 * iterations + 1) * product, programs, R.nbytes)
