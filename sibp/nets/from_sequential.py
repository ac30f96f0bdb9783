"""Reading a `torch.nn.Sequential` as one of our networks. Parameters are shared, never copied."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from sibp.nets import bridges, layers
from sibp.nets.activations import LEAK
from sibp.nets.layers import Affine, Step
from sibp.nets.network import Layer, Network

__all__ = ["ACTIVATION_MODULES", "check_parameters", "network_of", "parameters_of"]

ACTIVATION_MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.Softplus: "softplus",
    nn.Identity: "identity",
}
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
SUPPORTED = "Linear, Conv2d, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus, Identity, MaxPool2d, Flatten"


def network_of(model: nn.Module, input_shape: tuple[int, ...] | None) -> Network:
    """Return the `Network` that an `nn.Sequential` describes.

    Args:
        model: the module; nested `nn.Sequential`s are read in order.
        input_shape: one sample's shape; None checks the modules without checking sizes.

    Returns:
        The network's structure, named after the model's class; its parameters are `parameters_of(model)`.

    Raises:
        ValueError: for an unsupported module (by name, with what is supported), an activation at the end, a layer that is used
            twice, or sizes that do not fit.
    """
    reading = _Reading(input_shape)
    seen: dict[nn.Module, str] = {}
    for name, module in _modules(model):
        if isinstance(module, nn.Linear | nn.Conv2d) and module in seen:
            raise ValueError(f"model.{name}: is the layer model.{seen[module]} again, need a layer of its own")
        seen[module] = name
        reading.add(name, module)
    return Network(reading.finish(), input_shape or (), name=type(model).__name__)


def _modules(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Return the leaves in order; a module that stands twice comes twice.

    Raises:
        ValueError: for a module that does more than run its children in order, and for one with hooks.
    """
    if type(model).forward is not nn.Sequential.forward:
        raise ValueError(f"model: got {type(model).__name__}, need an nn.Sequential of {SUPPORTED}")
    _refuse_hooks(model, prefix)
    leaves: list[tuple[str, nn.Module]] = []
    for name, module in model._modules.items():  # named_children would drop a module that stands twice
        if isinstance(module, nn.Sequential):
            leaves += _modules(module, f"{prefix}{name}.")
        elif module is not None:
            _refuse_hooks(module, prefix + name)
            leaves.append((prefix + name, module))
    return leaves


def _refuse_hooks(module: nn.Module, name: str) -> None:
    if any(getattr(module, hooks) for hooks in HOOKS):
        raise ValueError(f"{f'model.{name}'.rstrip('.')}: has hooks, which a step would not call; need a module without any")


@dataclass
class _Reading:
    """The layers read so far, and the bridge and sample shape after them; `image` while the rows are still a convolution's."""

    shape: tuple[int, ...] | None
    stack: list[Layer] = field(default_factory=list)
    bridge: list[Step] = field(default_factory=list)
    image: tuple[int, int] | None = None

    def add(self, name: str, module: nn.Module) -> None:
        if self.image is not None and type(module) not in ACTIVATION_MODULES:
            self.bridge.append(bridges.Image(self.image))
            self.image = None
        # not isinstance: a subclass may compute something else
        if type(module) is nn.Linear:
            self.add_linear(name, module)
        elif type(module) is nn.Conv2d:
            self.add_convolution(name, module)
        elif type(module) is nn.MaxPool2d:
            step = _pool(name, module)
            self.bridge.append(step)
            self.shape = _window(name, self.shape, step)
        elif type(module) is nn.Flatten:
            if (module.start_dim, module.end_dim) != (1, -1):
                raise ValueError(f"model.{name}: got {module}, need Flatten(1, -1)")
            self.bridge.append(bridges.Flatten())
            self.shape = None if self.shape is None else (math.prod(self.shape),)
        else:
            self.add_activation(name, module)

    def add_linear(self, name: str, module: nn.Linear) -> None:
        if self.shape is not None and self.shape != (module.in_features,):
            raise ValueError(f"model.{name}: takes {module.in_features} inputs, got samples of shape {self.shape}")
        self.push(module)
        self.shape = (module.out_features,)

    def add_convolution(self, name: str, module: nn.Conv2d) -> None:
        step = _unfold(name, module)
        self.bridge.append(step)
        self.push(module)
        self.shape = _window(name, self.shape, step, (module.in_channels, module.out_channels))
        self.image = (0, 0) if self.shape is None else (self.shape[1], self.shape[2])

    def push(self, module: nn.Linear | nn.Conv2d) -> None:
        shape = tuple(module.weight.shape)
        bias = module.bias is not None
        self.stack.append(Layer(math.prod(shape[1:]), shape[0], "identity", bias, tuple(self.bridge), shape))
        self.bridge = []

    def add_activation(self, name: str, module: nn.Module) -> None:
        kind = ACTIVATION_MODULES.get(type(module))
        if kind is None:
            raise ValueError(f"model.{name}: {type(module).__name__} is not supported, need one of {SUPPORTED}")
        if kind == "leaky_relu" and module.negative_slope != LEAK:
            raise ValueError(f"model.{name}: got {module}, need negative_slope={LEAK}")
        if kind == "softplus" and (module.beta, module.threshold) != (1.0, 20.0):
            raise ValueError(f"model.{name}: got {module}, need beta=1, threshold=20")
        if kind == "identity":
            return
        if not self.bridge and self.stack and self.stack[-1].activation == "identity":
            self.stack[-1] = replace(self.stack[-1], activation=kind)
        else:
            self.bridge.append(bridges.Activate(kind))

    def finish(self) -> tuple[Layer, ...]:
        if not self.stack:
            raise ValueError("model: has no Linear or Conv2d layer")
        last = self.stack[-1]
        if self.bridge or last.activation != "identity" or last.is_convolution:
            raise ValueError("model: must end with a Linear layer and no activation after it")
        return tuple(self.stack)


