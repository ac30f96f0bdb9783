"""The layers' subproblems through the fused kernels: the fast twins of `conjugate_gradient`, and the choice between all of them.

Same iterates up to rounding. On a CUDA device Triton's kernels run (`gpu`), on the CPU compiled ones; for SIBP both need a curvature
or Armijo search with joint numbers and a piecewise linear activation. `applies` says whether that is so, `solve_linear` asks by itself.
A layer's whole solve is one call, the products with K included.
"""

import torch
from torch import Tensor

from sibp.kernels import cpu, native
from sibp.kernels.triton import calls
from sibp.nets import layers
from sibp.nets.layers import Patches
from sibp.solvers import conjugate_gradient, gpu, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BatchSpace, Space, WeightSpace

__all__ = ["applies", "applies_l1", "has_targets", "minimise", "minimise_l1", "solve_linear", "targets"]


def applies(space: Space, activation: str, rules: Rules, per_neuron: bool, Z: Tensor) -> bool:
    """Return whether `minimise` can take the place of the eager solver."""
    plain = rules.restart and rules.period is None and not rules.tolerance and not per_neuron
    searched = plain and isinstance(rules.search, Armijo | Curvature)
    return searched and (gpu.applies(space, activation, Z) or (_knows(space) and native.supports(activation, Z)))


def has_targets(activation: str, Z: Tensor) -> bool:
    """Return whether `targets` can take the place of the eager code."""
    return calls.supports(activation, Z) or native.supports(activation, Z)


def applies_l1(X: Tensor | Patches, activation: str, Z: Tensor) -> bool:
    """Return whether `minimise_l1` can take the place of the eager proximal gradient, where `applies` holds for its smooth problem."""
    if calls.supports(activation, Z):
        return True
    return isinstance(X, Patches) and X.step.stride == (1, 1) and native.supports(activation, Z)


def _knows(space: Space) -> bool:
    """Return whether there are kernels for this space: batch space, and weight space over a convolution's patches."""
    if isinstance(space, BatchSpace):
        return True
    return isinstance(space, WeightSpace) and isinstance(space.X, Patches) and space.X.step.stride == (1, 1)


