"""The engine of the exhibits on one `torch.nn.Sequential`: one member, its parameters in place."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sibp.core.options import OptionError, Options
from sibp.methods.base import Method
from sibp.methods.registry import build
from sibp.methods.registry import options as options_of
from sibp.nets import losses
from sibp.nets.from_sequential import check_parameters, network_of, parameters_of
from sibp.nets.losses import Loss

__all__ = ["check_batch", "engine_of", "read_options", "step"]


def step(model: nn.Sequential, method: str, x: Tensor, y: Tensor, *, loss: str = "cross-entropy", **options: object) -> Tensor:
    """Make one step of a method on a module, in place, and return the mean loss before it, on the model's device.

    This is what the exhibits run, for checks and comparisons; nothing is kept from one call to the next, so momentum and Adam's
    averages start anew each time. To train a network of one's own there is `sibp.SIBP`.

    Args:
        model: an `nn.Sequential` of Linear, Conv2d, activations, MaxPool2d and Flatten, with no activation at the end.
        method: a key of `METHODS`.
        x: inputs `[B, *input_shape]`, of the parameters' dtype and on their device, B >= 1.
        y: class indices `[B]`, or values `[B, K]` for squared loss.
        loss: ``cross-entropy`` or ``squared``.
        options: the method's, every variant included; see its `Options`.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: for a model, an option or a batch that is not supported, naming it; nothing is changed then.
    """
    member = read_options(method, options)
    engine = engine_of(model, method, losses.get(loss), member, x=x, y=y)
    parameters = parameters_of(model)
    return engine.step(parameters, engine.start(parameters), x.detach().unsqueeze(0), y.detach().unsqueeze(0))[0]


def read_options(method: str, given: Mapping[str, Any]) -> Options:
    """Return a method's options.

    Args:
        method: a key of `METHODS`.
        given: values by name.

    Returns:
        The method's `Options`, with its defaults for the rest.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    try:
        return options_of(method)(**given)
    except OptionError as fault:
        raise ValueError(f"{method}: {fault}") from None


def engine_of(model: nn.Sequential, method: str, loss: Loss, options: Options, *, x: Tensor, y: Tensor) -> Method[Any]:
    """Return a method, ready for a module and a batch, after everything about them has been checked.

    Args:
        model: an `nn.Sequential`, as `step` takes it.
        method: a key of `METHODS`.
        loss: at the output.
        options: the method's.
        x: inputs `[B, *input_shape]`.
        y: class indices `[B]`, or values `[B, K]`.

    Returns:
        The method for one member; whatever `step` refuses is refused with a ValueError.
    """
    weight = check_parameters(model)
    check_batch(weight, x, y)
    network = network_of(model, tuple(x.shape[1:]))
    _check_target(loss, x, y, network.layers[-1].fan_out)
    return build(method, network, loss, [options], dtype=weight.dtype, device=weight.device)


def check_batch(weight: Tensor, x: Tensor, y: Tensor) -> None:
    """Check a batch against the dtype and device of a weight.

    Args:
        weight: of the model.
        x: inputs.
        y: targets.

    Raises:
        ValueError: naming what does not fit, or (on the CPU) holds a number that is not finite.
    """
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name}: got {type(tensor).__name__}, need a torch.Tensor")
        if tensor.device != weight.device:
            raise ValueError(f"{name}: is on {tensor.device}, need the model's device {weight.device}")
    if x.dtype != weight.dtype:
        raise ValueError(f"x: got {x.dtype}, need the model's {weight.dtype}")
    if x.ndim < 2 or x.shape[0] < 1:
        raise ValueError(f"x: got shape {tuple(x.shape)}, need [B, ...] with B >= 1")
    for name, tensor in (("x", x), ("y", y)):
        # on CUDA a look at the values would make the host wait for the device
        if tensor.device.type == "cpu" and not _all_finite(tensor):
            raise ValueError(f"{name}: holds NaN or infinity, need finite numbers")


def _check_target(loss: Loss, x: Tensor, y: Tensor, classes: int) -> None:
    B = x.shape[0]
    if loss.name == "squared" and y.is_floating_point():
        if y.shape != (B, classes):
            raise ValueError(f"y: got shape {tuple(y.shape)}, need [{B}, {classes}]")
        if y.dtype != x.dtype:
            raise ValueError(f"y: got {y.dtype}, need {x.dtype}")
        return
    if y.dtype != torch.int64 or y.shape != (B,):
        raise ValueError(f"y: got {y.dtype} {tuple(y.shape)}, need class indices torch.int64 [{B}]")
    if y.device.type == "cpu" and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"y: classes {int(y.min())}..{int(y.max())}, need 0..{classes - 1}")


def _all_finite(tensor: Tensor) -> bool:
    # a finite sum, which costs a twentieth of looking at every number, has finite terms
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())
