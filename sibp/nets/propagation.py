"""Running a network forward, and sending the error back.

Notation as in J (2.1): F_1 = X, G_{i+1} = F_i W_i^T + b_i, F_{i+1} = sigma(G_{i+1}), identity at the last layer. In code the
layers are counted from 0; layer i holds its rows `X` (F_i after the bridge), `Z` (G_{i+1}) and `F` (F_{i+1}).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from sibp.nets import activations, layers
from sibp.nets.layers import Adjoint, Affine, Patches
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
    "over_bridge",
    "tensors",
    "through_activation",
    "through_bridge",
]


class LayerTrace(NamedTuple):
    """What one layer saw in a forward pass.

    Attributes:
        X: rows `[E or 1, R, I]`.
        Z: pre-activation `[E, R, O]`.
        F: sigma(Z).
        back: adjoints of the bridge's steps at this pass, in the steps' order.
    """

    X: Tensor | Patches
    Z: Tensor
    F: Tensor
    back: list[Adjoint]


class Trace(NamedTuple):
    """All layers of one forward pass; `output` is F_N `[E, B, K]`."""

    layers: list[LayerTrace]

    @property
    def output(self) -> Tensor:
        """F_N `[E, B, K]`."""
        return self.layers[-1].F


def over_bridge(layer: Layer, x: Tensor) -> tuple[Tensor | Patches, list[Adjoint]]:
    """Carry values over a layer's bridge.

    Args:
        layer: the layer that the bridge feeds.
        x: output of the layer before, `[E, R, O]`, or the network's input `[E or 1, B, *input_shape]`.

    Returns:
        The layer's rows X `[E or 1, R, I]`, and the adjoints of the bridge's steps, in the steps' order.
    """
    back: list[Adjoint] = []
    rows: Tensor | Patches = x
    for step in layer.bridge:
        assert not isinstance(rows, Patches)  # an `Unfold` is a bridge's last step
        rows, adjoint = step.forward(rows)
        back.append(adjoint)
    return rows, back


def forward(network: Network, parameters: Sequence[Affine], x: Tensor) -> Trace:
    """Run the network and keep every layer's rows (J 2.1).

    Args:
        network: the network.
        parameters: one `Affine` per layer.
        x: inputs `[E or 1, B, *input_shape]`.

    Returns:
        The trace, from input to output. Cost: one product per layer.
    """
    traces = []
    for layer, (W, b) in zip(network.layers, parameters, strict=True):
        X, back = over_bridge(layer, x)
        Z = layers.affine(X, W, b)
        F = activations.get(layer.activation).value(Z) if layer.activation != "identity" else Z
        traces.append(LayerTrace(X, Z, F, back))
        x = F
    return Trace(traces)


def output(network: Network, parameters: Sequence[Affine], x: Tensor) -> Tensor:
    """Return the network's output, keeping nothing on the way.

    Args:
        network: the network.
        parameters: one `Affine` per layer.
        x: inputs `[E or 1, B, *input_shape]`.

    Returns:
        F_N `[E, B, K]`. Cost: one product per layer.
    """
    for layer, (W, b) in zip(network.layers, parameters, strict=True):
        X, _ = over_bridge(layer, x)
        x = activations.get(layer.activation).value(layers.affine(X, W, b))
    return x


def through_activation(layer: Layer, seen: LayerTrace, delta: Tensor) -> Tensor:
    """Return sigma'(Z) * delta, the error at the pre-activation (J 3.1).

    Args:
        layer: the layer.
        seen: its forward pass.
        delta: dL/dF `[E, R, O]`.

    Returns:
        dL/dZ `[E, R, O]`; delta itself under the identity.
    """
    if layer.activation == "identity":
        return delta
    return delta * activations.get(layer.activation).slope(seen.Z, seen.F)


def through_bridge(seen: LayerTrace, delta: Tensor) -> Tensor:
    """Send an error back through a layer's bridge to the rows of the layer before.

    Args:
        seen: the layer's forward pass.
        delta: what `layers.adjoint` gives: dL/dX `[E, R, I]`, or for patches the error on their images.

    Returns:
        dL/dF of the layer before, `[E, R, O]`.
    """
    for adjoint in reversed(seen.back):
        delta = adjoint(delta)
    return delta


def backward(
    network: Network, parameters: Sequence[Affine], trace: Trace, delta: Tensor
) -> Iterator[tuple[int, Tensor | Patches, Tensor]]:
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
            delta = through_bridge(seen, layers.adjoint(D, W, seen.X))
        yield i, seen.X.expand(W.shape[0], -1, -1), D


def gradients(network: Network, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> list[Affine]:
    """Return the gradients of the loss (J 3.1, 3.2).

    Args:
        network: the network.
        parameters: one `Affine` per layer.
        trace: a forward pass of them.
        delta: dL/dF_N `[E, B, K]`; its scale (sum or mean over the batch) is that of the gradients.

    Returns:
        One `Affine` per layer, each shaped as its parameter. Cost: two products per layer, one for the first.
    """
    result = [
        Affine(layers.cross(D, X), None if parameters[i].b is None else D.sum(1, keepdim=True))
        for i, X, D in backward(network, parameters, trace, delta)
    ]
    return result[::-1]


def loss_gradients(network: Network, parameters: Sequence[Affine], loss: Loss, x: Tensor, y: Tensor) -> list[Affine]:
    """Return the gradients of the mini-batch's mean loss.

    Args:
        network: the network.
        parameters: one `Affine` per layer.
        loss: at the output.
        x: inputs `[E or 1, B, *input_shape]`.
        y: class indices `[E or 1, B]`, or values `[E or 1, B, K]`.

    Returns:
        One `Affine` per layer, each shaped as its parameter. Cost: three products per layer, two for the first.
    """
    trace = forward(network, parameters, x)
    return gradients(network, parameters, trace, loss.delta(trace.output, y) / trace.output.shape[1])


def tensors(parameters: Sequence[Affine]) -> list[Tensor]:
    """Return all weights and biases in one list.

    Args:
        parameters: one `Affine` per layer.

    Returns:
        W and b of the first layer, of the second, and so on; layers without a bias give W alone.
    """
    return [tensor for layer in parameters for tensor in layer if tensor is not None]
