"""The papers' networks."""

import inspect
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from sibp.core import messages
from sibp.nets import activations, bridges, layers
from sibp.nets.network import Layer, Network

__all__ = ["build", "cnn", "lenet5", "mlp"]


def build(kind: str = "mlp", **settings: Any) -> Network:
    """Return the network that an experiment file describes.

    Args:
        kind: ``mlp``, ``cnn`` (J Fig. 9, P Fig. 3) or ``lenet5``.
        settings: arguments of the function of that name.

    Returns:
        The network, without parameters.

    Raises:
        ValueError: for an unknown kind, or a setting that it cannot have or lacks.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: {messages.need(kind, KINDS)}")
    allowed = inspect.signature(KINDS[kind]).parameters
    for name in settings:
        if name not in allowed:
            near = messages.suggest(name, allowed)
            raise ValueError(f"{name}: is no setting of kind {kind}, need one of {', '.join(allowed)}{near}")
    for name, parameter in allowed.items():
        if parameter.default is parameter.empty and name not in settings:
            raise ValueError(f"{name}: is missing, kind {kind} needs it")
    return KINDS[kind](**settings)


def mlp(widths: Sequence[int], activation: str = "relu", *, bias: bool = True) -> Network:
    """Return a multi-layer perceptron; the activation follows every layer but the last.

    Args:
        widths: of input, hidden layers and output, at least two, each >= 1.
        activation: a key of `activations.ACTIVATIONS`.
        bias: whether layers have one.

    Returns:
        A network named after its widths, such as ``784-500-10``.

    Raises:
        ValueError: for fewer than two widths, or one below 1.
    """
    activations.get(activation)
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise ValueError(f"widths: got {list(widths)}, need at least two numbers >= 1")
    last = len(widths) - 2
    stack = tuple(
        Layer(fan_in, fan_out, activation if i < last else "identity", bias, weight_shape=(fan_out, fan_in))
        for i, (fan_in, fan_out) in enumerate(pairwise(widths))
    )
    return Network(stack, (widths[0],), name="-".join(map(str, widths)))


def cnn(
    input_shape: Sequence[int] = (3, 32, 32),
    channels: Sequence[int] = (16, 20, 20),
    pools: int = 3,
    classes: int = 10,
    activation: str = "relu",
    *,
    bias: bool = True,
) -> Network:
    """Return the network of J Fig. 9 and P Fig. 3.

    5x5 convolutions that keep the size, each with an activation and 2x2 max pooling, then one dense layer.

    Args:
        input_shape: one sample's channels, height and width.
        channels: of the convolutions.
        pools: how many convolutions, from the first, are pooled; 3 in the papers' text, 2 in P's program.
        classes: outputs.
        activation: after every convolution.
        bias: whether layers have one.

    Returns:
        The network, named ``cnn``.

    Raises:
        ValueError: for sizes that do not fit.
    """
    if not 0 <= pools <= len(channels):
        raise ValueError(f"pools: got {pools}, need 0..{len(channels)}, the number of convolutions")
    convolutions = [(count, 2, i < pools) for i, count in enumerate(channels)]
    return _convolutional("cnn", input_shape, convolutions, [classes], activation, bias=bias)


def lenet5(input_shape: Sequence[int] = (1, 28, 28), classes: int = 10, activation: str = "relu", *, bias: bool = True) -> Network:
    """Return LeNet-5 (LeCun et al. 1998) with one activation and max pooling.

    conv5x5 6 (padding 2) - pool - conv5x5 16 - pool - 120 - 84 - classes.

    Args:
        input_shape: one sample's channels, height and width.
        classes: outputs.
        activation: after every layer but the last.
        bias: whether layers have one.

    Returns:
        The network, named ``lenet5``; sizes that do not fit are refused with a ValueError.
    """
    return _convolutional("lenet5", input_shape, [(6, 2, True), (16, 0, True)], [120, 84, classes], activation, bias=bias)


KINDS: dict[str, Callable[..., Network]] = {"mlp": mlp, "cnn": cnn, "lenet5": lenet5}


def _convolutional(
    name: str,
    input_shape: Sequence[int],
    convolutions: Sequence[tuple[int, int, bool]],
    widths: Sequence[int],
    activation: str,
    *,
    bias: bool,
) -> Network:
    """Return 5x5 convolutions (channels, padding, whether pooled), each with an activation, and dense layers after them.

    Raises:
        ValueError: for sizes that do not fit.
    """
    activations.get(activation)
    if len(input_shape) != 3:
        raise ValueError(f"input_shape: got {list(input_shape)}, need channels, height and width")
    channels, height, width = input_shape
    stack: list[Layer] = []
    bridge: list[layers.Step] = []
    for count, padding, pooled in convolutions:
        shape = (count, channels, 5, 5)
        unfold = layers.Unfold((5, 5), padding=(padding, padding))
        stack.append(Layer(25 * channels, count, activation, bias, (*bridge, unfold), shape))
        height, width = height + 2 * padding - 4, width + 2 * padding - 4
        bridge = [bridges.Image((height, width))]
        if pooled:
            bridge.append(bridges.MaxPool((2, 2), (2, 2)))
            height, width = height // 2, width // 2
        if min(height, width) < 1:
            raise ValueError(f"input_shape: got {list(input_shape)}, too small for {name}")
        channels = count
    bridge.append(bridges.Flatten())
    fan_in = channels * height * width
    for i, fan_out in enumerate(widths):
        last = i + 1 == len(widths)
        stack.append(Layer(fan_in, fan_out, "identity" if last else activation, bias, tuple(bridge), (fan_out, fan_in)))
        fan_in, bridge = fan_out, []
    return Network(tuple(stack), tuple(input_shape), name=name)