def _unfold(name: str, module: nn.Conv2d) -> layers.Unfold:
    plain = module.groups == 1 and _pair(module.dilation) == (1, 1) and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str):
        raise ValueError(f"model.{name}: got {module}, need groups=1, dilation=1, zero padding given as numbers")
    return layers.Unfold(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))


def _pool(name: str, module: nn.MaxPool2d) -> bridges.MaxPool:
    if _pair(module.dilation) != (1, 1) or module.ceil_mode or module.return_indices:
        raise ValueError(f"model.{name}: got {module}, need dilation=1, ceil_mode=False, return_indices=False")
    return bridges.MaxPool(_pair(module.kernel_size), _pair(module.stride), _pair(module.padding))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _window(
    name: str,
    shape: tuple[int, ...] | None,
    step: layers.Unfold | bridges.MaxPool,
    channels: tuple[int, int] | None = None,
) -> tuple[int, ...] | None:
    """Return the shape after a sliding window, or None if it is not known; `channels` are those it takes and gives.

    Raises:
        ValueError: if the window does not fit the samples.
    """
    if shape is None:
        return None
    takes, gives = channels or (shape[0], shape[0])
    if len(shape) != 3 or shape[0] != takes:
        images = f"images of {takes} channels" if channels else "images"
        raise ValueError(f"model.{name}: takes {images}, got samples of shape {shape}")
    size = tuple(
        (length + 2 * padding - kernel) // stride + 1
        for length, kernel, stride, padding in zip(shape[1:], step.kernel, step.stride, step.padding, strict=True)
    )
    if min(size) < 1:
        raise ValueError(f"model.{name}: a window of {step.kernel} does not fit samples of shape {shape}")
    return (gives, *size)


def check_parameters(model: nn.Sequential) -> Tensor:
    """Return the first weight, whose dtype and device are those of all parameters.

    Args:
        model: a module.

    Returns:
        That parameter.

    Raises:
        ValueError: naming the first parameter that is not float32 or float64, differs from the first one in dtype or device, is
            frozen while others are not, is another one's again, or is not contiguous; or saying that there is none.
    """
    parameters = list(model.named_parameters(remove_duplicate=False))
    if not parameters:
        raise ValueError("model: has no Linear or Conv2d layer")
    first_name, first = parameters[0]
    names: dict[int, str] = {}
    for name, parameter in parameters:
        if names.setdefault(id(parameter), name) != name:
            raise ValueError(f"model.{name}: is {names[id(parameter)]} again, need a parameter of its own")
        if parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"model.{name}: is {parameter.dtype}, need torch.float32 or torch.float64")
        for what in ("dtype", "device", "requires_grad"):
            mine, others = getattr(parameter, what), getattr(first, what)
            if mine != others:
                raise ValueError(f"model.{name}: {what} is {mine}, need {others} as for {first_name}")
        if not parameter.is_contiguous():
            raise ValueError(f"model.{name}: is not contiguous, need a contiguous tensor")
    return first


def parameters_of(model: nn.Sequential) -> list[Affine]:
    """Return the module's parameters as `Affine` views with E = 1, sharing their storage; see `check_parameters`.

    Args:
        model: an `nn.Sequential` that `network_of` reads, with contiguous parameters.

    Returns:
        One `Affine` per Linear and Conv2d, in order: W `[1, O, I]`, b `[1, 1, O]` or None.
    """
    views = []
    for _, module in _modules(model):
        if isinstance(module, nn.Linear | nn.Conv2d):
            W = module.weight.detach()
            b = None if module.bias is None else module.bias.detach().view(1, 1, -1)
            views.append(Affine(W.view(1, W.shape[0], -1), b))
    return views
