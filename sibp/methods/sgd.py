"""Stochastic gradient descent: plain back propagation (J 3.1), with heavy-ball or Nesterov momentum."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import NonNegative, OptionError, Options, Positive, Share
from sibp.methods.base import State
from sibp.methods.first_order import FirstOrder, Rule
from sibp.nets import layers, propagation
from sibp.nets.layers import Affine
from sibp.nets.propagation import Trace

__all__ = ["SGD", "Momentum", "SGDOptions"]


class SGDOptions(Options):
    """Hyper-parameters of SGD.

    Attributes:
        eta: learning rate on the gradient of the mini-batch's **mean** loss, as torch has it, > 0.
        momentum: mu in [0, 1); 0 keeps no buffer.
        nesterov: step along g + mu m instead of m; needs a momentum.
        l1: weight of ||W||_1 + ||b||_1 in the loss, >= 0, taken by its subgradient sign(W).
    """

    eta: Positive = 0.1
    momentum: Share = 0.0
    nesterov: bool = False
    l1: NonNegative = 0.0

    @override
    def check(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise OptionError("nesterov: got true with momentum 0, need a momentum > 0")


class Momentum(Rule):
    """m <- mu m + g;  W <- W - eta m, or W - eta (g + mu m) with Nesterov. As torch.optim.SGD; one buffer, none if mu is 0."""

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, object]) -> None:
        super().__init__(column, shared)
        self.buffered = bool((column["momentum"] > 0).any())

    @override
    def start(self, parameters: Sequence[Tensor]) -> State:
        return {"momentum": [torch.zeros_like(W) for W in parameters]} if self.buffered else {}

    @override
    def move(self, parameters: Sequence[Tensor], directions: Sequence[Tensor], state: State) -> None:
        eta, mu = self.column["eta"], self.column["momentum"]
        for k, (W, g) in enumerate(zip(parameters, directions, strict=True)):
            if self.buffered:
                m = state["momentum"][k].mul_(mu).add_(g)
                g = g.add_(mu * m) if self.shared["nesterov"] else m
            W.sub_(eta * g)


class SGD(FirstOrder[SGDOptions]):
    """W <- W - eta dL/dW, b <- b - eta dL/db with L the mean loss of the mini-batch (J 3.1, 3.2), or with momentum.

    Cost: one forward product and two backward ones per layer (one for the first). Without momentum the update is part of the
    last product and needs no buffer for the gradient.
    """

    name = "sgd"
    options = SGDOptions
    rule_class = Momentum

    @classmethod
    @override
    def group_key(cls, options: SGDOptions) -> tuple[tuple[str, object], ...]:
        # members with a buffer and without take different paths, which round differently
        return (*super().group_key(options), ("momentum > 0", options.momentum > 0), ("l1 > 0", options.l1 > 0))

    @override
    def prepare(self) -> None:
        super().prepare()
        self.buffered, self.regularised = (bool((self.column[name] > 0).any()) for name in ("momentum", "l1"))

    @override
    def directions(self, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> list[Affine]:
        gradients = super().directions(parameters, trace, delta)
        if self.regularised:
            for W, g in zip(propagation.tensors(parameters), propagation.tensors(gradients), strict=True):
                g.add_(self.column["l1"] * W.sign())
        return gradients

    @override
    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        if self.buffered or self.regularised:
            super().update(parameters, state, trace, delta)
            return
        delta = delta * (-self.column["eta"] / delta.shape[1])
        for i, X, D in propagation.backward(self.network, parameters, trace, delta):
            W, b = parameters[i]
            layers.add_cross(W, D, X)
            if b is not None:
                b += D.sum(1, keepdim=True)
