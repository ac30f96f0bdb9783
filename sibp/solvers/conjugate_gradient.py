"""Conjugate gradients on a layer's subproblem: direction, step, update, in any `Space`.

Both solvers start at the current parameters (displacement 0), run a fixed number of iterations as the papers do, and return the
coordinates of the displacement. Every number is per member (or per neuron), so members never mix, and every division is guarded:
a direction that is not finite gives no step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sibp.nets import layers
from sibp.nets.layers import Patches
from sibp.solvers.linesearch import Line
from sibp.solvers.subproblem import Space, Subproblem

__all__ = ["Rules", "minimise", "solve_exactly", "solve_linear"]


@dataclass(frozen=True)
class Rules:
    """How a nonlinear conjugate gradient behaves.

    Attributes:
        search: the step along a `Line`.
        restart: go back to d = -g where d is not a descent direction or not finite.
        period: also restart every `period` iterations; None never.
        tolerance: stop a problem whose ||g|| is below it.
    """

    search: Callable[[Line], Tensor]
    restart: bool = True
    period: int | None = None
    tolerance: float = 0.0


def minimise(problem: Subproblem, iterations: int, rules: Rules, first_gamma: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run Fletcher-Reeves nonlinear conjugate gradient on f from displacement 0.

    g = grad f,  beta = ||g||^2 / ||g_old||^2,  d = -g + beta d_old,  D += t d with t from `rules.search`.

    Args:
        problem: f.
        iterations: how many, >= 0 (the papers use 5).
        rules: line search, restarts and stopping.
        first_gamma: what to use for gamma `[E, R, O]` in the first gradient instead of the true one (a released program).

    Returns:
        Coordinates of D in `problem.space`, and the pre-activation there `[E, R, O]`. Cost per iteration: one product in batch space,
        two in weight space.
    """
    space = problem.space
    Z = problem.Z
    g = space.coordinates(problem.gamma(Z) if first_gamma is None else first_gamma)
    P = torch.zeros_like(g)
    image_P = d = image_d = gg = None
    stopped: Tensor | bool = False
    for k in range(iterations):
        image_g = space.image(g)
        gg_old, gg = gg, problem.inner(g, image_g, g, image_g).clamp(min=0)
        if d is None:
            d, image_d, image_P = -g, -image_g, torch.zeros_like(image_g)
        else:
            d, image_d = _next_direction(problem, rules, k, gg / gg_old, g, image_g, d, image_d)
        line = _line(problem, Z, g, image_g, P, image_P, d, image_d)
        t = rules.search(line)
        if rules.tolerance:
            stopped = stopped | (gg.sqrt() < rules.tolerance)
            t = torch.where(stopped, 0, t)
        # 0 * NaN is NaN: where there is no step, take none instead of adding zero times the direction
        moved = t != 0
        P = torch.where(moved, P + t * d, P)
        image_P = torch.where(moved, image_P + t * image_d, image_P)
        Z = torch.where(moved, Z + t * image_d, Z)
        if k + 1 < iterations:
            g = problem.gradient(Z, P)
    return P, Z


def _next_direction(
    problem: Subproblem,
    rules: Rules,
    k: int,
    beta: Tensor,
    g: Tensor,
    image_g: Tensor,
    d: Tensor,
    image_d: Tensor,
) -> tuple[Tensor, Tensor]:
    if rules.period is not None and k % rules.period == 0:
        beta = torch.zeros_like(beta)
    d, image_d = beta * d - g, beta * image_d - image_g
    if rules.restart:
        slope = problem.inner(d, image_d, g, image_g)
        descends = slope < 0  # false for NaN
        d = torch.where(descends, d, -g)
        image_d = torch.where(descends, image_d, -image_g)
    return d, image_d


