"""One call of an affine function in a forward pass."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sibp.modules.affine import AffineMap
from sibp.modules.update import Target

__all__ = ["Use"]


@dataclass(eq=False, slots=True)
class Use:
    """One call of an affine function on a watched weight.

    Attributes:
        watch: whose weight it is.
        map: which affine map.
        W: torch's weight.
        b: torch's bias, or None.
        rows: how many rows went through.
        version: the weight's, when it was used.
        activations: how many activations have been applied to the output.
        target: what the activation's backward has left for the layer's.
    """

    watch: Any
    map: AffineMap
    W: Tensor
    b: Tensor | None
    rows: int
    version: int
    activations: int = 0
    target: Target | None = None
