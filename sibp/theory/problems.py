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

__all__ = ["Finding", "Problem", "clone", "cosine", "flat", "moved", "small"]

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Finding(NamedTuple):
    """One measured number, and what a statement asks of it: `value` `relation` `limit`.

    `source` says where the statement stands, or which method it is about; `quantity` what was measured.
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
    """A network with data x `[1, B, I]` and y `[1, B, K]`; smooth activation and squared loss unless said otherwise."""

    network: Network
    x: Tensor
    y: Tensor
    loss: str = "squared"

    def parameters(self, seeds: Iterable[int], std: float = 0.5) -> list[Affine]:
        """Return initial parameters, one member per seed."""
        return initialisation.initialise(self.network, list(seeds), std=std, dtype=torch.float64)

    def method(self, name: str, members: int, **options: Any) -> Method:
        """Return a method for so many equal members."""
        loss, member = losses.get(self.loss), registry.options(name)(**options)
        return registry.build(name, self.network, loss, [member] * members, torch.float64)

    def run(self, parameters: Sequence[Affine], rows: Tensor | None = None) -> tuple[Trace, Tensor]:
        """Return a forward pass and dJ/dF_N of all samples, or of each member's `rows` `[E, B]`."""
        x, y = self.take(rows)
        trace = propagation.forward(self.network, parameters, x)
        return trace, losses.get(self.loss).delta(trace.output, y)

    def gradient(self, parameters: Sequence[Affine], rows: Tensor | None = None) -> list[Affine]:
        """Return dJ/dtheta, summed over all samples or over each member's `rows` `[E, B]`."""
        return propagation.gradients(self.network, parameters, *self.run(parameters, rows))

    def value(self, parameters: Sequence[Affine]) -> Tensor:
        """Return J `[E]`."""
        return losses.get(self.loss).value(propagation.output(self.network, parameters, self.x), self.y) * self.x.shape[1]

    def take(self, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the samples of `rows` `[E, B]`, or all of them."""
        return (self.x, self.y) if rows is None else (self.x[0][rows], self.y[0][rows])


def small(
    widths: Sequence[int] = (3, 4, 2), samples: int = 6, activation: str = "tanh", bias: bool = False, seed: int = 0
) -> Problem:
    """Return a problem whose inputs and targets are normal numbers, so that its loss cannot become zero."""
    generator = seeding.generator("theory", seed)
    x, y = (torch.randn(1, samples, width, generator=generator, dtype=torch.float64) for width in (widths[0], widths[-1]))
    return Problem(papers.mlp(widths, activation, bias=bias), x, y)


def flat(parameters: Sequence[Affine]) -> Tensor:
    """Return all numbers of each member in one row, `[E, N]`."""
    return torch.cat([tensor.flatten(1) for tensor in propagation.tensors(parameters)], 1)


def clone(parameters: Sequence[Affine]) -> list[Affine]:
    """Return a copy."""
    return [Affine(W.clone(), None if b is None else b.clone()) for W, b in parameters]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of the angle between the rows of a and b, `[E]`."""
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def moved(problem: Problem, method: Method, parameters: Sequence[Affine]) -> Tensor:
    """Return theta+ - theta_k of one step, `[E, N]`, leaving the parameters as they are."""
    after = clone(parameters)
    method.step(after, method.start(after), problem.x, problem.y)
    return flat(after) - flat(parameters)