def _line(
    problem: Subproblem,
    Z: Tensor,
    g: Tensor,
    image_g: Tensor,
    P: Tensor,
    image_P: Tensor,
    d: Tensor,
    image_d: Tensor,
) -> Line:
    # in batch space a quadratic form can round below zero when K is nearly singular
    return Line(
        problem,
        Z,
        image_d,
        DD=problem.inner(P, image_P, P, image_P).clamp(min=0),
        Dd=problem.inner(P, image_P, d, image_d),
        dd=problem.inner(d, image_d, d, image_d).clamp(min=0),
        slope=problem.inner(g, image_g, d, image_d),
    )


def solve_linear(space: Space, R: Tensor, lam: Tensor, iterations: int, tolerance: Tensor | float = 0.0) -> Tensor:
    """Minimise ||image(D) + R||^2 + 1/(2 lam) ||D||^2 by linear conjugate gradient from D = 0, one per neuron in parallel.

    J 3.2 with R = Z - T. The normal equations are (X^T X + 1/(2 lam)) D = -X^T R.

    Args:
        space: where D lives.
        R: residual at D = 0, `[E, R, O]`.
        lam: proximal weight, > 0, `[E, 1, 1]`.
        iterations: how many, >= 0.
        tolerance: a neuron stops when its residual has fallen below this share of the first one (P: 1e-2; J: none); a number, or
            `[E, 1, 1]`.

    Returns:
        Coordinates of D. Cost per iteration: one product in batch space, two in weight space.
    """

    def inner(P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        return space.inner(P, image_P, Q, image_Q).sum(-2, keepdim=True)

    mu = 1 / (2 * lam)
    r = -space.coordinates(R)
    image_r = space.image(r)
    rr = inner(r, image_r, r, image_r).clamp(min=0)
    stop = tolerance**2 * rr
    D = torch.zeros_like(r)
    d, image_d = r, image_r
    for _ in range(iterations):
        bend = image_d.square().sum(-2, keepdim=True) + mu * inner(d, image_d, d, image_d)
        going = (bend > 0) & (rr > stop)
        t = torch.where(going, rr / bend, 0)
        D = D + t * d
        r = r - t * (space.coordinates(image_d) + mu * d)
        image_r = space.image(r)
        rr_old, rr = rr, inner(r, image_r, r, image_r).clamp(min=0)
        beta = torch.where(rr_old > 0, rr / rr_old, 0)
        d, image_d = r + beta * d, image_r + beta * image_d
    return D


def solve_exactly(X: Tensor | Patches, R: Tensor, lam: Tensor, joint: bool) -> Tensor:
    """Minimise ||X D + R||^2 + 1/(2 lam) ||D||^2 by Cholesky, in whichever of X X^T and X^T X is smaller.

    D = -(X^T X + mu)^-1 X^T R = -X^T (X X^T + mu)^-1 R with mu = 1/(2 lam); with `joint`, X has a column of ones appended.

    Returns:
        D `[E, I, O]`, or `[E, I + 1, O]` with `joint`. Cost: min(I, R)^2 times the other, once per layer and member.
    """
    X = layers.matrix(X)
    if joint:
        X = torch.cat([X, X.new_ones(*X.shape[:-1], 1)], -1)
    wide = X.shape[-1] > X.shape[-2]
    A = X @ X.mT if wide else X.mT @ X
    A.diagonal(dim1=-2, dim2=-1).add_((1 / (2 * lam)).squeeze(-1))
    L, _ = torch.linalg.cholesky_ex(A)
    if wide:
        return -(X.mT @ _cholesky_solve(R, L))
    return -_cholesky_solve(X.mT @ R, L)


def _cholesky_solve(B: Tensor, L: Tensor) -> Tensor:
    """Return (L L^T)^-1 B. On CUDA torch may hand `cholesky_solve` to a library that waits for the host."""
    return torch.cholesky_solve(B, L) if B.device.type == "cpu" else triangular_solves(B, L)


def triangular_solves(B: Tensor, L: Tensor) -> Tensor:
    """Return (L L^T)^-1 B for a lower triangular L, by two triangular solves."""
    return torch.linalg.solve_triangular(L.mT, torch.linalg.solve_triangular(L, B, upper=False), upper=True)
