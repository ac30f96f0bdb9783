"""Small smooth problems in float64 on which the papers' statements are measured, and what a measurement says."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sibp.core import seeding
from sibp.methods import Method, registry
from sibp.nets import initialisation, losses, papers, propagation
from sibp.nets.layers import Affine
from sibp.nets.network import Network
from sibp.nets.propagation import Trace

__all__ = ["Finding", "Problem", "clone", "cosine", "flat", "moved", "small", "with_bias"]

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Finding(NamedTuple):
    """One measured number, and what a statement says of it: `value` `relation` `limit`.

    Attributes:
        source: where the statement stands, or which method it is about.
        statement: in words.
        quantity: what was measured.
        value: the number.
        relation: a key of `OPERATORS`.
        limit: the other side of it.
    """

    source: str
    statement: str
    quantity: str
    value: float
    relation: str
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the number is as the statement asks; never for NaN."""
        return OPERATORS[self.relation](self.value, self.limit)


@dataclass(frozen=True)
class Problem:
    """A network with data; smooth activation and squared loss unless said otherwise. J sums over the batch.

    Attributes:
        network: its structure.
        x: inputs `[1, B, I]`.
        y: targets `[1, B, K]`.
        loss: its name.
    """

    network: Network
    x: Tensor
    y: Tensor
    loss: str = "squared"

    def parameters(self, seeds: Iterable[int]) -> list[Affine]:
        """Draw initial parameters.

        Args:
            seeds: one per member.

        Returns:
            One `Affine` per layer, float64.
        """
        return initialisation.initialise(self.network, list(seeds), std=0.5, dtype=torch.float64)

    def method(self, name: str, members: int, **options: Any) -> Method:
        """Return a method for equal members.

        Args:
            name: of the method.
            members: how many.
            options: of each.

        Returns:
            The method, in float64.
        """
        loss, member = losses.get(self.loss), registry.options(name)(**options)
        return registry.build(name, self.network, loss, [member] * members, dtype=torch.float64)

    def run(self, parameters: Sequence[Affine], rows: Tensor | None = None) -> tuple[Trace, Tensor]:
        """Run the network forward.

        Args:
            parameters: one `Affine` per layer.
            rows: sample numbers `[E, B]` of each member; None for all samples.

        Returns:
            The trace, and dJ/dF_N `[E, B, K]`.
        """
        x, y = self.take(rows)
        trace = propagation.forward(self.network, parameters, x)
        return trace, losses.get(self.loss).delta(trace.output, y)

    def gradient(self, parameters: Sequence[Affine], rows: Tensor | None = None) -> list[Affine]:
        """Return dJ/dtheta.

        Args:
            parameters: one `Affine` per layer.
            rows: sample numbers `[E, B]` of each member; None for all samples.

        Returns:
            One `Affine` per layer, summed over the samples.
        """
        return propagation.gradients(self.network, parameters, *self.run(parameters, rows))

    def value(self, parameters: Sequence[Affine]) -> Tensor:
        """Return J.

        Args:
            parameters: one `Affine` per layer.

        Returns:
            `[E]`.
        """
        return losses.get(self.loss).value(propagation.output(self.network, parameters, self.x), self.y) * self.x.shape[1]

    def take(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return samples.

        Args:
            rows: sample numbers `[E, B]` of each member; None for all samples.

        Returns:
            x and y, `[E or 1, B, ...]`.
        """
        return (self.x, self.y) if rows is None else (self.x[0][rows], self.y[0][rows])


def small(widths: Sequence[int] = (3, 4, 2), samples: int = 6, activation: str = "tanh", *, bias: bool = False) -> Problem:
    """Return a problem whose inputs and targets are normal numbers, so that its loss cannot become zero.

    Args:
        widths: of input, hidden layers and output.
        samples: B.
        activation: of the hidden layers.
        bias: whether layers have one.

    Returns:
        A multi-layer perceptron with squared loss, in float64.
    """
    generator = seeding.generator("theory", 0)
    x, y = (torch.randn(1, samples, width, generator=generator, dtype=torch.float64) for width in (widths[0], widths[-1]))
    return Problem(papers.mlp(widths, activation, bias=bias), x, y)


def flat(parameters: Sequence[Affine]) -> Tensor:
    """Return all numbers of each member in one row.

    Args:
        parameters: one `Affine` per layer.

    Returns:
        `[E, N]`.
    """
    return torch.cat([tensor.flatten(1) for tensor in propagation.tensors(parameters)], 1)


def clone(parameters: Sequence[Affine]) -> list[Affine]:
    """Return a copy.

    Args:
        parameters: one `Affine` per layer.

    Returns:
        One `Affine` per layer that shares nothing.
    """
    return [Affine(W.clone(), None if b is None else b.clone()) for W, b in parameters]


def with_bias(parameters: Sequence[Affine]) -> list[tuple[Tensor, Tensor]]:
    """Return weights and biases of layers that all have both.

    Args:
        parameters: one `Affine` per layer.

    Returns:
        One pair per layer, the tensors themselves; layers without a bias are left out.
    """
    return [(W, b) for W, b in parameters if b is not None]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of the angle between two rows.

    Args:
        a: `[E, N]`.
        b: `[E, N]`.

    Returns:
        `[E]` in [-1, 1].
    """
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def moved(problem: Problem, method: Method, parameters: Sequence[Affine]) -> Tensor:
    """Return theta+ - theta_k of one step, leaving the parameters as they are.

    Args:
        problem: with the data of the step.
        method: makes it.
        parameters: one `Affine` per layer.

    Returns:
        `[E, N]`.
    """
    after = clone(parameters)
    method.step(after, method.start(after), problem.x, problem.y)
    return flat(after) - flat(parameters)
