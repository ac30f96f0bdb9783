"""What a network is: affine layers in order, joined by bridges. How it runs is in `propagation`."""

import math
from dataclasses import dataclass, field

from sibp.nets.layers import Step

__all__ = ["Layer", "Network"]


@dataclass(frozen=True)
class Layer:
    """One affine map `[fan_in -> fan_out]`, the bridge that feeds it and the activation that follows it."""

    fan_in: int
    fan_out: int
    activation: str = "identity"
    bias: bool = True
    bridge: tuple[Step, ...] = ()
    weight_shape: tuple[int, ...] = ()  # torch's shape of W, [O, I] or [O, C, kh, kw]

    @property
    def is_convolution(self) -> bool:
        """Whether the rows are patches."""
        return len(self.weight_shape) == 4


@dataclass(frozen=True)
class Network:
    """Affine layers in order; `input_shape` is one sample's, `(784,)` or `(3, 32, 32)`; `name` is what records show."""

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
        after = [*self.layers[1:], None]
        return [
            math.prod(then.bridge[0].size) if layer.is_convolution else 1 for layer, then in zip(self.layers, after, strict=True)
        ]

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one sample's forward pass: each layer's parameters, for a convolution at every output position."""
        return sum(rows * layer.fan_out * (layer.fan_in + layer.bias) for rows, layer in zip(self.rows, self.layers, strict=True))
