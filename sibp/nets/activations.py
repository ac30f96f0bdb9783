"""Activations sigma with their derivative; the theorems assume a smooth one (J Assumption 4.2), the experiments use ReLU."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sibp.core import messages
from sibp.kernels.native import LEAKS

__all__ = ["ACTIVATIONS", "Activation", "get"]


@dataclass(frozen=True)
class Activation:
    """An activation sigma and its derivative sigma', elementwise on a pre-activation of any shape.

    Attributes:
        name: the key in experiment files.
        value: Z -> sigma(Z).
        slope: (Z, sigma(Z)) -> sigma'(Z), in Z's dtype; takes both so that none is computed twice. At a kink it is the
            left derivative: relu'(0) = 0 and leaky_relu'(0) = 0.01, as torch has it.
        piecewise_linear: whether sigma' is piecewise constant.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    piecewise_linear: bool = False


LEAK = LEAKS["leaky_relu"]  # the slope of leaky ReLU below zero; the kernels and torch have the same

ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("identity", lambda Z: Z, lambda Z, _F: torch.ones_like(Z), piecewise_linear=True),
        Activation("relu", lambda Z: Z.clamp(min=0), lambda _Z, F: (F > 0).to(F.dtype), piecewise_linear=True),
        Activation(
            "leaky_relu",
            lambda Z: torch.where(Z > 0, Z, LEAK * Z),
            lambda Z, _F: torch.full_like(Z, LEAK).masked_fill_(Z > 0, 1.0),
            piecewise_linear=True,
        ),
        Activation("sigmoid", torch.sigmoid, lambda _Z, F: F * (1 - F)),
        Activation("tanh", torch.tanh, lambda _Z, F: 1 - F * F),
        Activation("softplus", torch.nn.functional.softplus, lambda Z, _F: torch.sigmoid(Z)),
    )
}


def get(name: str) -> Activation:
    """Return the activation of that name.

    Args:
        name: a key of `ACTIVATIONS`.

    Returns:
        sigma and sigma'.

    Raises:
        ValueError: if there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: {messages.need(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
