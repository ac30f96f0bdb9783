"""What the papers state about SIBP, as numbers: I and A Proposition 1, J Theorems 4.1 and 4.2, and the limit of small steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sibp.core import seeding
from sibp.nets import propagation
from sibp.nets.layers import Affine
from sibp.theory.problems import Finding, Problem, flat, moved, small, with_bias

__all__ = ["angle_to_gradient", "convergence", "findings", "fixed_points", "largest_rise", "mini_batches"]


def largest_rise(values: Tensor) -> float:
    """Return the largest increase from one row of values to the next.

    Args:
        values: `[steps + 1, E]`.

    Returns:
        0 or less where no member's value rises.
    """
    return values.diff(dim=0).max().item()


def fixed_points(seeds: Sequence[int] = range(5), eta: float = 0.05, lam: float = 0.5) -> tuple[float, float]:
    """Measure I and A, Proposition 1: fixed points of SIBP are stationary points of J.

    The move is compared with 2 lam eta ||dJ||, its size for small steps, on the way from a stationary point theta* to points at
    distance 1e-6..1: if their ratio stays away from zero, a move that vanishes makes the gradient vanish.

    Args:
        seeds: one per member.
        eta: step on the activations, > 0.
        lam: proximal weight, > 0.

    Returns:
        The largest move at theta*, as a share of the move at distance 1; and the least ratio on the way.
    """
    problem = small(samples=20, bias=True)
    parameters = problem.parameters(seeds)
    problem = _made_stationary(problem, parameters)
    method = problem.method("sibp", len(seeds), eta=eta, lam=lam)
    ratios = []
    for distance in (1e-6, 1e-4, 1e-2, 1.0):
        away = problem.parameters([seed + 1000 for seed in seeds])
        pairs = zip(with_bias(parameters), with_bias(away), strict=True)
        point = [Affine(W + distance * V, b + distance * c) for (W, b), (V, c) in pairs]
        move, gradient = moved(problem, method, point).norm(dim=1), flat(problem.gradient(point)).norm(dim=1)
        ratios.append(move / (2 * lam * eta * gradient))
    at_rest = moved(problem, method, parameters).norm(dim=1) / move
    return at_rest.max().item(), torch.stack(ratios).min().item()


def _made_stationary(problem: Problem, parameters: Sequence[Affine]) -> Problem:
    """Choose targets `[E, B, K]` that make the parameters stationary, at a loss that is not zero.

    The gradient is linear in the residual F_N - Y, so any residual in the kernel of the transposed Jacobian will do.

    Returns:
        The problem with these targets.
    """
    tensors = propagation.tensors(parameters)
    F = propagation.output(problem.network, parameters, problem.x)
    jacobians = torch.autograd.functional.jacobian(
        lambda *given: propagation.output(problem.network, _paired(given), problem.x), tuple(tensors)
    )
    targets = []
    for e in range(len(F)):
        A = torch.cat([part[e, :, :, e].flatten(2) for part in jacobians], -1).flatten(0, 1)  # [B K, N]
        noise = problem.y.flatten()
        targets.append(F[e] + (noise - A @ (torch.linalg.pinv(A) @ noise)).reshape(F[e].shape))
    return replace(problem, y=torch.stack(targets))


def _paired(tensors: Sequence[Tensor]) -> list[Affine]:
    return [Affine(W, b) for W, b in zip(tensors[::2], tensors[1::2], strict=True)]


def convergence(
    method: str = "sibp", seeds: Sequence[int] = range(5), steps: int = 600, activation: str = "tanh", **options: Any
) -> tuple[Tensor, Tensor]:
    """Measure J Theorem 4.1: for small eta the loss of full-batch SIBP never rises and the gradient goes to zero.

    Args:
        method: which takes SIBP's place.
        seeds: one per member.
        steps: on all samples.
        activation: of the hidden layers.
        options: of the method.

    Returns:
        J before every step and after the last, `[steps + 1, E]`; and ||dJ|| there, as a share of the first.
    """
    problem = small(activation=activation)
    parameters, engine = problem.parameters(seeds), problem.method(method, len(seeds), **options)
    state, values, norms = engine.start(parameters), [], []
    for step in range(steps + 1):
        values.append(problem.value(parameters))
        norms.append(flat(problem.gradient(parameters)).norm(dim=1))
        if step < steps:
            engine.step(parameters, state, problem.x, problem.y)
    return torch.stack(values), torch.stack(norms) / norms[0]


def mini_batches(
    seeds: Sequence[int] = range(20), steps: int = 2000, eta: float = 0.1, lam: float = 0.5, batch: int = 2
) -> dict[str, float]:
    """Measure J Theorem 4.2: mini-batch SIBP with eta_k = eta (1 + k/10)^-0.75, whose sum diverges and whose squares' sum does not.

    The statement: E ||W_{k+1} - W_k||^2 -> 0 and liminf E (||W_{k+1} - W_k|| / eta_k)^2 <= lambda^2 V^2, with J the mean over
    samples and V^2 a bound on E ||dJ - dJ_batch||^2; the proof's last line has = in place of <=. Its lambda is our 2 lam B: the
    proof drops the factor 2 of the squared norm's derivative, and our delta sums over the batch.

    Args:
        seeds: one per member.
        steps: how many.
        eta: of the first step, > 0.
        lam: proximal weight, > 0.
        batch: B.

    Returns:
        ``last_move``: the mean ||W_{k+1} - W_k||^2 over the last tenth, as a share of the first step's; ``ratio``: the least
        E (||W_{k+1} - W_k|| / eta_k)^2 of the second half, over lambda^2 V^2.
    """
    problem = small(samples=12)
    parameters, engine = problem.parameters(seeds), problem.method("sibp", len(seeds), eta=eta, lam=lam)
    samples, generator = problem.x.shape[1], seeding.generator("theory", "batches")
    squares, variances, etas = [], [], []
    for k in range(steps):
        etas.append(eta * (1 + k / 10) ** -0.75)
        engine.column["eta"].fill_(etas[-1])
        rows = torch.stack([torch.randperm(samples, generator=generator)[:batch] for _ in seeds])
        before = flat(parameters)
        whole, part = (flat(problem.gradient(parameters, r)) / n for r, n in ((None, samples), (rows, batch)))
        variances.append((whole - part).square().sum(1).mean().item())
        engine.step(parameters, {}, *problem.take(rows))
        squares.append((flat(parameters) - before).square().sum(1).mean().item())
    scaled = [square / step**2 for square, step in zip(squares, etas, strict=True)]
    tenth = squares[-steps // 10 :]
    bound = (2 * lam * batch) ** 2 * max(variances)
    return {"last_move": sum(tenth) / len(tenth) / squares[0], "ratio": min(scaled[steps // 2 :]) / bound}


def angle_to_gradient(lams: Sequence[float], seeds: Sequence[int] = range(5), eta: float = 0.1) -> list[float]:
    """Return the largest angle between SIBP's step and -dJ, which goes to 0 with lam.

    Args:
        lams: proximal weights, > 0.
        seeds: one per member.
        eta: step on the activations, > 0.

    Returns:
        Angles in radians, one per lam.
    """
    problem = small((4, 6, 5, 3), samples=12, bias=True)
    parameters = problem.parameters(seeds)
    down = -flat(problem.gradient(parameters))
    angles = []
    for lam in lams:
        step = moved(problem, problem.method("sibp", len(seeds), eta=eta, lam=lam), parameters)
        # from the difference of unit vectors: acos loses half of the digits near 1
        apart = (step / step.norm(dim=1, keepdim=True) - down / down.norm(dim=1, keepdim=True)).norm(dim=1)
        angles.append((2 * (apart / 2).asin()).max().item())
    return angles


def findings() -> list[Finding]:
    """Return what was measured on I/A Proposition 1 and J Theorems 4.1 and 4.2; about ten seconds."""
    stationary, converges = "fixed points of SIBP are stationary", "for small eta the loss never rises and the gradient goes to 0"
    at_rest, ratio = fixed_points()
    values, norms = convergence("sibp", eta=0.05, lam=0.5, steps=1500)
    wild, _ = convergence("sibp", eta=1.0, lam=0.5, steps=50)
    left = norms[-1].median().item()
    moves = mini_batches()
    last, ratio_42 = moves["last_move"], moves["ratio"]
    (angle,) = angle_to_gradient([1e-6])
    first, fourth, second = "I, A Prop. 1", "J Thm. 4.1", "J Thm. 4.2"
    return [
        Finding(first, stationary, "largest move at a stationary point, as a share of the first move", at_rest, "<", 1e-8),
        Finding(first, stationary, "least ||move|| / (2 lam eta ||dJ||) around it", ratio, ">", 0.01),
        Finding(fourth, converges, "largest rise of J at eta 0.05", largest_rise(values), "<=", 0.0),
        Finding(fourth, converges, "median ||dJ|| after 1500 steps, as a share of the first", left, "<", 1e-3),
        Finding(fourth, "and not for every eta", "largest rise of J at eta 1", largest_rise(wild), ">", 0.0),
        Finding(second, "the moves go to 0", "mean squared move at the end, as a share of the first", last, "<", 1e-2),
        Finding(second, "liminf E (||move||/eta)^2 <= lambda^2 V^2", "left over right", ratio_42, "<=", 1.0),
        Finding(second, "with = in the proof's last line", "distance of left over right from 1", abs(ratio_42 - 1), "<", 0.05),
        Finding("J 4.1", "as lam goes to 0 SIBP becomes gradient descent", "angle at lam 1e-6, radians", angle, "<", 1e-3),
    ]
