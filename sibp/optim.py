"""The methods on one's own `torch.nn.Sequential`, in the manner of a torch optimizer.

    model = sibp.mlp([784, 500, 10], std=0.01, seed=0)
    opt = sibp.SIBP(model, eta=0.1, lam=0.5)
    for x, y in batches:
        loss = opt.step(x, y)

The methods need the forward pass, not its gradient, so a step takes the batch and there is no `backward()`. The module's
parameters are changed in place and shared with whoever else holds them. All that can be wrong is checked before any change.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from sibp.core import messages
from sibp.methods import State, build, get
from sibp.methods.base import Method, Options
from sibp.methods.proxprop import OracleOptions
from sibp.nets import losses
from sibp.nets.convert import check_parameters, network_of, parameters_of
from sibp.nets.layers import Affine
from sibp.nets.zoo import lenet, mlp

__all__ = ["BCD", "SIBP", "ProxBP", "ProxProp", "lenet", "mlp"]


class Front:
    """A method of the engine on one module: options, and checks at the door. Not for direct use."""

    method: ClassVar[str]

    def __init__(self, model: nn.Sequential, loss: str = "cross-entropy", **options: object) -> None:
        self.options = self._options(options)
        self.model = model
        self.loss = losses.get(loss)
        self._engine: Method | None = None
        self._seen: tuple[object, ...] = ()
        network_of(model, None)  # refuse an unsupported layer now, not at the first step
        check_parameters(model)

    def _accepts(self) -> type[Options]:
        """Return the class of the options that this front takes."""
        return get(self.method).options

    def _options(self, given: Mapping[str, object]) -> Options:
        try:
            return self._accepts()(**given)
        except ValidationError as error:
            raise ValueError(f"{type(self).__name__}: {messages.explain(error, self._accepts())}") from None

    def _prepare(self, x: Tensor, y: Tensor) -> Method:
        """Return the engine for this batch, after everything about the model and the batch has been checked."""
        weight = check_parameters(self.model)
        for name, tensor in (("x", x), ("y", y)):
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{name}: got {type(tensor).__name__}, need a torch.Tensor")
            if tensor.device != weight.device:
                raise ValueError(f"{name}: is on {tensor.device}, need the model's device {weight.device}")
        if x.dtype != weight.dtype:
            raise ValueError(f"x: got {x.dtype}, need the model's {weight.dtype}")
        if x.ndim < 2 or x.shape[0] < 1:
            raise ValueError(f"x: got shape {tuple(x.shape)}, need [B, ...] with B >= 1")
        seen = (x.shape[1:], weight.dtype, weight.device, *map(id, self.model.modules()))
        if seen != self._seen:  # also when a module was exchanged
            self._engine, self._seen = self._build(tuple(x.shape[1:]), weight), seen
        self._check_target(x, y, self._engine.network.layers[-1].fan_out)
        for name, tensor in (("x", x), ("y", y)):
            # on CUDA a look at the values would make the host wait for the device at every step
            if tensor.device.type == "cpu" and not _all_finite(tensor):
                raise ValueError(f"{name}: holds NaN or infinity, need finite numbers")
        return self._engine

    def _build(self, input_shape: tuple[int, ...], weight: Tensor) -> Method:
        network = network_of(self.model, input_shape)
        members = [get(self.method).options(**self.options.model_dump())]
        return build(self.method, network, self.loss, members, dtype=weight.dtype, device=weight.device)

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
            raise ValueError(f"y: classes {int(y.min())}..{int(y.max())}, need 0..{classes - 1}")


def _all_finite(tensor: Tensor) -> bool:
    # a finite sum, which costs a twentieth of looking at every number, has finite terms
    return bool(tensor.sum().isfinite() or tensor.isfinite().all())


class Stateful(Front):
    """A front that steps by itself and can be saved and resumed."""

    def __init__(self, model: nn.Sequential, loss: str = "cross-entropy", **options: object) -> None:
        super().__init__(model, loss, **options)
        self.state: State | None = None

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

        The state goes to the model's device.

        Raises:
            ValueError: if it is not this method's, or is damaged; nothing is changed then.
        """
        missing = {"method", "loss", "options", "state"} - set(state_dict)
        if missing:
            raise ValueError(f"state_dict: has no {', '.join(sorted(missing))}")
        if state_dict["method"] != self.method:
            raise ValueError(f"state_dict: is of method {state_dict['method']!r}, need {self.method!r}")
        options, loss, state = self._options(state_dict["options"]), losses.get(state_dict["loss"]), state_dict["state"]
        device = check_parameters(self.model).device
        if state is not None:
            state = {k: [t.to(device, copy=True) for t in v] for k, v in state.items()}
        self.options, self.loss, self.state, self._seen = options, loss, state, ()


