"""What a network is: affine layers in order, joined by bridges. How it runs is in `propagation`."""

import math
from dataclasses import dataclass, field

from sibp.nets.bridges import Image
from sibp.nets.layers import Step

__all__ = ["Layer", "Network"]


@dataclass(frozen=True)
class Layer:
    """One affine map, the bridge that feeds it and the activation that follows it.

    Attributes:
        fan_in: I, inputs of a row.
        fan_out: O, its outputs.
        activation: a key of `activations.ACTIVATIONS`.
        bias: whether the map has one.
        bridge: steps from the rows of the layer before to this one's, in order.
        weight_shape: torch's shape of W, `[O, I]` or `[O, C, kh, kw]`.
    """

    fan_in: int
    fan_out: int
    activation: str = "identity"
    bias: bool = True
    bridge: tuple[Step, ...] = ()
    weight_shape: tuple[int, ...] = ()

    @property
    def is_convolution(self) -> bool:
        """Whether the rows are patches."""
        return len(self.weight_shape) == 4


@dataclass(frozen=True)
class Network:
    """Affine layers in order.

    Attributes:
        layers: from input to output.
        input_shape: one sample's, `(784,)` or `(3, 32, 32)`.
        name: what records show; two networks that differ only in it are equal.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    name: str = field(default="", compare=False)

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases of one member."""
        return sum(layer.fan_out * (layer.fan_in + layer.bias) for layer in self.layers)

    @property
    def rows(self) -> list[int]:
        """Rows that one sample has in each layer: 1, or for a convolution its output positions."""
        bridges = [*(layer.bridge for layer in self.layers[1:]), ()]
        images = [next((step for step in bridge if isinstance(step, Image)), None) for bridge in bridges]
        return [1 if image is None else math.prod(image.size) for image in images]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample's forward pass: each layer's parameters, for a convolution at every output position."""
        return sum(rows * layer.fan_out * (layer.fan_in + layer.bias) for rows, layer in zip(self.rows, self.layers, strict=True))
