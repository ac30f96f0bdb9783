"""A layer's subproblem with an l1 term (J Remark 4.1, 5.5), by proximal gradient.

The papers do not say how they solve it (docs/deviations.md). Soft thresholding needs the weights themselves, so iterates live in weight
space; the step is the curvature step along -grad f, halved until the whole objective falls. On a CPU the work ends when every member
has its step; on a device there is no host sync: a search makes all its trials, several in one product, so that a step can be captured.
Where there are kernels `dispatch.minimise_l1` stands in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.solvers.subproblem import Subproblem

__all__ = ["minimise_l1", "soft_threshold"]

HALVINGS = 20


class Point(NamedTuple):
    """A displacement and what it is worth.

    Attributes:
        D: its coordinates, `[E, I, O]` or `[E, 1, O]`.
        Z: pre-activation there, `[E, R, O]`.
        value: the objective F there, `[E, 1, 1]`.
    """

    D: Tensor
    Z: Tensor
    value: Tensor


@dataclass(frozen=True)
class Sparse:
    """F(D) = f(D) + gamma ||V + D||_1 (J Remark 4.1).

    Attributes:
        smooth: f, in weight or bias space.
        V: the present parameters in the space's coordinates, `[E, I, O]` or `[E, 1, O]`.
        gamma: weight of the l1 term, >= 0, `[E, 1, 1]`.
    """

    smooth: Subproblem
    V: Tensor
    gamma: Tensor

    def at(self, D: Tensor) -> Point:
        """Return the point of a displacement.

        Args:
            D: its coordinates.

        Returns:
            D, its pre-activation and F(D). Cost: one product.
        """
        f = self.smooth
        Z = f.Z + f.space.image(D)
        smooth = f.data_term(Z) + f.total(D.square()) / (2 * f.lam)
        return Point(D, Z, smooth + self.gamma * f.total((self.V + D).abs()))


def soft_threshold(V: Tensor, threshold: Tensor) -> Tensor:
    """Return argmin_U 1/2 ||U - V||^2 + threshold ||U||_1 = sign(V) max(|V| - threshold, 0), elementwise.

    Args:
        V: any shape.
        threshold: >= 0, broadcasts to V.

    Returns:
        U, of V's shape.
    """
    return V.sign() * (V.abs() - threshold).clamp_(min=0)


def minimise_l1(
    problem: Subproblem, V: Tensor, gamma: Tensor, iterations: int, smooth: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Minimise f(D) + gamma ||V + D||_1 (J Remark 4.1, 5.5 with r = l1) from D = 0, or from a solution of f alone where that is lower.

    Per iteration: g = grad f, t = <g, g> / (2 ||sigma'(Z) X g||^2 + <g, g>/lam), D+ = soft(V + D - t g, t gamma) - V, with t halved
    until f + gamma ||.||_1 falls; a member where it never does stays. Where g = 0, t is lam, which no curvature step exceeds: a layer
    that no sample reaches goes to the minimiser soft(V, lam gamma).

    Args:
        problem: f, in weight or bias space.
        V: the present parameters in the space's coordinates, `[E, I, O]` or `[E, 1, O]`.
        gamma: weight of the l1 term, >= 0, `[E, 1, 1]`.
        iterations: how many.
        smooth: coordinates of a D that nearly minimises f, so that a small gamma changes little.

    Returns:
        Coordinates of D and the pre-activation there. Cost per iteration: two products and one per halving, on a device all of them.
    """
    objective = Sparse(problem, V, gamma)
    point = objective.at(torch.zeros_like(V))
    if smooth is not None:
        trial = objective.at(smooth)
        point = _moved(point, trial, trial.value < point.value)
    stuck = torch.zeros_like(point.value, dtype=torch.bool)
    for _ in range(iterations):
        g = problem.gradient(point.Z, point.D)
        t = _curvature_step(problem, point.Z, g)
        stuck = stuck | (t <= 0)
        if _may_sync(stuck):
            point, stuck = _line_search(objective, point, g, t, stuck)
            if stuck.all():
                break
        else:
            point, stuck = line_search_without_sync(objective, point, g, t, stuck)
    return point.D, point.Z


def _may_sync(flags: Tensor) -> bool:
    """Return whether the host may look at a tensor's values: on a device that waits, and cannot be captured."""
    return flags.device.type == "cpu"


