"""One call of an affine function in a forward pass."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sibp.modules.affine import AffineMap
from sibp.modules.problems import Target

__all__ = ["Use"]


@dataclass(eq=False, slots=True)
class Use:
    """One call of an affine function on a watched weight.

    Attributes:
        watch: whose weight it is.
        map: which affine map.
        W: torch's weight.
        b: torch's bias, or None.
        version: the weight's, when it was used.
        numbers: how many the output has.
        activations: how many activations have been applied to the output.
        target: what the activation's backward has left for the layer's.
    """

    watch: Any
    map: AffineMap
    W: Tensor
    b: Tensor | None
    version: int
    numbers: int = 0
    activations: int = 0
    target: Target | None = None

    @property
    def rows(self) -> int:
        """How many rows went through."""
        return self.numbers // self.map.outputs(self.W)
