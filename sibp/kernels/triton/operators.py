"""The kernels as operators of torch, `torch.ops.sibp.*`: what works on tensors without numbers, compilers and profilers see of them.

Every operator writes to tensors it is given and returns nothing. What one call launches, `kernels.launches` says.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sibp.kernels.triton.plan import Search, run

__all__ = [
    "OPERATORS",
    "armijo_exponents",
    "minimise_batch",
    "minimise_bias",
    "minimise_sparse",
    "minimise_weights",
    "solve_linear_batch",
    "solve_linear_weights",
    "targets",
]


@torch.library.custom_op("sibp::targets", mutates_args=("delta", "D"))
def targets(Z: Tensor, delta: Tensor, eta: Tensor, D: Tensor | None, leak: float) -> None:
    """See `target.targets`."""
    from sibp.kernels.triton.target import targets

    run(targets(Z, delta, eta, D, leak))


@torch.library.custom_op("sibp::armijo_exponents", mutates_args=("exponent",))
def armijo_exponents(
    Z: Tensor,
    along: Tensor,
    T: Tensor,
    DD: Tensor,
    Dd: Tensor,
    dd: Tensor,
    slope: Tensor,
    lam: Tensor,
    first: Tensor,
    exponent: Tensor,
    leak: float,
    sigma: float,
    shrink: float,
    limit: int,
) -> None:
    """See `armijo.exponents`."""
    from sibp.kernels.triton.armijo import exponents

    run(exponents(Z, along, T, (DD, Dd, dd, slope, lam), first, exponent, leak, sigma, shrink, limit))


@torch.library.custom_op("sibp::minimise_batch", mutates_args=("Z", "P"))
def minimise_batch(
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
    leak: float,
) -> None:
    """See `batch.minimise`."""
    from sibp.kernels.triton.batch import minimise

    run(minimise(K, Z, T, lam, P, iterations, Search(armijo, sigma, shrink, trials), leak))


@torch.library.custom_op("sibp::minimise_bias", mutates_args=("b",))
def minimise_bias(
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    b: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    leak: float,
) -> None:
    """See `bias.minimise`."""
    from sibp.kernels.triton.bias import minimise

    run(minimise(Z, T, lam, b, iterations, Search(armijo, sigma, shrink, trials), leak))


@torch.library.custom_op("sibp::minimise_weights", mutates_args=("Z", "P"))
def minimise_weights(
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
    leak: float,
) -> None:
    """See `weights.minimise`; geometry as in `rows.Rows.of`."""
    from sibp.kernels.triton.rows import Rows
    from sibp.kernels.triton.weights import minimise

    search = Search(armijo, sigma, shrink, trials)
    run(minimise(Rows.of(X, geometry), Z, T, lam, P, iterations, search, leak))


@torch.library.custom_op("sibp::minimise_sparse", mutates_args=("D", "Z_new"))
def minimise_sparse(
    X: Tensor,
    geometry: Sequence[int],
    joint: bool,
    Z: Tensor,
    T: Tensor,
    V: Tensor,
    lam: Tensor,
    gamma: Tensor,
    smooth: Tensor,
    D: Tensor,
    Z_new: Tensor,
    iterations: int,
    halvings: int,
    leak: float,
) -> None:
    """See `sparse.minimise`; geometry as in `rows.Rows.of`."""
    from sibp.kernels.triton.rows import Rows
    from sibp.kernels.triton.sparse import minimise

    run(minimise(Rows.of(X, geometry, joint), Z, T, V, lam, gamma, smooth, D, Z_new, iterations, halvings, leak))


@torch.library.custom_op("sibp::solve_linear_weights", mutates_args=("D",))
def solve_linear_weights(
    X: Tensor, geometry: Sequence[int], joint: bool, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int
) -> None:
    """See `linear_weights.solve`; geometry as in `rows.Rows.of`."""
    from sibp.kernels.triton.linear_weights import solve
    from sibp.kernels.triton.rows import Rows

    run(solve(Rows.of(X, geometry, joint), R, lam, tolerance, D, iterations))


@torch.library.custom_op("sibp::solve_linear_batch", mutates_args=("D",))
def solve_linear_batch(K: Tensor, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int) -> None:
    """See `linear.solve`."""
    from sibp.kernels.triton.linear import solve

    run(solve(K, R, lam, tolerance, D, iterations))


def _nothing(*_: object) -> None:
    """What an operator does to tensors without numbers."""


OPERATORS = (
    targets,
    armijo_exponents,
    minimise_batch,
    minimise_bias,
    minimise_weights,
    minimise_sparse,
    solve_linear_batch,
    solve_linear_weights,
)
for _operator in OPERATORS:
    _operator.register_fake(_nothing)
