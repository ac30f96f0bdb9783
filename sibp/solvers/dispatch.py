"""The layers' subproblems through the fused kernels: the fast twins of `conjugate_gradient`, and the choice between all of them.

Same iterates up to rounding. On a CUDA device Triton's kernels run (`gpu`), on the CPU compiled ones; for SIBP both need a curvature
or Armijo search with joint numbers and a piecewise linear activation. `applies` says whether that is so, `solve_linear` asks by itself.
A layer's whole solve is one call, the products with K included.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sibp.kernels import cpu, native
from sibp.kernels.triton import calls
from sibp.nets import layers
from sibp.nets.layers import Patches
from sibp.solvers import conjugate_gradient, gpu, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BatchSpace, LayerSpace, Space, Subproblem, WeightSpace

__all__ = [
    "Seen",
    "applies",
    "applies_l1",
    "applies_update",
    "has_targets",
    "minimise",
    "minimise_l1",
    "solve_linear",
    "targets",
    "update",
    "update_arguments",
]


def applies(space: Space, activation: str, rules: Rules, Z: Tensor, *, per_neuron: bool = False) -> bool:
    """Return whether `minimise` can take the place of the eager solver.

    Args:
        space: where the iterates live.
        activation: of the layer.
        rules: of the conjugate gradient.
        Z: pre-activation `[E, R, O]`, for its dtype and device.
        per_neuron: whether the solve keeps its numbers per neuron, which no kernel does.

    Returns:
        Whether there is a kernel for all of that.
    """
    plain = rules.restart and rules.period is None and not rules.tolerance and not per_neuron
    searched = plain and isinstance(rules.search, Armijo | Curvature)
    return searched and (gpu.applies(space, activation, Z) or (_knows(space) and native.supports(activation, Z)))


def has_targets(activation: str, Z: Tensor) -> bool:
    """Return whether `targets` can take the place of the eager code.

    Args:
        activation: of the layer.
        Z: pre-activation `[E, R, O]`, for its dtype and device.

    Returns:
        Whether there is a kernel for both.
    """
    return calls.supports(activation, Z) or native.supports(activation, Z)


def applies_l1(X: Tensor | Patches, activation: str, Z: Tensor) -> bool:
    """Return whether `minimise_l1` can take the place of the eager proximal gradient, where `applies` holds for its smooth problem.

    Args:
        X: the layer's rows `[E, R, I]`.
        activation: of the layer.
        Z: pre-activation `[E, R, O]`, for its dtype and device.

    Returns:
        Whether there is a kernel for all of that.
    """
    if calls.supports(activation, Z):
        return True
    return isinstance(X, Patches) and X.step.stride == (1, 1) and native.supports(activation, Z)


def applies_update(space: Space, activation: str, Z: Tensor) -> bool:
    """Return whether `update` can do a layer's whole update, where `applies` holds for its subproblem.

    Args:
        space: where the iterates live.
        activation: of the layer.
        Z: pre-activation `[E, R, O]`, for its dtype and device.

    Returns:
        True on the CPU in batch space over rows that are a matrix.
    """
    in_batch = isinstance(space, BatchSpace) and not isinstance(space.X, Patches)
    return in_batch and native.supports(activation, Z) and not calls.supports(activation, Z)


def _knows(space: Space) -> bool:
    """Return whether there are kernels for this space: batch space, and weight space over a convolution's patches."""
    if isinstance(space, BatchSpace):
        return True
    return isinstance(space, WeightSpace) and isinstance(space.X, Patches) and space.X.step.stride == (1, 1)


