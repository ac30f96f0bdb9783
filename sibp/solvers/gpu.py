"""The layers' subproblems through Triton's kernels: what `dispatch` calls on a CUDA device.

Same iterates up to rounding as the eager solvers, which take over where a kernel turns out not to compile. The number of launches
depends on the number of iterations alone.
"""

import torch
from torch import Tensor

from sibp.kernels import triton
from sibp.kernels.native import LEAKS
from sibp.nets import activations, layers
from sibp.solvers import conjugate_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Space, Subproblem

__all__ = ["applies", "minimise", "solve_linear", "targets"]


def applies(space: Space, activation: str, Z: Tensor) -> bool:
    """Return whether there are kernels for this space, activation and these tensors."""
    return isinstance(space, BatchSpace) and triton.supports(activation, Z)


def _search(rules: Rules) -> tuple[bool, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return True, search.sigma, search.shrink, search.trials
    return False, 0.0, 0.5, search.halvings + 1


def _gram(space: BatchSpace) -> Tensor:
    """Return K `[E, R, R]`, or `[1, R, R]` where the members share their rows."""
    X = layers.matrix(space.X)
    return BatchSpace(X[:1] if X.stride(0) == 0 else X, space.joint).K


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor, with_error: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return T and D as `dispatch.targets` does."""
    T = delta.expand_as(Z).contiguous()
    D = torch.empty_like(T) if with_error else None
    if triton.call("targets", Z.contiguous(), T, eta, D, LEAKS[activation]):
        return T, D
    sigma = activations.get(activation)
    F = sigma.value(Z)
    return F - eta * delta, delta * sigma.slope(Z, F) if with_error else None


def minimise(
    space: BatchSpace, activation: str, Z: Tensor, T: Tensor, lam: Tensor, iterations: int, rules: Rules, b: Tensor | None = None
) -> Tensor:
    """Return S and move b as `dispatch.minimise` does; Z is used up. Cost: K, and 4 n + 2 launches."""
    how = (iterations, *_search(rules), LEAKS[activation])
    Z, T = Z.contiguous(), T.contiguous()
    S = torch.empty_like(Z)
    problem = Subproblem(space, activations.get(activation), Z, T, lam)
    if not triton.call("minimise_batch", _gram(space), Z, T, lam, S, *how):
        S, Z = conjugate_gradient.minimise(problem, iterations, rules)
    if b is None:
        return S
    moved = b.contiguous()
    if not triton.call("minimise_bias", Z, T, lam, moved, *how):
        moved = b + conjugate_gradient.minimise(Subproblem(BiasSpace(), problem.activation, Z, T, lam), iterations, rules)[0]
    if moved is not b:
        b.copy_(moved)
    return S


def solve_linear(space: BatchSpace, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Return D as `conjugate_gradient.solve_linear` does. Cost: K, and n + 1 launches."""
    R = R.contiguous()
    D = torch.empty_like(R)
    column = (torch.zeros_like(lam) + tolerance).contiguous()
    if triton.call("solve_linear_batch", _gram(space), R, lam, column, D, iterations):
        return D
    return conjugate_gradient.solve_linear(space, R, lam, iterations, tolerance)
