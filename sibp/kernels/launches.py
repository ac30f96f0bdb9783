"""What one call of a kernel of ours does on its device, for those who count a step without running it (`sibp.bench.fake_cuda`).

A counter sees a custom operator's name and arguments and nothing of what it launches. Whoever writes a kernel declares that here, in one
place for all devices, and torch's `FlopCounterMode` is told of it.

    @declare("sibp::twice")
    def _twice(Z):
        return Work(kernels=1, bytes=2 * Z.nbytes, flops=Z.numel())

A function takes those of the operator's arguments that it needs, by their names.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from sibp.kernels import cpu  # noqa: F401, whose operators are declared here
from sibp.kernels.triton import operators  # noqa: F401, likewise

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
    """Return a decorator that declares an operator's work: a function of all its arguments goes into the table under its name."""
    namespace, operator = name.split("::")
    packet = getattr(getattr(torch.ops, namespace), operator)
    names = [argument.name for argument in packet.default._schema.arguments]

    def put(function: Callable[..., Work]) -> Callable[..., Work]:
        needed = inspect.signature(function).parameters

        def work(*given: object, **named: object) -> Work:
            named |= dict(zip(names, given, strict=False))
            return function(**{name: named[name] for name in needed})

        DECLARED[name] = work
        register_flop_formula(packet, get_raw=True)(lambda *given, out_val=None, **named: work(*given, **named).flops)
        return function

    return put


# The compiled CPU kernels (`cpu`). Passes that stay in cache count no bytes.


@declare("sibp_cpu::targets")
def _targets(Z: Tensor) -> Work:
    return Work(1, 4 * Z.nbytes, 3 * Z.numel())


@declare("sibp_cpu::cross")
def _cross(W: Tensor, D: Tensor, X: Tensor) -> Work:
    return Work(1, D.nbytes + X.nbytes + 2 * W.nbytes, 2 * D.numel() * X.shape[2])


@declare("sibp_cpu::minimise")
def _minimise(X: Tensor, Z: Tensor, iterations: int, armijo: bool) -> Work:
    rows = X.shape[1]
    flops = X.numel() * rows + iterations * (2 * rows + _searched(armijo)) * Z.numel()
    return Work(1, 4 * Z.nbytes + X.nbytes, flops)


@declare("sibp_cpu::update")
def _update(X: Tensor, delta: Tensor, W: Tensor | None, iterations: int, armijo: bool) -> Work:
    solved, added = _minimise(X, delta, iterations, armijo), Work(0) if W is None else _cross(W, delta, X)
    return Work(1, solved.bytes + added.bytes, solved.flops + added.flops)


@declare("sibp_cpu::linear")
def _linear(X: Tensor, R: Tensor, iterations: int) -> Work:
    rows = X.shape[1]
    return Work(1, 3 * R.nbytes + X.nbytes, X.numel() * rows + iterations * (2 * rows + 12) * R.numel())


def _weights(Z: Tensor, P: Tensor, iterations: int, extra: int) -> Work:
    """Return the work of a solve in weight space: two products with the patches an iteration, on images that stay in cache."""
    return Work(1, 6 * iterations * Z.nbytes, iterations * Z.numel() * (4 * P.shape[1] + extra))


def _searched(armijo: bool) -> int:
    """Return the operations of a search, for each of Z's numbers."""
    return 60 if armijo else 24


@declare("sibp_cpu::minimise_weights")
def _minimise_weights(Z: Tensor, P: Tensor, iterations: int, armijo: bool) -> Work:
    return _weights(Z, P, iterations, _searched(armijo))


@declare("sibp_cpu::linear_weights")
def _linear_weights(R: Tensor, D: Tensor, iterations: int) -> Work:
    return _weights(R, D, iterations, 12)


@declare("sibp_cpu::minimise_l1")
def _minimise_l1(Z: Tensor, D: Tensor, iterations: int) -> Work:
    return _weights(Z, D, 2 * iterations, 12)  # the gradient, its curvature, and most often one trial, each a product


# The Triton kernels. A product is cut into rows of 32, or 64 where there are many, and 32 neurons.


