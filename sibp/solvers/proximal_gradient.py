"""A layer's subproblem with an l1 term (J Remark 4.1, 5.5), by proximal gradient.

The papers do not say how they solve it (docs/deviations.md). Soft thresholding needs the weights themselves, so iterates live in weight
space; the step is the curvature step along -grad f, halved until the whole objective falls. On a CPU the work ends when every member
has its step; on a device nobody looks, and a search makes all its trials, several in one product, so that a step can be recorded. Where
there are kernels `dispatch.minimise_l1` stands in.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.solvers.subproblem import Subproblem

__all__ = ["minimise_l1", "soft_threshold"]

HALVINGS = 20


class Point(NamedTuple):
    """A displacement's coordinates, the pre-activation there, and the objective `[E, 1, 1]`."""

    D: Tensor
    Z: Tensor
    value: Tensor


def soft_threshold(V: Tensor, threshold: Tensor) -> Tensor:
    """Return argmin_U 1/2 ||U - V||^2 + threshold ||U||_1 = sign(V) max(|V| - threshold, 0), elementwise."""
    return V.sign() * (V.abs() - threshold).clamp_(min=0)


def minimise_l1(
    problem: Subproblem, start: Tensor, gamma: Tensor, iterations: int, smooth: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Minimise f(D) + gamma ||V + D||_1 (J Remark 4.1, 5.5 with r = l1) from D = 0, or from a solution of f alone where that is lower.

    Per iteration: g = grad f, t = <g, g> / (2 ||sigma'(Z) X g||^2 + <g, g>/lam), D+ = soft(V + D - t g, t gamma) - V, with t halved
    until f + gamma ||.||_1 falls; a member where it never does stays.

    Args:
        problem: f, in weight or bias space.
        start: V, the present parameters in the space's coordinates, `[E, I, O]` or `[E, 1, O]`.
        gamma: weight of the l1 term, >= 0, `[E, 1, 1]`.
        iterations: how many.
        smooth: coordinates of a D that (about) minimises f, so that a small gamma changes little.

    Returns:
        Coordinates of D and the pre-activation there. Cost per iteration: two products and one per halving, on a device all of them.
    """

    def at(D: Tensor) -> Point:
        return _point(problem, start, gamma, D)

    here = at(torch.zeros_like(start))
    if smooth is not None:
        there = at(smooth)
        here = _moved(here, there, there.value < here.value)
    stuck = torch.zeros_like(here.value, dtype=torch.bool)
    for _ in range(iterations):
        g = problem.gradient(here.Z, here.D)
        t = _curvature_step(problem, here.Z, g)
        stuck = stuck | (t <= 0)
        if _is_read(stuck):
            here, stuck = _line_search(at, here, g, t, start, gamma, stuck)
            if stuck.all():
                break
        else:
            here, stuck = line_search_unread(problem, here, g, t, start, gamma, stuck)
    return here.D, here.Z


def _is_read(flags: Tensor) -> bool:
    """Return whether the host may look at a tensor's values: on a device that waits, and forbids a recording."""
    return flags.device.type == "cpu"


def _point(problem: Subproblem, start: Tensor, gamma: Tensor, D: Tensor) -> Point:
    Z = problem.Z + problem.space.image(D)
    smooth = problem.data_term(Z) + problem.total(D.square()) / (2 * problem.lam)
    return Point(D, Z, smooth + gamma * problem.total((start + D).abs()))


def _line_search(
    at: Callable[[Tensor], Point], here: Point, g: Tensor, t: Tensor, start: Tensor, gamma: Tensor, stuck: Tensor
) -> tuple[Point, Tensor]:
    """Halve t until the objective falls; return where each member is then, and which have no such t: there they stay for good."""
    waiting = ~stuck
    for _ in range(HALVINGS):
        if not waiting.any():
            break
        there = at(soft_threshold(start + here.D - t * g, t * gamma) - start)
        lower = waiting & (there.value < here.value)
        here, waiting = _moved(here, there, lower), waiting & ~lower
        t = torch.where(waiting, t / 2, t)
    return here, stuck | waiting


def line_search_unread(
    problem: Subproblem, here: Point, g: Tensor, t: Tensor, start: Tensor, gamma: Tensor, stuck: Tensor, numbers: int = 2**26
) -> tuple[Point, Tensor]:
    """Do what `_line_search` does without a look at the device: all trials, as many side by side as make `numbers` of Z(t)."""
    waiting = ~stuck
    together = max(1, min(HALVINGS, numbers // problem.Z.numel()))
    for first in range(0, HALVINGS, together):
        m = torch.arange(first, min(first + together, HALVINGS), device=t.device)
        there = _points(problem, here, g, t.unsqueeze(2) * (0.5**m).to(t.dtype).view(-1, 1), start, gamma)
        lower = waiting & (there.value < here.value)  # [E, 1, trials]
        least = torch.where(lower, m - first, len(m)).amin(-1, keepdim=True)
        passed = least < len(m)
        chosen = least.clamp(max=len(m) - 1)

        def pick(trials: Tensor, chosen: Tensor = chosen) -> Tensor:  # [E, n, trials, O] -> [E, n, O]
            index = chosen.unsqueeze(-1).expand(-1, trials.shape[1], 1, trials.shape[3])
            return trials.gather(2, index).squeeze(2)

        there = Point(pick(there.D), pick(there.Z), there.value.gather(2, chosen))
        here, waiting = _moved(here, there, passed), waiting & ~passed
    return here, stuck | waiting


def _points(problem: Subproblem, here: Point, g: Tensor, t: Tensor, start: Tensor, gamma: Tensor) -> Point:
    """Return the points of the steps t `[E, 1, trials, 1]` side by side: D and Z `[E, n, trials, O]`, values `[E, 1, trials]`.

    Their images are one product, with the neurons of all trials in a row.
    """
    place = start.unsqueeze(2)
    D = soft_threshold(place + here.D.unsqueeze(2) - t * g.unsqueeze(2), t * gamma.unsqueeze(2)) - place
    image = problem.space.image(D.flatten(2)).unflatten(2, D.shape[2:])
    Z = problem.Z.unsqueeze(2) + image
    data = (problem.activation.value(Z) - problem.T.unsqueeze(2)).square_().sum((1, 3))
    proximal, size = D.square().sum((1, 3)), (place + D).abs().sum((1, 3))
    value = data + proximal / (2 * problem.lam[:, 0]) + gamma[:, 0] * size
    return Point(D, Z, value.unsqueeze(1))


def _moved(here: Point, there: Point, which: Tensor) -> Point:
    return Point(*(torch.where(which, new, old) for new, old in zip(there, here, strict=True)))


def _curvature_step(problem: Subproblem, Z: Tensor, g: Tensor) -> Tensor:
    image = problem.space.image(g).expand_as(Z)
    seen = image * problem.activation.slope(Z, problem.activation.value(Z))
    gg = problem.total(g.square())
    bend = 2 * problem.total(seen.square()) + gg / problem.lam
    return torch.where(bend > 0, gg / bend, 0)
