"""Adam (Kingma & Ba 2015), the papers' strongest explicit baseline (J 5.3, P 5.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import Options, Positive, Share
from sibp.methods.base import State
from sibp.methods.first_order import FirstOrder, Rule

__all__ = ["Adam", "AdamOptions", "AdamRule"]


class AdamOptions(Options):
    """Hyper-parameters of Adam, with torch's defaults.

    Attributes:
        eta: step size, > 0.
        beta1: memory of the first moment, in [0, 1).
        beta2: memory of the second moment, in [0, 1).
        eps: added to the root of the second moment, > 0.
    """

    eta: Positive = 1e-3
    beta1: Share = 0.9
    beta2: Share = 0.999
    eps: Positive = 1e-8


class AdamRule(Rule):
    """Adam's rule, as torch.optim.Adam; two buffers.

    m <- beta1 m + (1 - beta1) g,  v <- beta2 v + (1 - beta2) g^2,
    W <- W - eta / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps).
    """

    @override
    def start(self, parameters: Sequence[Tensor]) -> State:
        return {
            "first": [torch.zeros_like(W) for W in parameters],
            "second": [torch.zeros_like(W) for W in parameters],
            "steps": [torch.zeros((), dtype=torch.float64, device=parameters[0].device)],
        }

    @override
    def move(self, parameters: Sequence[Tensor], directions: Sequence[Tensor], state: State) -> None:
        beta1, beta2, eps = self.column["beta1"], self.column["beta2"], self.column["eps"]
        t = state["steps"][0].add_(1)
        # in double precision: 1 - beta2^t loses half of single precision's digits
        step = (self.column["eta"] / (1 - beta1.double() ** t)).to(beta1.dtype)
        root = (1 - beta2.double() ** t).sqrt().to(beta2.dtype)
        for W, g, m, v in zip(parameters, directions, state["first"], state["second"], strict=True):
            m.lerp_(g, 1 - beta1)
            v.lerp_(g.square(), 1 - beta2)
            below = v.sqrt().div_(root).add_(eps)
            W.sub_(torch.div(m, below, out=below).mul_(step))


class Adam(FirstOrder[AdamOptions]):
    """Adam on the gradient of the mini-batch's mean loss. Cost: as SGD, plus five passes over the parameters."""

    name = "adam"
    options = AdamOptions
    buffers = 3
    rule_class = AdamRule
