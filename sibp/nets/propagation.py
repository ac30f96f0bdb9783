"""Running a network forward, and sending the error back.

Notation as in J (2.1): F_1 = X, G_{i+1} = F_i W_i^T + b_i, F_{i+1} = sigma(G_{i+1}), identity at the last layer. In code the
layers are counted from 0; layer i holds its rows `X` (F_i after the bridge), `Z` (G_{i+1}) and `F` (F_{i+1}).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from sibp.nets import activations, layers
from sibp.nets.layers import Affine, Patches
from sibp.nets.losses import Loss
from sibp.nets.network import Layer, Network

__all__ = [
    "LayerTrace",
    "Trace",
    "backward",
    "forward",
    "gradients",
    "loss_gradients",
    "output",
    "tensors",
    "through_activation",
    "through_bridge",
]


class LayerTrace(NamedTuple):
    """What one layer saw in a forward pass: rows X `[E, R, I]`, Z `[E, R, O]`, F = sigma(Z), and the bridge's memory."""

    X: Tensor | Patches
    Z: Tensor
    F: Tensor
    kept: list[object]


class Trace(NamedTuple):
    """All layers of one forward pass; `output` is F_N `[E, B, K]`."""

    layers: list[LayerTrace]

    @property
    def output(self) -> Tensor:
        return self.layers[-1].F


def forward(network: Network, parameters: Sequence[Affine], x: Tensor) -> Trace:
    """Run x `[E or 1, B, *input_shape]` forward and keep every layer's rows (J 2.1). Cost: one product per layer."""
    traces = []
    for layer, (W, b) in zip(network.layers, parameters, strict=True):
        kept = []
        for step in layer.bridge:
            x, memory = step.forward(x)
            kept.append(memory)
        Z = layers.affine(x, W, b)
        F = activations.get(layer.activation).value(Z) if layer.activation != "identity" else Z
        traces.append(LayerTrace(x, Z, F, kept))
        x = F
    return Trace(traces)


def output(network: Network, parameters: Sequence[Affine], x: Tensor) -> Tensor:
    """Return F_N `[E, B, K]` for x `[E or 1, B, *input_shape]`, keeping nothing."""
    for layer, (W, b) in zip(network.layers, parameters, strict=True):
        for step in layer.bridge:
            x, _ = step.forward(x)
        x = activations.get(layer.activation).value(layers.affine(x, W, b))
    return x


def through_activation(layer: Layer, seen: LayerTrace, delta: Tensor) -> Tensor:
    """Return sigma'(Z) * delta, `[E, R, O]`: the error at the pre-activation."""
    if layer.activation == "identity":
        return delta
    return delta * activations.get(layer.activation).slope(seen.Z, seen.F)


def through_bridge(layer: Layer, seen: LayerTrace, delta: Tensor) -> Tensor:
    """Send an error as `layers.adjoint` gives it back through this layer's bridge to the rows of the layer before."""
    for step, memory in zip(reversed(layer.bridge), reversed(seen.kept), strict=True):
        delta = step.adjoint(delta, memory)
    return delta


def backward(network: Network, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (i, X, D) from the last layer to the first: its rows and D = dL/dZ by back propagation (J 3.1).

    The error goes back through the weights as they were before the layer is yielded, so the caller may change that layer's
    parameters in place and the layers before still get the gradient of the old network.

    Args:
        network: the network.
        parameters: its parameters.
        trace: a forward pass of them.
        delta: dL/dF_N `[E, B, K]`; its scale (sum or mean over the batch) is that of D.

    Yields:
        The layer's number, X `[E, R, I]` and D `[E, R, O]`. Cost: one product per layer but the first.
    """
    for i in reversed(range(len(network.layers))):
        layer, seen, W = network.layers[i], trace.layers[i], parameters[i].W
        D = through_activation(layer, seen, delta)
        if i > 0:
            delta = through_bridge(layer, seen, layers.adjoint(D, W, seen.X))
        yield i, seen.X.expand(W.shape[0], -1, -1), D


def gradients(network: Network, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> list[Affine]:
    """Return the gradients of the loss, each shaped as its parameter (J 3.1, 3.2), for delta as in `backward`.

    Cost: two products per layer, one for the first.
    """
    result = [
        Affine(layers.cross(D, X), None if parameters[i].b is None else D.sum(1, keepdim=True))
        for i, X, D in backward(network, parameters, trace, delta)
    ]
    return result[::-1]


def loss_gradients(network: Network, parameters: Sequence[Affine], loss: Loss, x: Tensor, y: Tensor) -> list[Affine]:
    """Return the gradients of the mini-batch's mean loss, each shaped as its parameter."""
    trace = forward(network, parameters, x)
    return gradients(network, parameters, trace, loss.delta(trace.output, y) / trace.output.shape[1])


def tensors(parameters: Sequence[Affine]) -> list[Tensor]:
    """Return all weights and biases in one list: W and b of the first layer, of the second, and so on."""
    return [tensor for layer in parameters for tensor in layer if tensor is not None]
