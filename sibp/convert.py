"""Between `torch.nn.Sequential` and our networks. Parameters are shared, never copied."""

import math

import torch
from torch import nn

from sibp import layers, models
from sibp.layers import Affine, Step
from sibp.models import Layer, Network

__all__ = ["network_of", "parameters_of", "to_module"]

ACTIVATION_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Softplus: "softplus",
    nn.Identity: "identity",
}
SUPPORTED = "Linear, Conv2d, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus, Identity, MaxPool2d, Flatten"


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return torch's int-or-pair as a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def network_of(model: nn.Module, input_shape: tuple[int, ...] | None) -> Network:
    """Return the `Network` that an `nn.Sequential` describes.

    Args:
        model: the module; nested `nn.Sequential`s are read in order.
        input_shape: one sample's shape; None checks the modules without checking sizes.

    Raises:
        ValueError: for an unsupported module (by name, with what is supported), an activation at the end, or sizes
            that do not fit.
    """
    if not isinstance(model, nn.Sequential):
        raise ValueError(f"model: got {type(model).__name__}, need an nn.Sequential of {SUPPORTED}")
    stack: list[Layer] = []
    bridge: list[Step] = []
    shape = input_shape
    image: tuple[int, int] | None = None  # positions of the last affine layer, while its rows are still rows
    for name, module in _modules(model):
        if image is not None and not isinstance(module, tuple(ACTIVATION_MODULES)):
            bridge.append(layers.Image(image))
            image = None
        if isinstance(module, nn.Linear):
            if shape is not None and shape != (module.in_features,):
                raise ValueError(f"model.{name}: takes {module.in_features} inputs, got samples of shape {shape}")
            stack.append(_layer(module, (module.out_features, module.in_features), bridge))
            shape, bridge = (module.out_features,), []
        elif isinstance(module, nn.Conv2d):
            step = _unfold(name, module)
            stack.append(_layer(module, tuple(module.weight.shape), [*bridge, step]))
            shape, bridge = _convolved(name, shape, module.in_channels, module.out_channels, step), []
            image = shape[1:] if shape is not None else (0, 0)
        elif isinstance(module, nn.MaxPool2d):
            step = _pool(name, module)
            bridge.append(step)
            channels = None if shape is None else shape[0]
            shape = _convolved(name, shape, channels, channels, step)
        elif isinstance(module, nn.Flatten):
            if (module.start_dim, module.end_dim) != (1, -1):
                raise ValueError(f"model.{name}: got {module}, need Flatten(1, -1)")
            bridge.append(layers.Flatten())
            shape = None if shape is None else (math.prod(shape),)
        else:
            _activate(name, module, stack, bridge)
    _check_end(stack, bridge)
    return Network(tuple(stack), input_shape or (), name=type(model).__name__)


def _modules(model: nn.Sequential, prefix: str = "") -> list[tuple[str, nn.Module]]:
    found: list[tuple[str, nn.Module]] = []
    for name, module in model.named_children():
        if isinstance(module, nn.Sequential):
            found += _modules(module, f"{prefix}{name}.")
        else:
            found.append((prefix + name, module))
    return found


def _layer(module: nn.Linear | nn.Conv2d, weight_shape: tuple[int, ...], bridge: list[Step]) -> Layer:
    fan_in = math.prod(weight_shape[1:])
    return Layer(fan_in, weight_shape[0], "identity", module.bias is not None, tuple(bridge), weight_shape)


def _unfold(name: str, module: nn.Conv2d) -> layers.Unfold:
    plain = module.groups == 1 and pair(module.dilation) == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        raise ValueError(f"model.{name}: got {module}, need groups=1, dilation=1, zero padding given as numbers")
    return layers.Unfold(pair(module.kernel_size), pair(module.stride), pair(module.padding))


def _pool(name: str, module: nn.MaxPool2d) -> layers.MaxPool:
    if pair(module.dilation) != (1, 1) or module.ceil_mode or module.return_indices:
        raise ValueError(f"model.{name}: got {module}, need dilation=1, ceil_mode=False, return_indices=False")
    return layers.MaxPool(pair(module.kernel_size), pair(module.stride), pair(module.padding))


