"""A layer's subproblem with an l1 term (J Remark 4.1, 5.5), by proximal gradient.

The papers do not say how they solve it (docs/deviations.md). Soft thresholding needs the weights themselves, so iterates live in weight
space; the step is the curvature step along -grad f, halved until the whole objective falls.
"""

import torch
from torch import Tensor

from sibp.subproblem import Subproblem

__all__ = ["minimise_l1", "soft_threshold"]

HALVINGS = 20


def soft_threshold(V: Tensor, threshold: Tensor) -> Tensor:
    """Return argmin_U 1/2 ||U - V||^2 + threshold ||U||_1 = sign(V) max(|V| - threshold, 0), elementwise."""
    return V.sign() * (V.abs() - threshold).clamp_(min=0)


def minimise_l1(problem: Subproblem, start: Tensor, gamma: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Minimise f(D) + gamma ||V + D||_1 from D = 0 (J Remark 4.1, 5.5 with r = l1).

    Per iteration: g = grad f, t = <g, g> / (2 ||sigma'(Z) X g||^2 + <g, g>/lam), D+ = soft(V + D - t g, t gamma) - V, with t halved
    until f + gamma ||.||_1 falls; a member where it never does stays.

    Args:
        problem: f, in weight or bias space.
        start: V, the present parameters in the space's coordinates, `[E, I, O]` or `[E, 1, O]`.
        gamma: weight of the l1 term, >= 0, `[E, 1, 1]`.
        iterations: how many.

    Returns:
        Coordinates of D and the pre-activation there. Cost per iteration: two products and one per halving.
    """
    D, Z = torch.zeros_like(start), problem.Z
    value = _objective(problem, Z, D, start, gamma)
    for _ in range(iterations):
        g = problem.gradient(Z, D)
        t = _curvature_step(problem, Z, g)
        open_ = t > 0
        for _ in range(HALVINGS):
            D_new = soft_threshold(start + D - t * g, t * gamma) - start
            Z_new = problem.Z + problem.space.image(D_new)
            value_new = _objective(problem, Z_new, D_new, start, gamma)
            lower = open_ & (value_new < value)
            D, Z = torch.where(lower, D_new, D), torch.where(lower, Z_new, Z)
            value = torch.where(lower, value_new, value)
            open_ = open_ & ~lower
            if not open_.any():
                break
            t = torch.where(open_, t / 2, t)
    return D, Z


def _objective(problem: Subproblem, Z: Tensor, D: Tensor, start: Tensor, gamma: Tensor) -> Tensor:
    smooth = problem.data_term(Z) + problem.total(D.square()) / (2 * problem.lam)
    return smooth + gamma * problem.total((start + D).abs())


def _curvature_step(problem: Subproblem, Z: Tensor, g: Tensor) -> Tensor:
    image = problem.space.image(g).expand_as(Z)
    seen = image * problem.activation.slope(Z, problem.activation.value(Z))
    gg = problem.total(g.square())
    bend = 2 * problem.total(seen.square()) + gg / problem.lam
    return torch.where(bend > 0, gg / bend, 0)
