"""The methods by name."""

from collections.abc import Sequence
from typing import Any

import torch

from sibp.core import messages
from sibp.core.options import Options
from sibp.methods.adam import Adam
from sibp.methods.base import Method
from sibp.methods.bcd import BCD
from sibp.methods.proxbp import ProxBP
from sibp.methods.proxprop import ProxProp
from sibp.methods.rmsprop import RMSprop
from sibp.methods.sgd import SGD
from sibp.methods.sibp import SIBP
from sibp.nets.losses import Loss
from sibp.nets.network import Network

__all__ = ["METHODS", "build", "get", "options"]

METHODS: dict[str, type[Method[Any]]] = {method.name: method for method in (SGD, Adam, RMSprop, ProxProp, ProxBP, BCD, SIBP)}


def get(name: str) -> type[Method[Any]]:
    """Return the method of that name.

    Args:
        name: a key of `METHODS`.

    Returns:
        Its class.

    Raises:
        ValueError: if there is none.
    """
    if name not in METHODS:
        raise ValueError(f"method: {messages.need(name, METHODS)}")
    return METHODS[name]


def options(name: str) -> type[Options]:
    """Return the class of a method's hyper-parameters.

    Args:
        name: a key of `METHODS`.

    Returns:
        A subclass of `Options`.
    """
    return get(name).options


def build(
    name: str,
    network: Network,
    loss: Loss,
    members: Sequence[Options],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Method[Any]:
    """Return a method, ready for an ensemble.

    Args:
        name: a key of `METHODS`.
        network: what is trained.
        loss: at the output.
        members: one `Options` each, of the method's class.
        dtype: of the parameters.
        device: of the parameters.

    Returns:
        The method; options that exclude each other, or a network that it cannot train, are refused with a ValueError.
    """
    return get(name)(network, loss, members, dtype, device)
