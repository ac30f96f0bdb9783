"""J Table 1 by measurement: does a method have a property? Each cell is one number from one small problem, and a limit.

No cell is written by hand. Every test looks only at what a step does to the parameters, so it is the same for all four methods.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sibp.nets.layers import Affine
from sibp.theory.problems import Finding, Problem, flat, moved, small, with_bias
from sibp.theory.statements import convergence, largest_rise

__all__ = ["METHODS", "PROPERTIES", "matrix"]

# name in the table -> method, its options, the option that is its step size on the weights and which way it grows
METHODS: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "BP": ("sgd", {"eta": 0.1}, "eta", 1),
    "ProxBP": ("proxbp", {"eta": 0.1, "lam": 0.5}, "lam", 1),
    "BCD": ("bcd", {}, "alpha", -1),
    "SIBP": ("sibp", {"eta": 0.1, "lam": 0.5, "variant": "armijo"}, "lam", 1),
}


def step_of(name: str, problem: Problem, parameters: Sequence[Affine], **changed: Any) -> Tensor:
    """Return theta+ - theta_k of one step of a method of the table.

    Args:
        name: a key of `METHODS`.
        problem: with the data of the step.
        parameters: one `Affine` per layer, left as they are.
        changed: options that differ from the table's.

    Returns:
        `[E, N]`.
    """
    method, options, *_ = METHODS[name]
    return moved(problem, problem.method(method, parameters[0].W.shape[0], **(options | changed)), parameters)


def per_layer(parameters: Sequence[Affine], numbers: Tensor) -> list[Tensor]:
    """Cut rows as `flat` makes them back into layers.

    Args:
        parameters: one `Affine` per layer, for the sizes.
        numbers: `[E, N]`.

    Returns:
        One `[E, N_i]` per layer.
    """
    return list(numbers.split([flat([layer]).shape[1] for layer in parameters], 1))


def chain_rule(name: str, seeds: Sequence[int]) -> float:
    """Measure the move below a hidden layer in which no neuron fires: sigma' = 0 there stops what the chain rule sends.

    Args:
        name: a key of `METHODS`.
        seeds: one per member.

    Returns:
        The largest move; 0 for a method that uses the chain rule.
    """
    problem = small((4, 6, 5, 6, 3), samples=12, activation="relu", bias=True)
    parameters = problem.parameters(seeds)
    W, b = with_bias(parameters)[1]
    W.zero_()
    b.fill_(-1e-3)
    return per_layer(parameters, step_of(name, problem, parameters))[0].abs().max().item()


def implicit(name: str, seeds: Sequence[int]) -> float:
    """Measure by how much the move grows when the step size on the weights grows 1e6 times: an explicit step grows as much.

    Args:
        name: a key of `METHODS`.
        seeds: one per member.

    Returns:
        The largest growth.
    """
    problem = small((4, 6, 5, 3), samples=12, activation="relu", bias=True)
    parameters = problem.parameters(seeds)
    _, options, key, direction = METHODS[name]
    base = options.get(key, 1.0)
    sizes = [step_of(name, problem, parameters, **{key: base * s**direction}).norm(dim=1) for s in (1.0, 1e6)]
    return (sizes[1] / sizes[0]).max().item()


def activation_inside(name: str, seeds: Sequence[int]) -> float:
    """Measure how far a step under ReLU is from the same under the identity, where all pre-activations are just above zero.

    There both have the same values and slopes, so only a subproblem that contains the activation can tell them apart.

    Args:
        name: a key of `METHODS`.
        seeds: one per member.

    Returns:
        The largest distance, as a share of the step.
    """
    steps = []
    for activation in ("relu", "identity"):
        problem = small((4, 6, 5, 3), samples=12, activation=activation, bias=True)
        *hidden, last = with_bias(problem.parameters(seeds))
        parameters = [*(Affine(1e-4 * W, 1e-3 + 0 * b) for W, b in hidden), Affine(*last)]
        steps.append(step_of(name, problem, parameters))
    return ((steps[0] - steps[1]).norm(dim=1) / steps[0].norm(dim=1)).max().item()


def descent(name: str, seeds: Sequence[int]) -> float:
    """Measure the largest rise of the network's loss over 100 full-batch steps, eta being small.

    Args:
        name: a key of `METHODS`.
        seeds: one per member.

    Returns:
        The rise; 0 or less where the loss never rises.
    """
    method, options, *_ = METHODS[name]
    activation, small_step = ("tanh", {"eta": 0.02}) if "eta" in options else ("relu", {})
    values, _ = convergence(method, seeds, steps=100, activation=activation, **options | small_step)
    return largest_rise(values)


def gauss_seidel(name: str, seeds: Sequence[int]) -> float:
    """Measure the move of the hidden layers when the last layer is zero: only its **new** weights can send an error down.

    Args:
        name: a key of `METHODS`.
        seeds: one per member.

    Returns:
        The least move.
    """
    problem = small((4, 6, 5, 3), samples=12, activation="relu", bias=True)
    parameters = problem.parameters(seeds)
    for tensor in with_bias(parameters)[-1]:
        tensor.zero_()
    hidden = torch.cat(per_layer(parameters, step_of(name, problem, parameters))[:-1], 1)
    return hidden.norm(dim=1).min().item()


PROPERTIES: dict[str, tuple[Callable[[str, Sequence[int]], float], str, str, float]] = {
    "Propagate by chain rule": (chain_rule, "largest move below a dead layer", "<=", 0.0),
    "Implicit subproblem": (implicit, "growth of the move when the step size grows 1e6 times", "<", 1e3),
    "Implicit subproblem (including activation)": (activation_inside, "share of the move that is due to the kink ahead", ">", 1e-3),
    "Descent of neural network loss": (descent, "largest rise of the loss in 100 steps", "<=", 0.0),
    "Gauss-Seidel type update": (gauss_seidel, "least move below a last layer of zeros", ">", 1e-12),
}


def matrix(seeds: Sequence[int] = range(5)) -> list[Finding]:
    """Measure all cells of J Table 1; about two seconds.

    Args:
        seeds: one per member.

    Returns:
        Findings row by row, the method as `source` and the property as `statement`.
    """
    return [
        Finding(name, title, quantity, measure(name, seeds), relation, limit)
        for title, (measure, quantity, relation, limit) in PROPERTIES.items()
        for name in METHODS
    ]