def _convolved(
    name: str,
    shape: tuple[int, ...] | None,
    channels_in: int | None,
    channels_out: int | None,
    step: layers.Unfold | layers.MaxPool,
) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if len(shape) != 3 or shape[0] != channels_in:
        raise ValueError(f"model.{name}: takes images of {channels_in or 'C'} channels, got samples of shape {shape}")
    size = tuple(
        (length + 2 * padding - kernel) // stride + 1
        for length, kernel, stride, padding in zip(shape[1:], step.kernel, step.stride, step.padding, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"model.{name}: a window of {step.kernel} does not fit samples of shape {shape}")
    return (channels_out, *size)


def _activate(name: str, module: nn.Module, stack: list[Layer], bridge: list[Step]) -> None:
    kind = ACTIVATION_MODULES.get(type(module))
    if kind is None:
        raise ValueError(f"model.{name}: {type(module).__name__} is not supported, need one of {SUPPORTED}")
    if kind == "leaky_relu" and module.negative_slope != 0.01:
        raise ValueError(f"model.{name}: got {module}, need negative_slope=0.01")
    if kind == "softplus" and (module.beta, module.threshold) != (1.0, 20.0):
        raise ValueError(f"model.{name}: got {module}, need beta=1, threshold=20")
    if kind == "identity":
        return
    if not bridge and stack and stack[-1].activation == "identity":
        last = stack[-1]
        stack[-1] = Layer(last.fan_in, last.fan_out, kind, last.bias, last.bridge, last.weight_shape)
    else:
        bridge.append(layers.Activate(kind))


def _check_end(stack: list[Layer], bridge: list[Step]) -> None:
    if not stack:
        raise ValueError("model: has no Linear or Conv2d layer")
    last = stack[-1]
    if bridge or last.activation != "identity" or len(last.weight_shape) != 2:
        raise ValueError("model: must end with a Linear layer and no activation after it")


def parameters_of(model: nn.Sequential) -> list[Affine]:
    """Return the module's parameters as `Affine` views with E = 1, sharing their storage.

    Raises:
        ValueError: for a weight that is not contiguous, which cannot be viewed as a matrix.
    """
    views = []
    for name, module in _modules(model):
        if isinstance(module, nn.Linear | nn.Conv2d):
            W = module.weight.detach()
            if not W.is_contiguous():
                raise ValueError(f"model.{name}.weight: is not contiguous, need a contiguous tensor")
            b = None if module.bias is None else module.bias.detach().view(1, 1, -1)
            views.append(Affine(W.view(1, W.shape[0], -1), b))
    return views


def to_module(
    network: Network,
    seed: int,
    std: float,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """Return the `nn.Sequential` of a network, with the initial parameters of member `seed`."""
    modules: list[nn.Module] = []
    by_name = {name: module for module, name in ACTIVATION_MODULES.items()}
    for layer in network.layers:
        modules += _bridge_modules(layer)
        if layer.activation != "identity":
            modules.append(by_name[layer.activation]())
    model = nn.Sequential(*modules).to(device=device, dtype=dtype)
    drawn = models.initialise(network, [seed], std=std, dtype=dtype, device=device)
    for mine, theirs in zip(parameters_of(model), drawn, strict=True):
        mine.W.copy_(theirs.W)
        if mine.b is not None:
            mine.b.copy_(theirs.b)
    return model


def _bridge_modules(layer: Layer) -> list[nn.Module]:
    modules: list[nn.Module] = []
    for step in layer.bridge:
        if isinstance(step, layers.MaxPool):
            modules.append(nn.MaxPool2d(step.kernel, step.stride, step.padding))
        elif isinstance(step, layers.Flatten):
            modules.append(nn.Flatten())
        elif isinstance(step, layers.Unfold):
            out, channels = layer.weight_shape[:2]
            convolution = nn.Conv2d(channels, out, step.kernel, step.stride, step.padding, bias=layer.bias)
            return [*modules, convolution]
    return [*modules, nn.Linear(layer.fan_in, layer.fan_out, bias=layer.bias)]
