"""Step sizes along a direction. The pre-activation is affine in the step, so no trial needs a product.

A `Line` is f restricted to D + t d. Its Z(t) = Z + t Z_d is elementwise and its proximal term is a quadratic in t from three inner
products. A search returns the step t >= 0 for every problem of the line (one per member, or one per neuron); t = 0 means that no
step was found. Nothing raises, and a comparison with NaN is false, so a member that has lost its numbers stays where it is.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sibp.kernels.native import LEAKS
from sibp.kernels.triton import calls
from sibp.solvers.subproblem import Subproblem

__all__ = ["Armijo", "Curvature", "Line", "released_armijo", "released_jump"]


@dataclass(frozen=True)
class Line:
    """The subproblem f along one direction d from a displacement D; numbers are per member `[E, 1, 1]`, or per neuron `[E, 1, O]`.

    Attributes:
        problem: the subproblem.
        Z: pre-activation at t = 0, `[E, R, O]`.
        Z_d: its derivative in t.
        DD: <D, D>.
        Dd: <D, d>.
        dd: <d, d>.
        slope: <grad f, d> at t = 0; a released program's may be the slope of a wrong gradient.
    """

    problem: Subproblem
    Z: Tensor
    Z_d: Tensor
    DD: Tensor
    Dd: Tensor
    dd: Tensor
    slope: Tensor

    @cached_property
    def start(self) -> Tensor:
        """The objective f at t = 0."""
        return self.problem.data_term(self.Z) + self.DD / (2 * self.problem.lam)

    def value(self, t: Tensor) -> Tensor:
        """Return f(t).

        Args:
            t: steps, one per problem of the line.

        Returns:
            Objectives, of t's shape. Cost: elementwise, no product.
        """
        proximal = self.DD + 2 * t * self.Dd + t * t * self.dd
        return self.problem.data_term(self.Z + t * self.Z_d) + proximal / (2 * self.problem.lam)

    def armijo_holds(self, t: Tensor, sigma: float) -> Tensor:
        """Return whether f(t) < f(0) + sigma t slope, strictly.

        Args:
            t: steps, one per problem of the line.
            sigma: Armijo's share of the linear decrease, in (0, 1).

        Returns:
            Flags of t's shape; false where a number is NaN.
        """
        return self.value(t) < self.start + sigma * t * self.slope


def first_exponent(line: Line, sigma: float, shrink: float, first: Tensor, limit: int) -> Tensor:
    """Return the least exponent m at which t = shrink^m passes Armijo's test.

    Args:
        line: f along the direction.
        sigma: share of the linear decrease, in (0, 1).
        shrink: ratio of two trials, in (0, 1).
        first: the first exponent to try, per problem of the line, >= 0; inf tries none.
        limit: no exponent reaches it.

    Returns:
        m in first, first + 1, ... < limit, of first's shape, or inf where none passes. On the CPU trials end when all are decided; on
        a device there is no host sync.
    """
    if (exponents := _first_exponent_fused(line, sigma, shrink, first, limit)) is not None:
        return exponents
    if line.Z.is_cuda:
        return first_exponent_without_sync(line, sigma, shrink, first, limit)
    exponents = torch.full_like(first, math.inf)
    m = first.clone()
    undecided = m < limit
    while undecided.any():
        passed = line.armijo_holds(shrink**m, sigma) & undecided
        exponents = torch.where(passed, m, exponents)
        m += 1
        undecided &= ~passed & (m < limit)
    return exponents


def _first_exponent_fused(line: Line, sigma: float, shrink: float, first: Tensor, limit: int) -> Tensor | None:
    """Do what `first_exponent` does in two launches.

    Returns:
        The exponents, or None where no kernel applies.
    """
    problem = line.problem
    if problem.per_neuron or not calls.supports(problem.activation.name, line.Z):
        return None
    exponents = torch.empty_like(first)
    tensors = (line.Z, line.Z_d, problem.T, line.DD, line.Dd, line.dd, line.slope, problem.lam, first)
    leak = LEAKS[problem.activation.name]
    how = (exponents, leak, sigma, shrink, limit)
    return exponents if calls.call("armijo_exponents", *(tensor.contiguous() for tensor in tensors), *how) else None


def first_exponent_without_sync(
    line: Line, sigma: float, shrink: float, first: Tensor, limit: int, *, numbers: int = 2**24
) -> Tensor:
    """Do what `first_exponent` does without a host sync: all trials are made, several at a time.

    Args:
        line: f along the direction.
        sigma: share of the linear decrease, in (0, 1).
        shrink: ratio of two trials, in (0, 1).
        first: the first exponent to try, per problem of the line.
        limit: no exponent reaches it.
        numbers: as many trials are made at a time as make so many numbers of Z(t).

    Returns:
        The exponents, of first's shape, or inf where none passes.
    """
    at_a_time = max(1, min(limit, numbers // line.Z.numel()))
    m = first + torch.arange(at_a_time, dtype=first.dtype, device=first.device).view(-1, 1, 1, 1)
    exponents = torch.full_like(first, math.inf)
    for _ in range(math.ceil(limit / at_a_time)):
        passed = line.armijo_holds(shrink**m, sigma) & (m < limit)
        exponents = torch.minimum(exponents, torch.where(passed, m, math.inf).amin(0))
        m = m + at_a_time
    return exponents


@dataclass(frozen=True)
class Armijo:
    """The first t = shrink^m, m = 0, 1, ..., with f(t) < f(0) + sigma t <grad f, d>; 0 if no trial passes.

    The papers name no line search; the defaults are the authors' program's.

    Attributes:
        sigma: share of the linear decrease, in (0, 1).
        shrink: ratio of two trials, in (0, 1).
        trials: how many at most.
    """

    sigma: float = 0.1
    shrink: float = 0.6
    trials: int = 50

    def __call__(self, line: Line) -> Tensor:
        """Search along a line.

        Args:
            line: f along the direction.

        Returns:
            Steps, one per problem of the line; 0 for none. Cost: elementwise; on the CPU trials end when all are decided.
        """
        m = first_exponent(line, self.sigma, self.shrink, torch.zeros_like(line.slope), self.trials)
        return torch.where(m.isfinite(), self.shrink**m, 0)


@dataclass(frozen=True)
class Curvature:
    """t0 = -slope / (2 ||sigma'(Z) Z_d||^2 + <d, d>/lam), or t0/2, t0/4, ...: the first that lowers f; else 0.

    t0 minimises the Gauss-Newton model of f along d, exactly so where sigma is the identity. Our variant ``newton``.

    Attributes:
        halvings: how often t0 is halved at most, >= 0.
    """

    halvings: int = 2

    def __call__(self, line: Line) -> Tensor:
        """Search along a line.

        Args:
            line: f along the direction.

        Returns:
            Steps, one per problem of the line; 0 for none. Cost: elementwise, `halvings` + 1 trials, no host sync.
        """
        problem, Z_d = line.problem, line.Z_d
        if problem.activation.name != "identity":
            Z_d = Z_d * problem.activation.slope(line.Z, problem.activation.value(line.Z))
        # a bias direction [E, 1, O] under the identity has not been spread over the rows yet
        bend = 2 * problem.total(Z_d.square().expand_as(line.Z)) + line.dd / problem.lam
        t = torch.where(bend > 0, -line.slope / bend, 0)
        step = torch.zeros_like(t)
        for _ in range(self.halvings + 1):
            lower = (step == 0) & (t > 0) & (line.value(t) < line.start)
            step = torch.where(lower, t, step)
            t = t / 2
        return step


def released_armijo(line: Line, sigma: float, trials: int, shrink: float = 0.6) -> Tensor:
    """Return Armijo's step as the authors' programs have it: an exponent m = 0 that passes is never applied.

    Their mark for "no exponent passes" is m = 0 as well, so a full step is lost (docs/deviations.md).

    Args:
        line: f along the direction.
        sigma: share of the linear decrease, in (0, 1).
        trials: how many at most.
        shrink: ratio of two trials, in (0, 1).

    Returns:
        Steps, one per problem of the line; 0 for none.
    """
    m = first_exponent(line, sigma, shrink, torch.zeros_like(line.slope), trials)
    return torch.where(m.isfinite() & (m > 0), shrink**m, 0)


def released_jump(line: Line, sigma: float = 0.1, trials: int = 50, shrink: float = 0.6) -> Tensor:
    """Return the hidden layers' step of the later program: after trial m = 0 the exponent jumps to an untested w.

    w = max(floor(log(0.01 f(0) / |sigma slope|) / log shrink), 0). If the full step passed, the step is shrink^w, untested, and
    none when w = 0; if not, the trials go on from w + 1.

    Args:
        line: f along the direction.
        sigma: share of the linear decrease, in (0, 1).
        trials: how many at most.
        shrink: ratio of two trials, in (0, 1).

    Returns:
        Steps, one per problem of the line; 0 for none.
    """
    ratio = 0.01 * line.start / (sigma * line.slope).abs()
    w = (ratio.log() / math.log(shrink)).floor()
    w = torch.where(w > 0, w, 0)  # also for NaN, as MATLAB's max has it
    full = line.armijo_holds(torch.ones_like(w), sigma)
    later = first_exponent(line, sigma, shrink, torch.where(full, math.inf, w + 1), trials)
    m = torch.where(full, w, later)
    return torch.where(m.isfinite() & (m > 0), shrink**m, 0)