def _line_search(objective: Sparse, point: Point, g: Tensor, t: Tensor, stuck: Tensor) -> tuple[Point, Tensor]:
    """Halve t until the objective falls.

    Returns:
        Where each member is then, and which have no such t: there they stay for good.
    """
    V, waiting = objective.V, ~stuck
    for _ in range(HALVINGS):
        if not waiting.any():
            break
        trial = objective.at(soft_threshold(V + point.D - t * g, t * objective.gamma) - V)
        lower = waiting & (trial.value < point.value)
        point, waiting = _moved(point, trial, lower), waiting & ~lower
        t = torch.where(waiting, t / 2, t)
    return point, stuck | waiting


def line_search_without_sync(
    objective: Sparse, point: Point, g: Tensor, t: Tensor, stuck: Tensor, *, numbers: int = 2**26
) -> tuple[Point, Tensor]:
    """Halve t until the objective falls, without a host sync: all trials are made, several side by side.

    Args:
        objective: F.
        point: where each member is.
        g: grad f there, in the space's coordinates.
        t: first steps `[E, 1, 1]`.
        stuck: members that stay where they are, `[E, 1, 1]`.
        numbers: as many trials are made at a time as make so many numbers of Z(t).

    Returns:
        Where each member is then, and which stay for good: those of `stuck`, and those that no trial lowers.
    """
    waiting = ~stuck
    at_a_time = max(1, min(HALVINGS, numbers // objective.smooth.Z.numel()))
    for first in range(0, HALVINGS, at_a_time):
        m = torch.arange(first, min(first + at_a_time, HALVINGS), device=t.device)
        trial = _points(objective, point, g, t.unsqueeze(2) * (0.5**m).to(t.dtype).view(-1, 1))
        lower = waiting & (trial.value < point.value)  # [E, 1, trials]
        least = torch.where(lower, m - first, len(m)).amin(-1, keepdim=True)
        passed = least < len(m)
        chosen = least.clamp(max=len(m) - 1)

        def pick(trials: Tensor, chosen: Tensor = chosen) -> Tensor:  # [E, n, trials, O] -> [E, n, O]
            index = chosen.unsqueeze(-1).expand(-1, trials.shape[1], 1, trials.shape[3])
            return trials.gather(2, index).squeeze(2)

        trial = Point(pick(trial.D), pick(trial.Z), trial.value.gather(2, chosen))
        point, waiting = _moved(point, trial, passed), waiting & ~passed
    return point, stuck | waiting


def _points(objective: Sparse, point: Point, g: Tensor, t: Tensor) -> Point:
    """Return the points of the steps t `[E, 1, trials, 1]` side by side: D and Z `[E, n, trials, O]`, values `[E, 1, trials]`.

    Their images are one product, with the neurons of all trials in a row.
    """
    problem, gamma, V = objective.smooth, objective.gamma, objective.V.unsqueeze(2)
    D = soft_threshold(V + point.D.unsqueeze(2) - t * g.unsqueeze(2), t * gamma.unsqueeze(2)) - V
    image = problem.space.image(D.flatten(2)).unflatten(2, D.shape[2:])
    Z = problem.Z.unsqueeze(2) + image
    data = (problem.activation.value(Z) - problem.T.unsqueeze(2)).square_().sum((1, 3))
    proximal, size = D.square().sum((1, 3)), (V + D).abs().sum((1, 3))
    value = data + proximal / (2 * problem.lam[:, 0]) + gamma[:, 0] * size
    return Point(D, Z, value.unsqueeze(1))


def _moved(point: Point, trial: Point, which: Tensor) -> Point:
    """Return the trial's point for the members of `which`, and the old one for the others."""
    return Point(*(torch.where(which, new, old) for new, old in zip(trial, point, strict=True)))


def _curvature_step(problem: Subproblem, Z: Tensor, g: Tensor) -> Tensor:
    image = problem.space.image(g).expand_as(Z)
    seen = image * problem.activation.slope(Z, problem.activation.value(Z))
    gg = problem.total(g.square())
    bend = 2 * problem.total(seen.square()) + gg / problem.lam
    return torch.where(gg == 0, problem.lam, torch.where(bend > 0, gg / bend, 0))