def _cut(shape: torch.Size) -> tuple[int, int]:
    """Return how many blocks of rows a product K g `[E, R, O]` is cut into, and how many programs work on it."""
    E, R, O = shape
    blocks = -(-R // (32 if R <= 128 else 64))
    return blocks, E * blocks * -(-O // 32)


@declare("sibp::targets")
def _triton_targets(Z: Tensor, D: Tensor | None) -> Work:
    return Work(1, (3 + (D is not None)) * Z.nbytes, 3 * Z.numel())


@declare("sibp::armijo_exponents")
def _triton_armijo(Z: Tensor, along: Tensor, T: Tensor, limit: int) -> Work:
    return Work(2, Z.nbytes + along.nbytes + T.nbytes, 6 * limit * Z.numel())


@declare("sibp::minimise_batch")
def _triton_minimise(K: Tensor, Z: Tensor, iterations: int, trials: int) -> Work:
    blocks, programs = _cut(Z.shape)
    passes = iterations * (6 * blocks + 4 + 7) + 6  # every block of rows reads what the gradient of all rows needs
    flops = iterations * (2 * K.shape[-1] + 6 * trials + 30) * Z.numel()
    return Work(2 * iterations + 1, passes * Z.nbytes + iterations * K.nbytes, flops, programs, 8 * Z.nbytes)


@declare("sibp::minimise_bias")
def _triton_bias(Z: Tensor, iterations: int, trials: int) -> Work:
    return Work(2 * iterations + 1, 4 * iterations * Z.nbytes, iterations * (6 * trials + 12) * Z.numel())


@declare("sibp::solve_linear_batch")
def _triton_linear(K: Tensor, R: Tensor, iterations: int) -> Work:
    blocks, programs = _cut(R.shape)
    passes = iterations * (2 * blocks + 8)
    flops = iterations * (2 * K.shape[-1] + 12) * R.numel()
    return Work(iterations + 1, passes * R.nbytes + iterations * K.nbytes, flops, programs, 8 * R.nbytes)


def _triton_product(X: Tensor, geometry: Sequence[int], shape: torch.Size, joint: bool = False) -> tuple[int, int]:
    """Return the operations of one product with a layer's rows, and how many programs share it."""
    E, R, O = shape
    inputs = X.shape[2] * (1 if X.ndim == 3 else geometry[0] * geometry[1]) + joint
    return 2 * E * R * inputs * O, E * -(-R // 64) * -(-O // 32)


@declare("sibp::minimise_weights")
def _triton_weights(X: Tensor, geometry: Sequence[int], Z: Tensor, iterations: int, trials: int) -> Work:
    product, programs = _triton_product(X, geometry, Z.shape)
    flops = iterations * (2 * product + (6 * trials + 20) * Z.numel())
    moved = iterations * (9 * Z.nbytes + 2 * X.nbytes) + 3 * Z.nbytes
    return Work(4 * iterations + 2, moved, flops, programs, 3 * Z.nbytes)


@declare("sibp::minimise_sparse")
def _triton_sparse(X: Tensor, geometry: Sequence[int], joint: bool, Z: Tensor, V: Tensor, iterations: int) -> Work:
    """Return what an iteration does whose first trial is lower, as most are: four products and as many passes over Z."""
    product, programs = _triton_product(X, geometry, Z.shape, joint)
    moved, held = (iterations + 1) * (5 * Z.nbytes + 4 * X.nbytes), V.nbytes * 2 + 16 * Z.nbytes // Z.shape[2]
    return Work(10 * iterations + 3, moved, (4 * iterations + 3) * product, programs, held)


@declare("sibp::solve_linear_weights")
def _triton_linear_weights(X: Tensor, geometry: Sequence[int], joint: bool, R: Tensor, iterations: int) -> Work:
    product, programs = _triton_product(X, geometry, R.shape, joint)
    moved = iterations * 2 * (R.nbytes + X.nbytes)
    return Work(3 * iterations + 2, moved, (2 * iterations + 1) * product, programs, R.nbytes)
