"""Measuring an ensemble on whole splits, all members in one pass."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sibp import losses, models
from sibp.layers import Affine
from sibp.losses import Loss
from sibp.models import Network
from sibp.sampling import Samples

__all__ = ["first_gradient_norm", "measure"]

CHUNK = 2**23  # most numbers in the widest rows of all members at a time


@torch.no_grad()
def measure(
    network: Network, loss: Loss, parameters: Sequence[Affine], samples: Samples, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the mean ``loss`` of a split and, where there are classes, the ``accuracy``; float64 `[E]` each."""
    members = parameters[0].W.shape[0]
    positions = math.prod(network.input_shape[1:])  # a bound on the rows per sample of a convolution
    widest = positions * max(max(layer.fan_in, layer.fan_out) for layer in network.layers)
    totals: dict[str, Tensor] = {}
    for x, y in samples.chunks(max(1, CHUNK // (members * widest)), dtype):
        F = models.output(network, parameters, x)
        values = {"loss": loss.value(F, y).double()}
        if samples.labelled:
            values["accuracy"] = losses.accuracy(F, y)
        for name, value in values.items():
            totals[name] = totals.get(name, 0) + value * x.shape[1]
    return {name: total / len(samples) for name, total in totals.items()}


@torch.no_grad()
def first_gradient_norm(network: Network, loss: Loss, parameters: Sequence[Affine], x: Tensor, y: Tensor) -> Tensor:
    """Return ||dJ/dW_1|| of the mean loss of a mini-batch, `[E]` (J, Figure 7)."""
    gradients = models.loss_gradients(network, parameters, loss, x, y)
    return gradients[0].W.flatten(1).norm(dim=1)