class Optimizer(Stateful):
    """A front that steps on mini-batches."""

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on a mini-batch and return its mean loss before the step, a scalar on the model's device.

        Args:
            x: inputs `[B, *input_shape]`, of the parameters' dtype and on their device, B >= 1.
            y: class indices `[B]`, or values `[B, K]` for squared loss.

        Raises:
            ValueError: if x or y does not fit the model, or (on the CPU) holds a number that is not finite or a class out of
                range; the model is left untouched.
        """
        engine = self._prepare(x, y)
        parameters = parameters_of(self.model)
        if self.state is None:
            self.state = engine.start(parameters)
        return engine.step(parameters, self.state, x.detach().unsqueeze(0), y.detach().unsqueeze(0))[0]


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


class ProxProp(Front):
    """ProxProp as a first-order oracle (P 5.3): fills the gradients, any torch optimizer steps; see `sibp.methods.proxprop`.

        oracle = sibp.ProxProp(model, tau_prox=1.0, cg_steps=3)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for x, y in batches:
            loss = oracle.backward(x, y)
            optimizer.step()

    Args:
        model: as for `SIBP`.
        loss: ``cross-entropy`` or ``squared``.
        options: ``tau_prox``, ``solver``, ``cg_steps``, ``variant``, ``tolerance``, ``reduction``, ``space``; see
            `sibp.methods.proxprop.OracleOptions`.

    Raises:
        ValueError: for a model or an option that is not supported, naming it and what is.
    """

    method = "proxprop"

    def _accepts(self) -> type[Options]:
        return OracleOptions

    @torch.no_grad()
    def backward(self, x: Tensor, y: Tensor) -> Tensor:
        """Write theta_k - theta+ into every parameter's `grad` (the last layer's is the gradient) and return the loss.

        Gradients are set, not added to, so no `zero_grad` is needed. The loss is the mean or sum over the mini-batch, as
        `reduction` says.

        Args:
            x: inputs `[B, *input_shape]`, of the parameters' dtype and on their device, B >= 1.
            y: class indices `[B]`, or values `[B, K]` for squared loss.

        Raises:
            ValueError: as `SIBP.step`; the gradients are left untouched.
        """
        engine = self._prepare(x, y)
        loss, directions = engine.loss_and_directions(parameters_of(self.model), x.detach().unsqueeze(0), y.detach().unsqueeze(0))
        for parameter, direction in zip(self.model.parameters(), directions, strict=True):
            parameter.grad = direction.reshape(parameter.shape)
        return loss[0]


class BCD(Stateful):
    """Block coordinate descent on a ReLU MLP and a whole data set (J 3.3); see `sibp.methods.bcd.BCD` for the formulas.

    Args:
        model: an `nn.Sequential` of Linear and ReLU (or no activation), or Flatten first.
        x: all inputs `[B, *input_shape]`; kept, not copied.
        y: class indices `[B]`, or values `[B, K]`.
        options: ``alpha``, ``rho``, ``gamma``; see `sibp.methods.bcd.BCDOptions`.

    Raises:
        ValueError: for a model, an option or data that is not supported, naming it and what is.
        MemoryError: if the 2 B sum(O) numbers of its state do not fit, before any is allocated.
    """

    method = "bcd"

    def __init__(self, model: nn.Sequential, x: Tensor, y: Tensor, **options: object) -> None:
        super().__init__(model, "squared", **options)
        self._prepare(x, y).check_memory(len(x))
        self.data = x.detach(), y.detach()

    def step(self) -> Tensor:
        """Make one full sweep and return the objective after it, a scalar: `objective()`.

        Raises:
            ValueError: if the model or the data no longer fit; the model is left untouched.
        """
        engine, parameters, x, y = self._ready()
        engine.sweep(parameters, self.state, x, y)
        return engine.objective(parameters, self.state, x, y)[0]

    def objective(self, full: bool = False) -> Tensor:
        """Return 1/2 ||V_N - Y||^2 + sum_n rho/2 ||V_{n-1} W_n^T + b_n - U_n||^2, which the authors' program prints.

        Args:
            full: add sum_n gamma/2 ||V_n - sigma_n(U_n)||^2, the rest of what the sweep minimises.
        """
        engine, parameters, x, y = self._ready()
        return engine.objective(parameters, self.state, x, y, full)[0]

    def _ready(self) -> tuple[Method, list[Affine], Tensor, Tensor]:
        engine = self._prepare(*self.data)
        parameters = parameters_of(self.model)
        x, y = (tensor.unsqueeze(0) for tensor in self.data)
        self.state = self.state or {}
        engine.begin(parameters, self.state, x)
        return engine, parameters, x, y
