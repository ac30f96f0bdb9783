"""The layers' subproblems through Triton's kernels: what `dispatch` calls on a CUDA device.

Same iterates up to rounding as the eager solvers, which take over where a kernel turns out not to compile. The number of launches
depends on the number of iterations alone.
"""

from dataclasses import replace

import torch
from torch import Tensor

from sibp.kernels.native import LEAKS
from sibp.kernels.triton import calls
from sibp.nets import activations, layers
from sibp.nets.layers import Patches
from sibp.solvers import conjugate_gradient, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Space, Subproblem, WeightSpace

__all__ = ["applies", "minimise", "minimise_l1", "solve_linear", "targets"]


def applies(space: Space, activation: str, Z: Tensor) -> bool:
    """Return whether there are kernels for this space, activation and these tensors."""
    return isinstance(space, BatchSpace | WeightSpace | BiasSpace) and calls.supports(activation, Z)


def _search(rules: Rules) -> tuple[bool, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return True, search.sigma, search.shrink, search.trials
    return False, 0.0, 0.5, search.halvings + 1


def _gram(space: BatchSpace) -> Tensor:
    """Return K `[E, R, R]`, or `[1, R, R]` where the members share their rows."""
    X = layers.matrix(space.X)
    return BatchSpace(X[:1] if X.stride(0) == 0 else X, space.joint).K


def _rows(space: WeightSpace) -> tuple[Tensor, list[int]]:
    """Return the rows, those of one member where all share them, and a convolution's kernel, stride and padding: no patch is stored."""
    X = space.X
    if isinstance(X, Patches):
        images, step = X.images, X.step
        return images[:1] if images.stride(0) == 0 else images, [*step.kernel, *step.stride, *step.padding]
    return (X[:1] if X.stride(0) == 0 else X).contiguous(), [1, 1, 1, 1, 0, 0]


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor, with_error: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return T and D as `dispatch.targets` does."""
    T = delta.expand_as(Z).contiguous()
    D = torch.empty_like(T) if with_error else None
    if calls.call("targets", Z.contiguous(), T, eta, D, LEAKS[activation]):
        return T, D
    sigma = activations.get(activation)
    F = sigma.value(Z)
    return F - eta * delta, delta * sigma.slope(Z, F) if with_error else None


def minimise(
    space: Space, activation: str, Z: Tensor, T: Tensor, lam: Tensor, iterations: int, rules: Rules, b: Tensor | None = None
) -> Tensor:
    """Return the coordinates and move b as `dispatch.minimise` does; Z is used up.

    Cost: K and 4 n + 2 launches in batch space, 6 n + 3 in weight space, the bias included; 2 n + 1 in bias space.
    """
    how = (iterations, *_search(rules), LEAKS[activation])
    Z, T = Z.contiguous(), T.contiguous()
    problem = Subproblem(space, activations.get(activation), Z, T, lam)
    if isinstance(space, BatchSpace):
        P = torch.empty_like(Z)
        solved = calls.call("minimise_batch", _gram(space), Z, T, lam, P, *how)
    elif isinstance(space, BiasSpace):
        P = Z.new_zeros(Z.shape[0], 1, Z.shape[2])
        solved = calls.call("minimise_bias", Z, T, lam, P, *how)
    else:
        P = Z.new_empty(Z.shape[0], space.X.shape[2], Z.shape[2])
        solved = calls.call("minimise_weights", *_rows(space), Z, T, lam, P, *how)
    if not solved:
        P, Z = conjugate_gradient.minimise(problem, iterations, rules)
    if b is None:
        return P
    moved = b.contiguous()
    if not calls.call("minimise_bias", Z, T, lam, moved, *how):
        moved = b + conjugate_gradient.minimise(Subproblem(BiasSpace(), problem.activation, Z, T, lam), iterations, rules)[0]
    if moved is not b:
        b.copy_(moved)
    return P


def minimise_l1(
    X: Tensor | Patches,
    activation: str,
    Z: Tensor,
    T: Tensor,
    V: Tensor,
    lam: Tensor,
    gamma: Tensor,
    iterations: int,
    rules: Rules,
    smooth: Tensor,
    b: Tensor | None = None,
) -> Tensor:
    """Return the displacement and move b as `dispatch.minimise_l1` does. Cost: 10 n + 3 launches, and for b the same and 2 n + 1."""
    problem = Subproblem(WeightSpace(X), activations.get(activation), Z.contiguous(), T.contiguous(), lam)
    D, Z = _minimise_l1(problem, activation, V.contiguous(), gamma, iterations, smooth.contiguous())
    if b is not None:
        bias = BiasSpace()
        smooth = minimise(bias, activation, Z, problem.T, lam, iterations, rules)
        b += _minimise_l1(replace(problem, space=bias, Z=Z), activation, b.contiguous(), gamma, iterations, smooth)[0]
    return D


def _minimise_l1(
    problem: Subproblem, activation: str, start: Tensor, gamma: Tensor, iterations: int, smooth: Tensor
) -> tuple[Tensor, Tensor]:
    Z, T, space = problem.Z, problem.T, problem.space
    is_bias = isinstance(space, BiasSpace)
    rows = (Z.new_empty(1, Z.shape[1], 0), [1, 1, 1, 1, 0, 0]) if is_bias else _rows(space)
    D, Z_new = torch.empty_like(start), torch.empty_like(Z)
    numbers = (iterations, proximal_gradient.HALVINGS, LEAKS[activation])
    if calls.call("minimise_sparse", *rows, is_bias, Z, T, start, problem.lam, gamma, smooth, D, Z_new, *numbers):
        return D, Z_new
    return proximal_gradient.minimise_l1(problem, start, gamma, iterations, smooth)


def solve_linear(space: Space, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Return D as `conjugate_gradient.solve_linear` does. Cost: K and n + 1 launches in batch space, 3 n + 2 in weight space."""
    R = R.contiguous()
    column = (torch.zeros_like(lam) + tolerance).contiguous()
    if isinstance(space, BatchSpace):
        D = torch.empty_like(R)
        solved = calls.call("solve_linear_batch", _gram(space), R, lam, column, D, iterations)
    else:
        D = R.new_empty(R.shape[0], space.X.shape[2] + space.joint, R.shape[2])
        solved = calls.call("solve_linear_weights", *_rows(space), space.joint, R, lam, column, D, iterations)
    return D if solved else conjugate_gradient.solve_linear(space, R, lam, iterations, tolerance)
