"""The layers' subproblems through the fused kernels: the fast twins of `conjugate_gradient` in batch space.

Same iterates up to rounding. For SIBP they need a curvature or Armijo search with joint numbers, a piecewise linear activation, and
tensors on the CPU; `applies` says whether that is so. The products stay torch's; everything between two of them is one or two passes over memory.
"""

import torch
from torch import Tensor

from sibp import native
from sibp.conjugate_gradient import Rules
from sibp.linesearch import Armijo, Curvature
from sibp.subproblem import BatchSpace

__all__ = ["applies", "minimise", "minimise_bias", "solve_linear", "targets"]


def applies(activation: str, rules: Rules, per_neuron: bool, Z: Tensor) -> bool:
    """Return whether the kernels can take the place of the eager solver."""
    plain = rules.restart and rules.period is None and not rules.tolerance and not per_neuron
    return plain and isinstance(rules.search, Armijo | Curvature) and native.supports(activation, Z)


def _search(rules: Rules) -> tuple[int, float, float, int]:
    search = rules.search
    if isinstance(search, Armijo):
        return 1, search.sigma, search.shrink, search.trials
    return 0, 0.0, 0.0, search.halvings


def targets(activation: str, Z: Tensor, delta: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return T = sigma(Z) - eta delta and D = sigma'(Z) delta, both `[E, R, O]`, in one pass."""
    delta = delta.expand_as(Z).contiguous()
    T, D = torch.empty_like(Z), torch.empty_like(Z)
    native.call("targets", Z.shape, Z.dtype, Z, delta, eta, native.LEAKS[activation], T, D)
    return T, D


def minimise(space: BatchSpace, activation: str, Z: Tensor, T: Tensor, lam: Tensor, iterations: int, rules: Rules) -> Tensor:
    """Minimise f from displacement 0 as `conjugate_gradient.minimise` does; Z is moved along, in place.

    Args:
        space: the batch space of the layer's rows.
        activation: identity, relu or leaky_relu.
        Z: pre-activation at displacement 0, `[E, R, O]`, contiguous; holds the one at the returned displacement afterwards.
        T: target `[E, R, O]`, contiguous.
        lam: proximal weight `[E, 1, 1]`, > 0.
        iterations: conjugate gradient steps, >= 1.
        rules: with a `Curvature` or `Armijo` search.

    Returns:
        Coordinates S `[E, R, O]`. Cost per iteration: one product of R^2 O and four passes over `[E, R, O]` arrays.
    """
    leak, shape, dtype = native.LEAKS[activation], Z.shape, Z.dtype
    numbers = torch.zeros(shape[0], native.NUMBERS, dtype=torch.float64)
    numbers[:, 0] = lam.flatten()
    P = torch.zeros_like(Z)
    g, image_g, d, image_d = (torch.empty_like(Z) for _ in range(4))
    kind, sigma, shrink, trials = _search(rules)
    native.call("begin", shape, dtype, Z, T, leak, g, numbers)
    for k in range(iterations):
        _image(space.K, g, image_g)
        native.call("direction", shape, dtype, k, g, image_g, P, Z, leak, d, image_d, numbers)
        last = int(k + 1 == iterations)
        native.call("advance", shape, dtype, kind, sigma, shrink, trials, last, d, image_d, T, leak, P, Z, g, numbers)
    return P


def _image(K: Tensor, P: Tensor, out: Tensor) -> None:
    if K.shape[0] == 1:
        torch.mm(K[0], P[0], out=out[0])
    else:
        torch.matmul(K, P, out=out)


def minimise_bias(activation: str, Z: Tensor, T: Tensor, lam: Tensor, b: Tensor, iterations: int, rules: Rules) -> None:
    """Solve the bias subproblem (J 4.1) at pre-activation Z and add the displacement to b `[E, 1, O]`, in place.

    Cost: one pass over Z and T per iteration with a curvature search, one more per Armijo trial; no product.
    """
    moved = b if b.is_contiguous() else b.contiguous()
    native.call("bias", Z.shape, Z.dtype, iterations, *_search(rules), Z, T, native.LEAKS[activation], lam, moved)
    if moved is not b:
        b.copy_(moved)


def solve_linear(space: BatchSpace, R: Tensor, lam: Tensor, iterations: int, tolerance: float = 0.0) -> Tensor:
    """Do what `conjugate_gradient.solve_linear` does, in batch space; see there.

    Cost per iteration: one product of R^2 O and three passes over `[E, R, O]` arrays.
    """
    E, _, O = R.shape
    r = -R if R.is_contiguous() else -R.contiguous()
    D = torch.zeros_like(r)
    image_r, d, image_d = (torch.zeros_like(r) for _ in range(3))
    rr, least = torch.zeros(2, E, O, dtype=r.dtype)
    for k in range(iterations):
        _image(space.K, r, image_r)
        native.call("linear", r.shape, r.dtype, k, tolerance, lam, image_r, rr, least, r, d, image_d, D)
    return D
