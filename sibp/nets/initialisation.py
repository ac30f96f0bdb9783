"""The initial laws of weights and biases."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sibp.core import messages, seeding
from sibp.nets.layers import Affine
from sibp.nets.network import Network

__all__ = ["LAWS", "initialise"]

LAWS = ("normal", "torch", "he")


def initialise(
    network: Network,
    seeds: Sequence[int],
    *,
    mean: float = 0.0,
    std: float = 0.01,
    law: str = "normal",
    bias: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> list[Affine]:
    """Draw weights and biases, member e from `seeds[e]` alone.

    Drawn in float64 on the CPU and then cast, so that a seed gives the same net in every ensemble, precision and device.

    Args:
        network: what to draw for.
        seeds: one per member.
        mean: of the law ``normal``, for weights and biases.
        std: its standard deviation (A/I's "N(0, 0.01)" and J 5.2's "N(0, 0.025)" are read as such; docs/deviations.md).
        law: ``normal`` N(mean, std^2); ``torch`` U(-1/sqrt(I), 1/sqrt(I)) for weights and biases, torch's default (P);
            ``he`` N(0, 2/I) for weights and 0 for biases (He et al. 2015).
        bias: a constant for all biases in place of the law's.
        dtype: of the parameters.
        device: where they live.

    Returns:
        One `Affine` per layer: W `[E, O, I]`, b `[E, 1, O]` or None.

    Raises:
        ValueError: for an unknown law.
    """
    if law not in LAWS:
        raise ValueError(f"law: {messages.need(law, LAWS)}")

    def draw(purpose: str, i: int, fan_in: int, shape: tuple[int, ...]) -> Tensor:
        members = []
        for seed in seeds:
            generator = seeding.generator("init", purpose, seed, i)
            if law == "torch":
                members.append((2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) / math.sqrt(fan_in))
                continue
            center, spread = _he(purpose, fan_in) if law == "he" else (mean, std)
            members.append(center + spread * torch.randn(*shape, generator=generator, dtype=torch.float64))
        return torch.stack(members).to(device=device, dtype=dtype)

    parameters = []
    for i, layer in enumerate(network.layers):
        W, b = draw("weight", i, layer.fan_in, (layer.fan_out, layer.fan_in)), None
        if layer.bias:
            shape = (1, layer.fan_out)
            if bias is None:
                b = draw("bias", i, layer.fan_in, shape)
            else:
                b = torch.full((len(seeds), *shape), bias, dtype=dtype, device=device)
        parameters.append(Affine(W, b))
    return parameters


def _he(purpose: str, fan_in: int) -> tuple[float, float]:
    """Return mean and standard deviation of He's law."""
    return 0.0, 0.0 if purpose == "bias" else math.sqrt(2 / fan_in)
