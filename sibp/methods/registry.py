"""The methods by name."""

from collections.abc import Sequence

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

METHODS: dict[str, type[Method]] = {method.name: method for method in (SGD, Adam, RMSprop, ProxProp, ProxBP, BCD, SIBP)}


def get(name: str) -> type[Method]:
    """Return the method of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in METHODS:
        raise ValueError(f"method: {messages.need(name, METHODS)}")
    return METHODS[name]


def options(name: str) -> type[Options]:
    """Return the class of a method's hyper-parameters."""
    return get(name).options


def build(
    name: str,
    network: Network,
    loss: Loss,
    members: Sequence[Options],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Method:
    """Return the method, ready for an ensemble of these members."""
    return get(name)(network, loss, members, dtype, device)
