"""Stochastic gradient descent: plain back propagation (J 3.1)."""

from collections.abc import Sequence

from torch import Tensor

from sibp import layers, models
from sibp.layers import Affine
from sibp.methods.base import Method, Options, Positive, State
from sibp.models import Trace

__all__ = ["SGD", "SGDOptions"]


class SGDOptions(Options):
    """eta: learning rate on the gradient of the mini-batch's **mean** loss, as torch has it, > 0."""

    eta: Positive = 0.1


class SGD(Method):
    """W <- W - eta dL/dW, b <- b - eta dL/db with L the mean loss of the mini-batch (J 3.1, 3.2).

    Cost: one forward product and two backward ones per layer (one for the first); no buffer for the gradient.
    """

    name = "sgd"
    options = SGDOptions

    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        delta = delta * (-self.column["eta"] / delta.shape[1])
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            D = models.through_activation(layer, seen, delta)
            if i > 0:  # before W changes: the error goes back through the old weights
                delta = models.through_bridge(layer, seen, layers.adjoint(D, W))
            layers.add_cross(W, D, seen.X)
            if b is not None:
                b += D.sum(1, keepdim=True)
