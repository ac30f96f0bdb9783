"""Which networks train together: members whose products can be batched, in sets of a size that the experiment fixes."""

from collections.abc import Sequence

import torch

from sibp import methods
from sibp.methods import Options
from sibp.nets.network import Network

__all__ = ["bytes_per_member", "groups"]


def groups(algorithm: str, options: Sequence[Options], size: int) -> list[list[int]]:
    """Return the members, by number, that train together: equal non-float options, at most `size` at a time.

    The size comes from the experiment file, never from free memory, because batched products round differently with their
    number. Groups and the members in them keep the order given.
    """
    key = methods.get(algorithm).group_key
    alike: dict[object, list[int]] = {}
    for number, option in enumerate(options):
        alike.setdefault(key(option), []).append(number)
    return [numbers[i : i + size] for numbers in alike.values() for i in range(0, len(numbers), size)]


def bytes_per_member(network: Network, batch_size: int, dtype: torch.dtype = torch.float32) -> int:
    """Estimate one member's memory in bytes while it trains.

    Counts the parameters with one gradient and two buffers (what Adam keeps), and three copies of every layer's rows: one for each
    sample, or for a convolution one for each of its output positions.
    """
    rows = sum(count * (layer.fan_in + layer.fan_out) for count, layer in zip(network.rows, network.layers, strict=True))
    return dtype.itemsize * (4 * network.parameter_count + 3 * batch_size * rows)
