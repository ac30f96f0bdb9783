"""The floor of a step: its multiply-adds over those of SGD's step, which is what it would cost if only matrix products took time.

With R rows, I inputs and O outputs in a layer, SGD needs R I O for the forward pass, R I O for the gradient, and R I O for the adjoint,
which the first layer does without. A method that solves n iterations in batch space needs the same three, half of K = X X^T and n products
with it,
    R (R + 1)/2 I + n R^2 O ,
and one that solves them in weight space needs 2 n R I O in place of the gradient (see `sibp.solvers.subproblem`).
A time below the floor says that torch's products ran below the rate of ours.
"""

from dataclasses import dataclass

import torch

from sibp.nets.network import Layer, Network
from sibp.solvers.subproblem import BatchSpace, choose_space

__all__ = ["SGD_SOLVES", "Solves"]


@dataclass(frozen=True)
class Solves:
    """The subproblems of a method's step.

    Attributes:
        iterations: of conjugate gradients on each layer; 0 takes the gradient, as SGD does.
        space: ``auto``, ``batch`` or ``weight``.
        linear: whether the bias is one more input that is always 1, and the conjugate gradients are linear.
        last: whether the last layer is solved, too; else it takes the gradient.
    """

    iterations: int
    space: str = "auto"
    linear: bool = False
    last: bool = True

    def floor(self, network: Network, batch: int) -> float:
        """Return the multiply-adds of a step on a mini-batch over those of SGD's step.

        Args:
            network: whose layers are solved.
            batch: samples in a mini-batch.

        Returns:
            A ratio.
        """
        return self.multiply_adds(network, batch) / SGD_SOLVES.multiply_adds(network, batch)

    def multiply_adds(self, network: Network, batch: int, *, eager: bool = False) -> int:
        """Return the multiply-adds of all matrix products in a step.

        Args:
            network: whose layers are solved.
            batch: samples in a mini-batch.
            eager: count what the eager twins compute beyond what is needed: all of K, and the images after the last linear iteration.

        Returns:
            Multiply-adds.
        """
        total = 0
        for i, (layer, rows) in enumerate(zip(network.layers, network.rows, strict=True)):
            product = rows * batch * layer.fan_in * layer.fan_out
            solved = self.iterations > 0 and (self.last or i + 1 < len(network.layers))
            total += product * (1 + (i > 0)) + (self._solve(layer, rows * batch, eager=eager) if solved else product)
        return total

    def _solve(self, layer: Layer, R: int, *, eager: bool) -> int:
        I, O = layer.fan_in, layer.fan_out
        X = torch.empty(1, R, I, device="meta")
        products = self.iterations + (eager and self.linear)
        if isinstance(choose_space(self.space, X, O, self.iterations, joint=self.linear), BatchSpace):
            K = R * R * I if eager else R * (R + 1) // 2 * I
            return K + products * R * R * O + R * I * O
        return 2 * products * R * (I + (self.linear and layer.bias)) * O


SGD_SOLVES = Solves(0)
