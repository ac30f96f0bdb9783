"""The papers' networks as `torch.nn.Sequential`s."""

from collections.abc import Sequence

import torch
from torch import nn

from sibp.core import messages
from sibp.nets import bridges, initialisation, layers, papers, propagation
from sibp.nets.from_sequential import ACTIVATION_MODULES, parameters_of
from sibp.nets.network import Layer, Network

__all__ = ["lenet", "mlp", "to_module"]

LENETS = ("cifar10", "mnist")


def mlp(
    widths: Sequence[int],
    std: float = 0.01,
    seed: int = 0,
    activation: str = "relu",
    *,
    bias: bool = True,
    law: str = "normal",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """Return an `nn.Sequential` of `nn.Linear` and activations, weights and biases ~ N(0, std^2) from `seed`.

    Args:
        widths: layer sizes, input first, e.g. ``[784, 500, 10]``; at least two.
        std: standard deviation, >= 0.
        seed: the numbers are those of member `seed` in the experiments.
        activation: after every layer but the last; one of `sibp.nets.activations.ACTIVATIONS`.
        bias: whether layers have one.
        law: ``normal``, or ``torch`` or ``he``, which do not use std; see `sibp.nets.initialisation.initialise`.
        dtype: float32 or float64.
        device: where the parameters live.

    Returns:
        The module, in training mode; values that are out of range or unknown are refused with a ValueError.
    """
    return to_module(papers.mlp(widths, activation, bias=bias), seed, std, law, dtype=dtype, device=device)


def lenet(
    name: str = "cifar10",
    std: float | None = None,
    seed: int = 0,
    activation: str = "relu",
    *,
    bias: bool = True,
    pools: int = 3,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """Return a convolutional net as an `nn.Sequential` of Conv2d, activations, MaxPool2d, Flatten and Linear.

    Args:
        name: ``cifar10``, the net of J Fig. 9 and P Fig. 3 for [3, 32, 32] (see `sibp.nets.papers.cnn`), or ``mnist``, LeNet-5 for
            [1, 28, 28] (J 5.5, see `sibp.nets.papers.lenet5`).
        std: standard deviation of weights and biases, >= 0; None draws by torch's default law, as P does.
        seed: the numbers are those of member `seed` in the experiments.
        activation: after every layer but the last.
        bias: whether layers have one.
        pools: of ``cifar10``: how many of the three convolutions are pooled; 2 in P's program.
        dtype: float32 or float64.
        device: where the parameters live.

    Returns:
        The module, in training mode.

    Raises:
        ValueError: for an unknown name, a negative std, or pools outside 0..3.
    """
    if name not in LENETS:
        raise ValueError(f"lenet: {messages.need(name, LENETS)}")
    if name == "cifar10":
        network = papers.cnn((3, 32, 32), pools=pools, activation=activation, bias=bias)
    else:
        network = papers.lenet5((1, 28, 28), activation=activation, bias=bias)
    return to_module(network, seed, std or 0.0, "torch" if std is None else "normal", dtype=dtype, device=device)


def to_module(
    network: Network,
    seed: int = 0,
    std: float = 0.01,
    law: str = "normal",
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """Return the `nn.Sequential` of a network, with the initial parameters of member `seed`.

    Args:
        network: its structure.
        seed: of the member whose parameters it gets.
        std: standard deviation of the law ``normal``, >= 0.
        law: see `sibp.nets.initialisation.initialise`.
        dtype: float32 or float64.
        device: where the parameters live.

    Returns:
        The module, in training mode; `sibp.nets.from_sequential.network_of` reads `network` from it again.

    Raises:
        ValueError: for a dtype other than float32 and float64, a negative std, or an unknown law.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype: got {dtype}, need torch.float32 or torch.float64")
    if not 0 <= std < float("inf"):
        raise ValueError(f"std: got {std}, need a number >= 0")
    drawn = initialisation.initialise(network, [seed], std=std, law=law, dtype=dtype, device=device)
    by_name = {name: module for module, name in ACTIVATION_MODULES.items()}
    modules: list[nn.Module] = []
    for layer in network.layers:
        modules += _modules(layer)
        if layer.activation != "identity":
            modules.append(by_name[layer.activation]())
    model = nn.Sequential(*modules).to(device=device, dtype=dtype)
    for parameter, numbers in zip(propagation.tensors(parameters_of(model)), propagation.tensors(drawn), strict=True):
        parameter.copy_(numbers)
    return model


def _modules(layer: Layer) -> list[nn.Module]:
    """Return the modules of a layer's bridge and of its affine map; torch draws nothing from its global generator for them."""
    modules: list[nn.Module] = []
    for step in layer.bridge:
        if isinstance(step, bridges.MaxPool):
            modules.append(nn.MaxPool2d(step.kernel, step.stride, step.padding))
        elif isinstance(step, bridges.Flatten):
            modules.append(nn.Flatten())
        elif isinstance(step, layers.Unfold):
            out, channels = layer.weight_shape[:2]
            convolution = nn.utils.skip_init(nn.Conv2d, channels, out, step.kernel, step.stride, step.padding, bias=layer.bias)
            return [*modules, convolution]
    return [*modules, nn.utils.skip_init(nn.Linear, layer.fan_in, layer.fan_out, bias=layer.bias)]
