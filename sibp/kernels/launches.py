"""What one call of a kernel of ours does on its device, for those who count a step without running it (`sibp.bench.fake_cuda`).

A counter sees a custom operator's name and arguments and nothing of what it launches. Whoever writes a kernel declares that here, in one
place for all devices, and torch's `FlopCounterMode` is told of it.

    @declare("sibp::twice")
    def _twice(Z):
        return Work(kernels=1, bytes=2 * Z.nbytes, flops=Z.numel())
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sibp.kernels import cpu  # noqa: F401, whose operators are declared here
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
    """Return a decorator that puts a function of an operator's own arguments into the table under its name."""
    namespace, operator = name.split("::")

    def put(function: Callable[..., Work]) -> Callable[..., Work]:
        DECLARED[name] = function
        packet = getattr(getattr(torch.ops, namespace), operator)
        register_flop_formula(packet, get_raw=True)(lambda *given, out_val=None, **named: function(*given, **named).flops)
        return function

    return put


# The compiled CPU kernels (`cpu`). Passes that stay in cache count no bytes.


@declare("sibp_cpu::targets")
def _targets(Z: Tensor, *_: object) -> Work:
    return Work(1, 4 * Z.nbytes, 3 * Z.numel())


@declare("sibp_cpu::cross")
def _cross(W: Tensor, D: Tensor, X: Tensor) -> Work:
    return Work(1, D.nbytes + X.nbytes + 2 * W.nbytes, 2 * D.numel() * X.shape[2])


@declare("sibp_cpu::minimise")
def _minimise(
    X: Tensor, Z: Tensor, T: Tensor, lam: Tensor, b: Tensor | None, P: Tensor, iterations: int, armijo: bool, *_: object
) -> Work:
    rows = X.shape[1]
    flops = X.numel() * rows + iterations * (2 * rows + _searched(armijo)) * Z.numel()
    return Work(1, 4 * Z.nbytes + X.nbytes, flops)


@declare("sibp_cpu::update")
def _update(
    X: Tensor,
    Z: Tensor | None,
    delta: Tensor,
    eta: Tensor,
    lam: Tensor,
    b: Tensor | None,
    P: Tensor | None,
    W: Tensor | None,
    iterations: int,
    armijo: bool,
    *_: object,
) -> Work:
    solved, added = _minimise(X, delta, delta, lam, b, delta, iterations, armijo), Work(0) if W is None else _cross(W, delta, X)
    return Work(1, solved.bytes + added.bytes, solved.flops + added.flops)


@declare("sibp_cpu::linear")
def _linear(X: Tensor, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, joint: bool, iterations: int) -> Work:
    rows = X.shape[1]
    return Work(1, 3 * R.nbytes + X.nbytes, X.numel() * rows + iterations * (2 * rows + 12) * R.numel())


def _weights(Z: Tensor, P: Tensor, iterations: int, extra: int) -> Work:
    """Return the work of a solve in weight space: two products with the patches an iteration, on images that stay in cache."""
    return Work(1, 6 * iterations * Z.nbytes, iterations * Z.numel() * (4 * P.shape[1] + extra))


def _searched(armijo: bool) -> int:
    """Return the operations of a search, for each of Z's numbers."""
    return 60 if armijo else 24


@declare("sibp_cpu::minimise_weights")
def _minimise_weights(
    images: Tensor,
    geometry: Sequence[int],
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    b: Tensor | None,
    P: Tensor,
    iterations: int,
    armijo: bool,
    *_: object,
) -> Work:
    return _weights(Z, P, iterations, _searched(armijo))


@declare("sibp_cpu::linear_weights")
def _linear_weights(
    images: Tensor, geometry: Sequence[int], joint: bool, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int
) -> Work:
    return _weights(R, D, iterations, 12)


@declare("sibp_cpu::minimise_l1")
def _minimise_l1(images: Tensor, geometry: Sequence[int], Z: Tensor, *given: Any) -> Work:
    D, iterations = given[6:8]
    return _weights(Z, D, 2 * iterations, 12)  # the gradient, its curvature, and most often one trial, each a product


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
def _triton_armijo(Z: Tensor, along: Tensor, T: Tensor, *rest: Any) -> Work:
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
    X: Tensor, geometry: Sequence[int], joint: bool, Z: Tensor, T: Tensor, V: Tensor, lam: Tensor, gamma: Tensor, *rest: Any
) -> Work:
    """Return what an iteration does whose first trial is lower, as most are: four products and as many passes over Z.

    Returns:
        Launches, bytes, multiply-adds, programs, and bytes held.
    """
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
