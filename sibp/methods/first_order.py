"""What the optimizers that follow one direction per step share: a direction, and a rule that moves the parameters along it.

A direction stands where a gradient would: plain back propagation gives the gradient of the mean loss, ProxProp (P 5.3) something
better scaled. Rules follow torch.optim step by step; their numbers are columns `[E, 1, 1]`, one per member.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from sibp.methods.base import BackpropMethod, O, State
from sibp.nets import propagation
from sibp.nets.layers import Affine
from sibp.nets.propagation import Trace

__all__ = ["FirstOrder", "Rule"]


class Rule(ABC):
    """How parameters move along a direction.

    Args:
        column: the method's float options, `[E, 1, 1]` each.
        shared: its other options.
    """

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, object]) -> None:
        self.column = column
        self.shared = shared

    @abstractmethod
    def start(self, parameters: Sequence[Tensor]) -> State:
        """Return the state before the first step.

        Args:
            parameters: weights and biases `[E, ...]`.

        Returns:
            Lists of tensors by name: one tensor per parameter, or one that serves all (Adam's step count); or nothing.
        """

    @abstractmethod
    def move(self, parameters: Sequence[Tensor], directions: Sequence[Tensor], state: State) -> None:
        """Move the parameters against their directions, in place.

        Args:
            parameters: weights and biases `[E, ...]`.
            directions: one per parameter, of its shape; may be overwritten.
            state: from `start`; changed in place.
        """


class FirstOrder(BackpropMethod[O]):
    """A method that computes one direction per parameter and moves along it by a rule."""

    rule_class: ClassVar[type[Rule]]
    rule: Rule

    @override
    def prepare(self) -> None:
        self.rule = self.rule_class(self.column, self.shared)

    @override
    def start(self, parameters: Sequence[Affine]) -> State:
        return self.rule.start(propagation.tensors(parameters))

    def directions(self, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> list[Affine]:
        """Return what stands for the gradient: that of the mini-batch's mean loss, as torch has it.

        Args:
            parameters: one `Affine` per layer.
            trace: a forward pass of them.
            delta: dL/dF_N of the mini-batch's **sum**, `[E, B, K]`.

        Returns:
            One `Affine` per layer, each shaped as its parameter.
        """
        return propagation.gradients(self.network, parameters, trace, delta / delta.shape[1])

    @override
    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        directions = self.directions(parameters, trace, delta)
        self.rule.move(propagation.tensors(parameters), propagation.tensors(directions), state)
