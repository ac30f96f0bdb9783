"""What P states about ProxProp, as numbers: its Propositions 1, 2, 4 and 5."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sibp.methods.proxprop import ProxProp
from sibp.nets import activations, layers, losses, propagation
from sibp.nets.layers import Affine
from sibp.nets.propagation import LayerTrace, Trace
from sibp.theory.problems import Finding, Problem, cosine, flat, small, with_bias

__all__ = ["conjugate_gradient_descends", "descent_angle", "findings", "metric", "penalty_descent"]


def penalty_descent(tau: float = 0.3, seeds: Sequence[int] = range(5)) -> float:
    """Measure P Proposition 1: gradient steps on the penalty E (P eq. 3), layer by layer, are one gradient step on J.

    E(theta, a, z) = L(phi(theta_N, a_{N-1})) + sum_l gamma/2 ||sigma(z_l) - a_l||^2 + rho/2 ||phi(theta_l, a_{l-1}) - z_l||^2 with
    gamma = rho = 1/tau and step tau, by autograd on E; theta's step sees the old a_{l-1}, as P eq. 25 has it (its Algorithm 1
    does not say).

    Args:
        tau: step size and inverse weight of the penalties, > 0.
        seeds: of the networks.

    Returns:
        The largest relative distance between the two, over seeds and layers.
    """
    problem, worst = small((4, 6, 5, 3), samples=12, bias=True), 0.0
    for seed in seeds:
        parameters = problem.parameters([seed])
        trace = propagation.forward(problem.network, parameters, problem.x)
        new = _sweep_of_penalty(problem, parameters, trace, tau)
        for old, after, gradient in zip(*map(propagation.tensors, (parameters, new, problem.gradient(parameters))), strict=True):
            worst = max(worst, _relative(after - old, -tau * gradient))
    return worst


def _sweep_of_penalty(problem: Problem, parameters: list[Affine], trace: Trace, tau: float) -> list[Affine]:
    """Run P Algorithm 1; layer l maps a[l] to z[l], from 0.

    Returns:
        The new theta.
    """
    sigma = activations.get(problem.network.layers[0].activation).value
    last = len(parameters) - 1
    a = [layers.matrix(seen.X).clone().requires_grad_() for seen in trace.layers]
    z = [seen.Z.clone().requires_grad_() for seen in trace.layers]
    theta = [(W.clone().requires_grad_(), b.clone().requires_grad_()) for W, b in with_bias(parameters)]

    def step(energy: Tensor, variable: Tensor) -> Tensor:
        return (variable - tau * torch.autograd.grad(energy, variable, retain_graph=True)[0]).detach()

    output = layers.affine(a[last], *theta[last])
    energy = losses.get(problem.loss).value(output, problem.y).sum() * problem.x.shape[1]
    new, a_half = [Affine(*(step(energy, tensor) for tensor in theta[last]))], step(energy, a[last])
    for l in reversed(range(last)):
        z_half = step((sigma(z[l]) - a_half).square().sum() / (2 * tau), z[l])
        energy = (layers.affine(a[l], *theta[l]) - z_half).square().sum() / (2 * tau)
        new.append(Affine(*(step(energy, tensor) for tensor in theta[l])))
        a_half = step(energy, a[l])
    return new[::-1]


def _gram(seen: LayerTrace) -> Tensor:
    """Return X^T X of a layer's rows, with the bias as one more input that is 1."""
    X = layers.matrix(seen.X)
    X = torch.cat([X, torch.ones_like(X[..., :1])], -1)
    return X.mT @ X


def _proxprop(problem: Problem, members: int, **options: Any) -> ProxProp:
    engine = problem.method("proxprop", members, reduction="sum", **options)
    assert isinstance(engine, ProxProp)
    return engine


