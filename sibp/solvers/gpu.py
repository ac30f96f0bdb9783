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
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BatchSpace, BiasSpace, LayerSpace, Space, Subproblem, WeightSpace

__all__ = ["applies", "minimise", "minimise_l1", "solve_linear", "targets"]


def applies(space: Space, activation: str, Z: Tensor) -> bool:
    """Return whether there are kernels for a subproblem.

    Args:
        space: where the iterates live.
        activation: of the layer.
        Z: a tensor of the problem, for its dtype and device.

    Returns:
        True on a CUDA device with Triton, for float32 or float64 and a piecewise linear activation.
    """
    return isinstance(space, BatchSpace | WeightSpace | BiasSpace) and calls.supports(activation, Z)


def _search(rules: Rules) -> tuple[bool, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return True, search.sigma, search.shrink, search.trials
    assert isinstance(search, Curvature)
    return False, 0.0, 0.5, search.halvings + 1


def _gram(space: BatchSpace) -> Tensor:
    """Return K `[E, R, R]`, or `[1, R, R]` where the members share their rows."""
    X = layers.matrix(space.X)
    return BatchSpace(X[:1] if X.stride(0) == 0 else X, space.joint).K


def _rows(space: LayerSpace) -> tuple[Tensor, list[int]]:
    """Return the rows, those of one member where all share them, and a convolution's kernel, stride and padding: no patch is stored."""
    X = space.X
    if isinstance(X, Patches):
        images, step = X.images, X.step
        return images[:1] if images.stride(0) == 0 else images, [*step.kernel, *step.stride, *step.padding]
    return (X[:1] if X.stride(0) == 0 else X).contiguous(), [1, 1, 1, 1, 0, 0]


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor, *, with_error: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return T and D as `dispatch.targets` does.

    Args:
        activation: identity, relu or leaky_relu.
        Z: pre-activation `[E, R, O]`.
        delta: dL/dF `[E, R, O]`.
        eta: step `[E, 1, 1]`, > 0.
        with_error: whether to compute D.

    Returns:
        T and D, both `[E, R, O]`; None for D without `with_error`. Cost: one launch.
    """
    T = delta.expand_as(Z).contiguous()
    D = torch.empty_like(T) if with_error else None
    if calls.call("targets", Z.contiguous(), T, eta, D, LEAKS[activation]):
        return T, D
    sigma = activations.get(activation)
    F = sigma.value(Z)
    return F - eta * delta, delta * sigma.slope(Z, F) if with_error else None


def minimise(problem: Subproblem, iterations: int, rules: Rules, b: Tensor | None = None) -> Tensor:
    """Return the coordinates and move b as `dispatch.minimise` does; Z is used up.

    Args:
        problem: f, in any space.
        iterations: conjugate gradient steps, >= 1.
        rules: with a `Curvature` or `Armijo` search.
        b: bias `[E, 1, O]`, moved in place; None leaves its problem out.

    Returns:
        Coordinates. Cost: K and 4 n + 2 launches in batch space, 6 n + 3 in weight space, the bias included; 2 n + 1 in bias space.
    """
    space, T, lam = problem.space, problem.T.contiguous(), problem.lam
    Z, how = problem.Z.contiguous(), (iterations, *_search(rules), LEAKS[problem.activation.name])
    problem = replace(problem, Z=Z, T=T)
    if isinstance(space, BatchSpace):
        P = torch.empty_like(Z)
        solved = calls.call("minimise_batch", _gram(space), Z, T, lam, P, *how)
    elif isinstance(space, LayerSpace):
        P = Z.new_empty(Z.shape[0], space.X.shape[2], Z.shape[2])
        solved = calls.call("minimise_weights", *_rows(space), Z, T, lam, P, *how)
    else:
        P = Z.new_zeros(Z.shape[0], 1, Z.shape[2])
        solved = calls.call("minimise_bias", Z, T, lam, P, *how)
    if not solved:
        P, Z = conjugate_gradient.minimise(problem, iterations, rules)
    if b is None:
        return P
    moved = b.contiguous()
    if not calls.call("minimise_bias", Z, T, lam, moved, *how):
        moved = b + conjugate_gradient.minimise(replace(problem, space=BiasSpace(), Z=Z), iterations, rules)[0]
    if moved is not b:
        b.copy_(moved)
    return P


def minimise_l1(
    problem: Subproblem, V: Tensor, gamma: Tensor, iterations: int, smooth: Tensor, *, rules: Rules, b: Tensor | None = None
) -> Tensor:
    """Return the displacement and move b as `dispatch.minimise_l1` does.

    Args:
        problem: f, in the weight space of the layer's rows.
        V: the present weights `[E, I, O]`.
        gamma: weight of the l1 term `[E, 1, 1]`, >= 0.
        iterations: of both problems.
        smooth: a displacement that solves the weights' problem without the l1 term, `[E, I, O]`.
        rules: how the bias problem without the l1 term is solved first.
        b: bias `[E, 1, O]`, moved in place; None leaves its problem out.

    Returns:
        The displacement of the weights `[E, I, O]`. Cost: 10 n + 3 launches, and for b the same and 2 n + 1.
    """
    problem = replace(problem, Z=problem.Z.contiguous(), T=problem.T.contiguous())
    D, Z = _minimise_l1(problem, V.contiguous(), gamma, iterations, smooth.contiguous())
    if b is not None:
        bias = replace(problem, space=BiasSpace(), Z=Z)
        b += _minimise_l1(bias, b.contiguous(), gamma, iterations, minimise(bias, iterations, rules))[0]
    return D


def _minimise_l1(problem: Subproblem, V: Tensor, gamma: Tensor, iterations: int, smooth: Tensor) -> tuple[Tensor, Tensor]:
    Z, T, space = problem.Z, problem.T, problem.space
    is_bias = not isinstance(space, LayerSpace)
    rows = (Z.new_empty(1, Z.shape[1], 0), [1, 1, 1, 1, 0, 0]) if is_bias else _rows(space)
    D, Z_new = torch.empty_like(V), torch.empty_like(Z)
    numbers = (iterations, proximal_gradient.HALVINGS, LEAKS[problem.activation.name])
    if calls.call("minimise_sparse", *rows, is_bias, Z, T, V, problem.lam, gamma, smooth, D, Z_new, *numbers):
        return D, Z_new
    return proximal_gradient.minimise_l1(problem, V, gamma, iterations, smooth)


def solve_linear(space: LayerSpace, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Return D as `conjugate_gradient.solve_linear` does.

    Args:
        space: where D lives.
        R: residual at D = 0, `[E, R, O]`.
        lam: proximal weight, > 0, `[E, 1, 1]`.
        iterations: how many, >= 0.
        tolerance: share of the first residual at which a neuron stops; a number, or `[E, 1, 1]`.

    Returns:
        Coordinates of D. Cost: K and n + 1 launches in batch space, 3 n + 2 in weight space.
    """
    R = R.contiguous()
    column = (torch.zeros_like(lam) + tolerance).contiguous()
    if isinstance(space, BatchSpace):
        D = torch.empty_like(R)
        solved = calls.call("solve_linear_batch", _gram(space), R, lam, column, D, iterations)
    else:
        D = R.new_empty(R.shape[0], space.X.shape[2] + space.joint, R.shape[2])
        solved = calls.call("solve_linear_weights", *_rows(space), space.joint, R, lam, column, D, iterations)
    return D if solved else conjugate_gradient.solve_linear(space, R, lam, iterations, tolerance)