def _search(rules: Rules) -> tuple[bool, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return True, search.sigma, search.shrink, search.trials
    return False, 0.0, 0.0, search.halvings


def _rows(space: BatchSpace) -> Tensor:
    """Return the rows, those of one member where all share them; the kernels make K themselves, one half from the other."""
    X = layers.matrix(space.X)
    return (X[:1] if X.stride(0) == 0 else X).contiguous()


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor, with_error: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return T = sigma(Z) - eta delta and, if asked for, D = sigma'(Z) delta, both `[E, R, O]`, in one pass.

    T takes the place of delta, which is not to be used again: on a convolution's rows such an array is the largest that a step has.
    """
    if calls.supports(activation, Z):
        return gpu.targets(activation, Z, delta, eta, with_error)
    T = delta.expand_as(Z).contiguous()
    D = torch.empty_like(Z) if with_error else None
    cpu.targets(Z, T, eta, D, native.LEAKS[activation])
    return T, D


def _images(X: Patches) -> tuple[Tensor, list[int]]:
    """Return a convolution's images, those of one member where all share them, and its geometry."""
    images, step = X.images, X.step
    return images[:1] if images.stride(0) == 0 else images, [*step.kernel, *step.padding]


def minimise(
    space: Space, activation: str, Z: Tensor, T: Tensor, lam: Tensor, iterations: int, rules: Rules, b: Tensor | None = None
) -> Tensor:
    """Minimise f from displacement 0 as `conjugate_gradient.minimise` does, then the bias problem at the pre-activation found.

    Args:
        space: the batch space of the layer's rows, or the weight space of a convolution's; on a CUDA device any, without a b the bias' too.
        activation: identity, relu or leaky_relu.
        Z: pre-activation at displacement 0, `[E, R, O]`, contiguous; in batch space it holds the one at the returned displacement
            afterwards.
        T: target `[E, R, O]`, contiguous.
        lam: proximal weight `[E, 1, 1]`, > 0.
        iterations: conjugate gradient steps, >= 1.
        rules: with a `Curvature` or `Armijo` search.
        b: bias `[E, 1, O]`; the solution of its own problem (J 4.1) is added in place. None leaves that out.

    Returns:
        Coordinates, S `[E, R, O]` or P `[E, I, O]`. Cost in batch space: half of R^2 I multiply-adds for K; per iteration one product
        of R^2 O and two passes over seven `[E, R, O]` arrays, for the bias one pass over two; with an Armijo search about one more of
        each. In weight space: per iteration two products of R I O, one on each of two passes over three such arrays.
    """
    if gpu.applies(space, activation, Z):
        return gpu.minimise(space, activation, Z, T, lam, iterations, rules, b)
    moved = None if b is None else b.contiguous()
    how = (iterations, *_search(rules), native.LEAKS[activation])
    if isinstance(space, BatchSpace):
        P = torch.empty_like(Z)
        cpu.minimise(_rows(space), Z, T, lam, moved, P, *how)
    else:
        P = Z.new_empty(Z.shape[0], space.X.shape[2], Z.shape[2])
        cpu.minimise_weights(*_images(space.X), Z, T, lam, moved, P, *how)
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
    """Do what `proximal_gradient.minimise_l1` does for a layer's weights, then for its bias at the pre-activation found.

    Args:
        X: the layer's rows `[E, R, I]`; on the CPU a convolution's of stride 1.
        activation: identity, relu or leaky_relu.
        Z: pre-activation at displacement 0, `[E, R, O]`.
        T: target `[E, R, O]`.
        V: the present weights `[E, I, O]`.
        lam: proximal weight `[E, 1, 1]`, > 0.
        gamma: weight of the l1 term `[E, 1, 1]`, >= 0.
        iterations: of both problems.
        rules: how the bias problem without the l1 term is solved first.
        smooth: a displacement that solves the weights' problem without it, `[E, I, O]`.
        b: bias `[E, 1, O]`; the solution of its own problem (J Remark 4.1) is added in place. None leaves that out.

    Returns:
        The displacement of the weights `[E, I, O]`. Cost per iteration: two products of R I O and one per trial, each on one pass over
        the rows; each member makes its own trials and no others.
    """
    if calls.supports(activation, Z):
        return gpu.minimise_l1(X, activation, Z, T, V, lam, gamma, iterations, rules, smooth, b)
    D, moved = torch.empty_like(smooth, memory_format=torch.contiguous_format), None if b is None else b.contiguous()
    how = (iterations, proximal_gradient.HALVINGS, *_search(rules), native.LEAKS[activation])
    rows, weights = (Z.contiguous(), T.contiguous()), (V.contiguous(), smooth.contiguous())
    cpu.minimise_l1(*_images(X), *rows, *weights, lam, gamma, moved, D, *how)
    if moved is not b:
        b.copy_(moved)
    return D


def solve_linear(space: Space, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Do what `conjugate_gradient.solve_linear` does, by a kernel where one applies; see there.

    Cost per iteration in batch space: one product of R^2 O, and elementwise work in the nearest caches; in weight space two products
    of R I O and no array over the rows in memory.
    """
    if gpu.applies(space, "identity", R):
        return gpu.solve_linear(space, R, lam, iterations, tolerance)
    if not (_knows(space) and native.supports("identity", R)):
        return conjugate_gradient.solve_linear(space, R, lam, iterations, tolerance)
    batch = isinstance(space, BatchSpace)
    D = R.new_empty(R.shape if batch else (R.shape[0], space.X.shape[2] + space.joint, R.shape[2]))
    column = (torch.zeros_like(lam) + tolerance).contiguous()
    given = (R.contiguous(), lam, column, D)
    if batch:
        cpu.linear(_rows(space), *given, space.joint, iterations)
    else:
        cpu.linear_weights(*_images(space.X), space.joint, *given, iterations)
    return D