def metric(tau_prox: float = 0.7, seeds: Sequence[int] = range(5)) -> float:
    """Measure P Proposition 2: ProxProp's direction is M^-1 dJ with M = I/tau_prox + X^T X (bias as an input that is 1).

    Args:
        tau_prox: weight of the proximal term 1/(2 tau_prox), > 0.
        seeds: one per member.

    Returns:
        The largest relative distance between the engine's exact direction and a dense solve with M, over hidden layers.
    """
    problem, worst = small((4, 6, 5, 3), samples=12, bias=True), 0.0
    parameters = problem.parameters(seeds)
    engine = _proxprop(problem, len(seeds), tau_prox=tau_prox, solver="exact")
    trace, delta = problem.run(parameters)
    directions = with_bias(engine.directions(parameters, trace, delta))
    gradients = with_bias(problem.gradient(parameters))
    for seen, (W, b), (G, g) in zip(trace.layers[:-1], directions[:-1], gradients[:-1], strict=True):
        M = _gram(seen)
        M = M + torch.eye(M.shape[-1], dtype=M.dtype) / tau_prox
        worst = max(worst, _relative(torch.cat([W.mT, b], 1), torch.linalg.solve(M, torch.cat([G.mT, g], 1))))
    return worst


def descent_angle(steps: int = 200, tau_prox: float = 1.0, seeds: Sequence[int] = range(5)) -> tuple[float, float]:
    """Measure P Proposition 4: the direction is one of descent, its angle to -dJ bounded away from a right angle.

    The proof's bound on the cosine is lambda_min/lambda_max of M^-1 (P eq. 33), M = I at the last layer.

    Args:
        steps: of full-batch ProxProp.
        tau_prox: weight of the proximal term 1/(2 tau_prox), > 0.
        seeds: one per member.

    Returns:
        The least cosine over a run of full-batch ProxProp, and the least distance above the bound.
    """
    problem = small((4, 6, 5, 3), samples=12, bias=True)
    parameters = problem.parameters(seeds)
    plain = {"eta": 0.01, "momentum": 0.0, "nesterov": False}
    engine = _proxprop(problem, len(seeds), tau_prox=tau_prox, solver="exact", **plain)
    cosines, bounds = [], []
    for _ in range(steps):
        trace, delta = problem.run(parameters)
        directions = engine.directions(parameters, trace, delta)
        cosines.append(cosine(flat(directions), flat(problem.gradient(parameters))))
        hidden = [torch.linalg.eigvalsh(_gram(seen)).clamp(min=0).expand(len(seeds), -1) for seen in trace.layers[:-1]]
        spectrum = torch.cat([*(1 / (1 / tau_prox + values) for values in hidden), torch.ones(len(seeds), 1).double()], 1)
        bounds.append(spectrum.amin(1) / spectrum.amax(1))
        engine.step(parameters, {}, problem.x, problem.y)
    measured, bound = torch.stack(cosines), torch.stack(bounds)
    return measured.min().item(), (measured - bound).min().item()


def conjugate_gradient_descends(variant: str = "paper", seeds: Sequence[int] = range(5), most: int = 12) -> list[float]:
    """Measure P Proposition 5: after any number of conjugate gradient steps the direction is one of descent.

    Args:
        variant: of the conjugate gradient, ``paper`` or ``released``.
        seeds: one per member.
        most: steps at most, >= 1.

    Returns:
        For 1, 2, ..., `most` steps the least cosine between a layer's direction and its gradient, over seeds and hidden layers.
    """
    problem = small((4, 6, 5, 3), samples=12, bias=True)
    parameters, result = problem.parameters(seeds), []
    (trace, delta), gradients = problem.run(parameters), problem.gradient(parameters)
    for steps in range(1, most + 1):
        engine = _proxprop(problem, len(seeds), cg_steps=steps, variant=variant)
        directions = engine.directions(parameters, trace, delta)
        pairs = zip(directions[:-1], gradients[:-1], strict=True)
        result.append(min(cosine(flat([d]), flat([g])).min().item() for d, g in pairs))
    return result


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def findings() -> list[Finding]:
    """Return what was measured on P Propositions 1, 2, 4 and 5; less than a second."""
    least, above = descent_angle()
    descends = "the direction descends, away from a right angle"
    after = {variant: min(conjugate_gradient_descends(variant)) for variant in ("paper", "released")}
    return [
        Finding("P Prop. 1", "BackProp is gradient descent on a penalty", "relative distance", penalty_descent(), "<", 1e-10),
        Finding("P Prop. 2", "the direction is M^-1 dJ", "relative distance", metric(), "<", 1e-10),
        Finding("P Prop. 4", descends, "least cosine over a run", least, ">", 0.0),
        Finding("P Prop. 4", descends, "least distance above the proof's bound", above, ">=", 0.0),
        *(
            Finding("P Prop. 5", f"also after 1 to 12 CG steps, variant {name}", "least cosine", value, ">", 0.0)
            for name, value in after.items()
        ),
    ]