def _search(rules: Rules) -> tuple[bool, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return True, search.sigma, search.shrink, search.trials
    assert isinstance(search, Curvature)
    return False, 0.0, 0.0, search.halvings


def _rows(space: Space) -> Tensor:
    """Return the rows, those of one member where all share them; the kernels make K themselves, one half from the other."""
    assert isinstance(space, BatchSpace)
    X = layers.matrix(space.X)
    return (X[:1] if X.stride(0) == 0 else X).contiguous()


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor, *, with_error: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return T = sigma(Z) - eta delta and D = sigma'(Z) delta in one pass (J 4.2).

    Args:
        activation: identity, relu or leaky_relu.
        Z: pre-activation `[E, R, O]`.
        delta: dL/dF `[E, R, O]`, overwritten by T: on a convolution's rows such an array is the largest that a step has.
        eta: step `[E, 1, 1]`, > 0.
        with_error: whether to compute D.

    Returns:
        T and D, both `[E, R, O]`; None for D without `with_error`.
    """
    if calls.supports(activation, Z):
        return gpu.targets(activation, Z, delta, eta, with_error=with_error)
    T = delta.expand_as(Z).contiguous()
    D = torch.empty_like(Z) if with_error else None
    cpu.targets(Z, T, eta, D, native.LEAKS[activation])
    return T, D


class Seen(NamedTuple):
    """What a layer's forward and backward pass leave for `update`.

    Attributes:
        X: rows `[E, R, I]`.
        Z: pre-activation `[E, R, O]`; None for zeros, since under the identity only T - Z matters.
        delta: the error at the activation's output, `[E, R, O]`.
    """

    X: Tensor
    Z: Tensor | None
    delta: Tensor


def update(seen: Seen, numbers: tuple[Tensor, Tensor], W: Tensor, b: Tensor | None, how: tuple[float, ...]) -> None:
    """Do what `targets`, `minimise` and `BatchSpace.move` do for a layer, to the bit, in one call that overwrites none of its inputs.

    Args:
        seen: rows and errors; contiguous but for X.
        numbers: step eta and proximal weight lam, both `[E, 1, 1]`, > 0.
        W: weights `[E, O, I]`, contiguous, changed in place.
        b: bias `[E, 1, O]`, changed in place, or None.
        how: from `update_arguments`.
    """
    moved = None if b is None else b.contiguous()
    X, Z, delta = seen
    X = X.contiguous()
    if cpu.is_worth_it(delta, X):
        cpu.update(X, Z, delta, *numbers, moved, None, W, *how)
    else:
        P = torch.empty_like(delta)
        cpu.update(X, Z, delta, *numbers, moved, P, None, *how)
        layers.add_cross(W, P, X)
    if moved is not b:
        _write_back(b, moved)


def update_arguments(activation: str, iterations: int, rules: Rules) -> tuple[float, ...]:
    """Return what `update` needs to know beside its tensors.

    Args:
        activation: identity, relu or leaky_relu.
        iterations: conjugate gradient steps, >= 1.
        rules: with a `Curvature` or `Armijo` search.

    Returns:
        The kernel's last arguments.
    """
    return iterations, *_search(rules), native.LEAKS[activation]


def _images(X: Tensor | Patches) -> tuple[Tensor, list[int]]:
    """Return a convolution's images, those of one member where all share them, and its geometry."""
    assert isinstance(X, Patches)
    images, step = X.images, X.step
    return images[:1] if images.stride(0) == 0 else images, [*step.kernel, *step.padding]


def minimise(problem: Subproblem, iterations: int, rules: Rules, b: Tensor | None = None) -> Tensor:
    """Minimise f from displacement 0 as `conjugate_gradient.minimise` does, then the bias problem at the pre-activation reached.

    Args:
        problem: f, in the batch space of the layer's rows or the weight space of a convolution's, with identity, relu or leaky_relu; on a
            CUDA device in any space, without a b the bias' too. Z and T are contiguous; in batch space Z holds the pre-activation at
            the returned displacement afterwards.
        iterations: conjugate gradient steps, >= 1.
        rules: with a `Curvature` or `Armijo` search.
        b: bias `[E, 1, O]`; the solution of its own problem (J 4.1) is added in place. None leaves that out.

    Returns:
        Coordinates, S `[E, R, O]` or P `[E, I, O]`. Cost in batch space: half of R^2 I multiply-adds for K; per iteration one product
        of R^2 O and two passes over seven `[E, R, O]` arrays, for the bias one pass over two; with an Armijo search about one more of
        each. In weight space: per iteration two products of R I O, one on each of two passes over three such arrays.
    """
    space, name, Z, T, lam = problem.space, problem.activation.name, problem.Z, problem.T, problem.lam
    if gpu.applies(space, name, Z):
        return gpu.minimise(problem, iterations, rules, b)
    moved = None if b is None else b.contiguous()
    how = (iterations, *_search(rules), native.LEAKS[name])
    if isinstance(space, WeightSpace):
        P = Z.new_empty(Z.shape[0], space.X.shape[2], Z.shape[2])
        cpu.minimise_weights(*_images(space.X), Z, T, lam, moved, P, *how)
    else:
        P = torch.empty_like(Z)
        cpu.minimise(_rows(space), Z, T, lam, moved, P, *how)
    _write_back(b, moved)
    return P


def _write_back(b: Tensor | None, moved: Tensor | None) -> None:
    """Copy a bias that a kernel moved to where it came from, unless it is the same array."""
    if b is not None and moved is not None and moved is not b:
        b.copy_(moved)


def minimise_l1(
    problem: Subproblem, V: Tensor, gamma: Tensor, iterations: int, smooth: Tensor, *, rules: Rules, b: Tensor | None = None
) -> Tensor:
    """Do what `proximal_gradient.minimise_l1` does for a layer's weights, then for its bias at the pre-activation reached.

    Args:
        problem: f, in the weight space of the layer's rows, on the CPU a convolution's of stride 1, with identity, relu or leaky_relu.
        V: the present weights `[E, I, O]`.
        gamma: weight of the l1 term `[E, 1, 1]`, >= 0.
        iterations: of both problems.
        smooth: a displacement that solves the weights' problem without the l1 term, `[E, I, O]`.
        rules: how the bias problem without the l1 term is solved first.
        b: bias `[E, 1, O]`; the solution of its own problem (J Remark 4.1) is added in place. None leaves that out.

    Returns:
        The displacement of the weights `[E, I, O]`. Cost per iteration: two products of R I O and one per trial, each on one pass over
        the rows; each member makes its own trials and no others.
    """
    if calls.supports(problem.activation.name, problem.Z):
        return gpu.minimise_l1(problem, V, gamma, iterations, smooth, rules=rules, b=b)
    assert isinstance(problem.space, WeightSpace)
    Z, leak = problem.Z, native.LEAKS[problem.activation.name]
    D, moved = torch.empty_like(smooth, memory_format=torch.contiguous_format), None if b is None else b.contiguous()
    how = (iterations, proximal_gradient.HALVINGS, *_search(rules), leak)
    rows, weights = (Z.contiguous(), problem.T.contiguous()), (V.contiguous(), smooth.contiguous())
    cpu.minimise_l1(*_images(problem.space.X), *rows, *weights, problem.lam, gamma, moved, D, *how)
    _write_back(b, moved)
    return D


def solve_linear(space: LayerSpace, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Do what `conjugate_gradient.solve_linear` does, by a kernel where one applies.

    Args:
        space: where D lives.
        R: residual at D = 0, `[E, R, O]`.
        lam: proximal weight, > 0, `[E, 1, 1]`.
        iterations: how many, >= 0.
        tolerance: a neuron stops when its residual has fallen below this share of the first one; a number, or `[E, 1, 1]`.

    Returns:
        Coordinates of D. Cost per iteration in batch space: one product of R^2 O, and elementwise work in the nearest caches; in weight
        space two products of R I O and no array over the rows in memory.
    """
    if gpu.applies(space, "identity", R):
        return gpu.solve_linear(space, R, lam, iterations, tolerance)
    if not (_knows(space) and native.supports("identity", R)):
        return conjugate_gradient.solve_linear(space, R, lam, iterations, tolerance)
    column = (torch.zeros_like(lam) + tolerance).contiguous()
    if isinstance(space, BatchSpace):
        D = torch.empty_like(R)
        cpu.linear(_rows(space), R.contiguous(), lam, column, D, space.joint, iterations)
    else:
        D = R.new_empty(R.shape[0], space.X.shape[2] + space.joint, R.shape[2])
        cpu.linear_weights(*_images(space.X), space.joint, R.contiguous(), lam, column, D, iterations)
    return D
