"""RMSprop (Tieleman & Hinton 2012), a baseline of A's deep CIFAR-10 net."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import Options, Positive, Share
from sibp.methods.base import State
from sibp.methods.first_order import FirstOrder, Rule

__all__ = ["RMSprop", "RMSpropOptions", "RMSpropRule"]


class RMSpropOptions(Options):
    """Hyper-parameters of RMSprop, with torch's defaults but for eta (torch: 0.01).

    Attributes:
        eta: step size, > 0.
        alpha: memory of the second moment, in [0, 1).
        eps: added to its root, > 0.
        momentum: of the scaled gradient, in [0, 1); 0 keeps no buffer.
    """

    eta: Positive = 1e-3
    alpha: Share = 0.99
    eps: Positive = 1e-8
    momentum: Share = 0.0


class RMSpropRule(Rule):
    """v <- alpha v + (1 - alpha) g^2,  s = g / (sqrt(v) + eps),  m <- mu m + s,  W <- W - eta m.  As torch.optim.RMSprop."""

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, object]) -> None:
        super().__init__(column, shared)
        self.buffered = bool((column["momentum"] > 0).any())

    @override
    def start(self, parameters: Sequence[Tensor]) -> State:
        state = {"second": [torch.zeros_like(W) for W in parameters]}
        if self.buffered:
            state["momentum"] = [torch.zeros_like(W) for W in parameters]
        return state

    @override
    def move(self, parameters: Sequence[Tensor], directions: Sequence[Tensor], state: State) -> None:
        alpha, eps, eta = self.column["alpha"], self.column["eps"], self.column["eta"]
        for k, (W, g, v) in enumerate(zip(parameters, directions, state["second"], strict=True)):
            v.lerp_(g.square(), 1 - alpha)
            scaled = g.div_(v.sqrt().add_(eps))
            if self.buffered:
                scaled = state["momentum"][k].mul_(self.column["momentum"]).add_(scaled)
            W.sub_(eta * scaled)


class RMSprop(FirstOrder[RMSpropOptions]):
    """RMSprop on the gradient of the mini-batch's mean loss. Cost: as SGD, plus four passes over the parameters."""

    name = "rmsprop"
    options = RMSpropOptions
    buffers = 2
    rule_class = RMSpropRule

    @classmethod
    @override
    def group_key(cls, options: RMSpropOptions) -> tuple[tuple[str, object], ...]:
        return (*super().group_key(options), ("momentum > 0", options.momentum > 0))
