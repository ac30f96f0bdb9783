"""The methods on one's own `torch.nn.Sequential`, in the manner of a torch optimizer.

    model = sibp.mlp([784, 500, 10], std=0.01, seed=0)
    opt = sibp.SIBP(model, eta=0.1, lam=0.5)
    for x, y in batches:
        loss = opt.step(x, y)

The methods need the forward pass, not its gradient, so a step takes the batch and there is no `backward()`. The module's parameters are
changed in place and shared with whoever else holds them.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from sibp import losses, methods, models
from sibp.convert import network_of, parameters_of, to_module
from sibp.methods.base import Method

__all__ = ["SIBP", "ProxBP", "mlp"]


def mlp(
    widths: list[int],
    std: float = 0.01,
    seed: int = 0,
    activation: str = "relu",
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> nn.Sequential:
    """Return an `nn.Sequential` of `nn.Linear` and activations, weights and biases ~ N(0, std^2) from `seed`.

    Args:
        widths: layer sizes, input first, e.g. ``[784, 500, 10]``; at least two.
        std: standard deviation, > 0 or 0.
        seed: the numbers are those of member `seed` in the experiments.
        activation: after every layer but the last; one of `sibp.activations.ACTIVATIONS`.
        bias: whether layers have one.
        dtype: float32 or float64.
        device: where the parameters live.

    Raises:
        ValueError: for fewer than two widths, a width below 1, or a negative std.
    """
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise ValueError(f"widths: got {widths}, need at least two numbers >= 1")
    if not 0 <= std < math.inf:
        raise ValueError(f"std: got {std}, need a number >= 0")
    return to_module(models.mlp(widths, activation, bias), seed=seed, std=std, dtype=dtype, device=device)


class Optimizer:
    """A method on one module: checks at the door, then `step`. Not for direct use; see `SIBP` and `ProxBP`."""

    method: ClassVar[str]

    def __init__(self, model: nn.Sequential, loss: str = "cross-entropy", **options: object) -> None:
        try:
            self.options = methods.options(self.method)(**options)
        except ValidationError as error:
            raise ValueError(f"{type(self).__name__}: {one_line(error)}") from None
        self.model = model
        self.loss = losses.get(loss)
        self.state: dict[str, list[Tensor]] | None = None
        self._engine: Method | None = None
        self._seen: tuple[object, ...] = ()
        network_of(model, None)  # refuse an unsupported layer now, not at the first step

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on a mini-batch and return its mean loss before the step, a scalar on the model's device.

        Args:
            x: inputs `[B, *input_shape]`, of the parameters' dtype and on their device, B >= 1.
            y: class indices `[B]`, or values `[B, K]` for squared loss.

        Raises:
            ValueError: if x or y does not fit the model; the model is left untouched.
        """
        engine = self._prepare(x, y)
        parameters = parameters_of(self.model)
        if self.state is None:
            self.state = engine.start(parameters)
        return engine.step(parameters, self.state, x.detach().unsqueeze(0), y.detach().unsqueeze(0))[0]

    def _prepare(self, x: Tensor, y: Tensor) -> Method:
        weight = next(self.model.parameters())
        for name, tensor in (("x", x), ("y", y)):
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{name}: got {type(tensor).__name__}, need a torch.Tensor")
            if tensor.device != weight.device:
                raise ValueError(f"{name}: is on {tensor.device}, need the model's device {weight.device}")
        if x.dtype != weight.dtype:
            raise ValueError(f"x: got {x.dtype}, need the model's {weight.dtype}")
        if x.ndim < 2 or x.shape[0] < 1:
            raise ValueError(f"x: got shape {tuple(x.shape)}, need [B, ...] with B >= 1")
        seen = (x.shape[1:], weight.dtype, weight.device)
        if seen != self._seen:
            network = network_of(self.model, tuple(x.shape[1:]))
            self._engine = methods.build(self.method, network, self.loss, [self.options], dtype=weight.dtype, device=weight.device)
            self._seen = seen
        self._check_target(x, y, self._engine.network.layers[-1].fan_out)
        return self._engine

    def _check_target(self, x: Tensor, y: Tensor, classes: int) -> None:
        B = x.shape[0]
        if self.loss.name == "squared" and y.is_floating_point():
            if y.shape != (B, classes):
                raise ValueError(f"y: got shape {tuple(y.shape)}, need [{B}, {classes}]")
            if y.dtype != x.dtype:
                raise ValueError(f"y: got {y.dtype}, need {x.dtype}")
            return
        if y.dtype != torch.int64 or y.shape != (B,):
            raise ValueError(f"y: got {y.dtype} {tuple(y.shape)}, need class indices torch.int64 [{B}]")
        if y.device.type == "cpu" and not 0 <= int(y.min()) <= int(y.max()) < classes:
            # on CUDA this look would wait for the device at every step
            raise ValueError(f"y: classes {int(y.min())}..{int(y.max())}, need 0..{classes - 1}")

    def state_dict(self) -> dict[str, object]:
        """Return the options and the state, in plain types and tensors, for `torch.save`; the weights are the model's."""
        return {
            "method": self.method,
            "loss": self.loss.name,
            "options": self.options.model_dump(),
            "state": None if self.state is None else {k: [t.clone() for t in v] for k, v in self.state.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, object]) -> None:
        """Take back what `state_dict` returned; going on gives the same bits as never having stopped.

        Raises:
            ValueError: if it is not this method's.
        """
        if state_dict.get("method") != self.method:
            raise ValueError(f"state_dict: is of method {state_dict.get('method')!r}, need {self.method!r}")
        self.options = methods.options(self.method)(**state_dict["options"])
        self.loss = losses.get(state_dict["loss"])
        state = state_dict["state"]
        self.state = None if state is None else {k: [t.clone() for t in v] for k, v in state.items()}
        self._seen = ()


def one_line(error: ValidationError) -> str:
    """Return the first complaint of a validation as `field: got value, message`."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown option"
    return f"{place}: got {first['input']!r}, {first['msg'][0].lower()}{first['msg'][1:]}"


class SIBP(Optimizer):
    """Semi-implicit back propagation on a module (J 4.1-4.2, Algorithm 1); see `sibp.methods.sibp.SIBP` for the formulas.

    Args:
        model: an `nn.Sequential` of Linear, Conv2d, activations, MaxPool2d and Flatten, with no activation at the end.
        loss: ``cross-entropy`` or ``squared``.
        options: ``eta``, ``lam``, ``cg_steps``, ``variant``, ``space``; see `sibp.methods.sibp.SIBPOptions`.

    Raises:
        ValueError: for a model or an option that is not supported, naming it and what is.
    """

    method = "sibp"


class ProxBP(Optimizer):
    """Proximal back propagation on a module (J 3.2); see `sibp.methods.proxbp.ProxBP` for the formulas.

    Args:
        model: as for `SIBP`.
        loss: ``cross-entropy`` or ``squared``.
        options: ``eta``, ``lam``, ``solver``, ``cg_steps``, ``space``; see `sibp.methods.proxbp.ProxBPOptions`.

    Raises:
        ValueError: for a model or an option that is not supported, naming it and what is.
    """

    method = "proxbp"
