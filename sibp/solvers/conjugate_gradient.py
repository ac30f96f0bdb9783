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
from sibp.solvers.subproblem import Space, Subproblem, Vector

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
        two in weight space; host syncs are those of the search.
    """
    space, Z = problem.space, problem.Z
    first = space.coordinates(problem.gamma(Z) if first_gamma is None else first_gamma)
    if not iterations:
        return torch.zeros_like(first), Z
    g = space.vector(first)
    gg = problem.inner(g, g).clamp(min=0)
    d, D = Vector(-g.P, -g.image), Vector(torch.zeros_like(g.P), torch.zeros_like(g.image))
    stopped: Tensor | bool = False
    for k in range(iterations):
        if k > 0:
            g = space.vector(problem.gradient(Z, D.P))
            gg_old, gg = gg, problem.inner(g, g).clamp(min=0)
            restarts = rules.period is not None and k % rules.period == 0
            d = _next_direction(problem, rules, g, d, torch.zeros_like(gg) if restarts else gg / gg_old)
        t = rules.search(_line(problem, Z, g, D, d))
        if rules.tolerance:
            stopped = stopped | (gg.sqrt() < rules.tolerance)
            t = torch.where(stopped, 0, t)
        # 0 * NaN is NaN: where there is no step, take none instead of adding zero times the direction
        moved = t != 0
        D = Vector(*(torch.where(moved, old + t * along, old) for old, along in zip(D, d, strict=True)))
        Z = torch.where(moved, Z + t * d.image, Z)
    return D.P, Z


def _next_direction(problem: Subproblem, rules: Rules, g: Vector, d: Vector, beta: Tensor) -> Vector:
    """Return beta d - g, or -g where the rules restart and that does not descend."""
    following = Vector(beta * d.P - g.P, beta * d.image - g.image)
    if not rules.restart:
        return following
    descends = problem.inner(following, g) < 0  # false for NaN
    return Vector(*(torch.where(descends, along, -steepest) for along, steepest in zip(following, g, strict=True)))


def _line(problem: Subproblem, Z: Tensor, g: Vector, D: Vector, d: Vector) -> Line:
    # in batch space a quadratic form can round below zero when K is nearly singular
    return Line(
        problem,
        Z,
        d.image,
        DD=problem.inner(D, D).clamp(min=0),
        Dd=problem.inner(D, d),
        dd=problem.inner(d, d).clamp(min=0),
        slope=problem.inner(g, d),
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

    def square(p: Vector) -> Tensor:
        return space.inner(p, p).sum(-2, keepdim=True)

    mu = 1 / (2 * lam)
    r = space.vector(-space.coordinates(R))
    rr = square(r).clamp(min=0)
    stop = tolerance**2 * rr
    D, d = torch.zeros_like(r.P), r
    for _ in range(iterations):
        bend = d.image.square().sum(-2, keepdim=True) + mu * square(d)
        going = (bend > 0) & (rr > stop)
        t = torch.where(going, rr / bend, 0)
        D = D + t * d.P
        r = space.vector(r.P - t * (space.coordinates(d.image) + mu * d.P))
        rr_old, rr = rr, square(r).clamp(min=0)
        beta = torch.where(rr_old > 0, rr / rr_old, 0)
        d = Vector(r.P + beta * d.P, r.image + beta * d.image)
    return D


def solve_exactly(X: Tensor | Patches, R: Tensor, lam: Tensor, *, joint: bool) -> Tensor:
    """Minimise ||X D + R||^2 + 1/(2 lam) ||D||^2 by Cholesky, in whichever of X X^T and X^T X is smaller.

    D = -(X^T X + mu)^-1 X^T R = -X^T (X X^T + mu)^-1 R with mu = 1/(2 lam); with `joint`, X has a column of ones appended.

    Args:
        X: rows `[E, R, I]`.
        R: residual at D = 0, `[E, R, O]`.
        lam: proximal weight, > 0, `[E, 1, 1]`.
        joint: whether the bias is part of the problem.

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
    """Return (L L^T)^-1 B by two triangular solves.

    Args:
        B: right-hand sides `[..., n, m]`.
        L: lower triangular `[..., n, n]`.

    Returns:
        `[..., n, m]`. Cost: 2 n^2 m multiply-adds, no host sync.
    """
    return torch.linalg.solve_triangular(L.mT, torch.linalg.solve_triangular(L, B, upper=False), upper=True)
