"""Block coordinate descent as an object that steps and can be resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from sibp.methods.base import State
from sibp.methods.bcd import BCD as Engine  # noqa: N811 - the same method, as the exhibits run it
from sibp.methods.sequential import engine_of, read_options
from sibp.nets import losses
from sibp.nets.from_sequential import check_parameters, parameters_of
from sibp.nets.layers import Affine

__all__ = ["BCD"]


class BCD:
    """Block coordinate descent on a ReLU MLP and a whole data set (J 3.3); see `sibp.methods.bcd.BCD` for the formulas.

        opt = sibp.BCD(model, x, y)
        objective = opt.step()

    Args:
        model: an `nn.Sequential` of Linear and ReLU (or no activation), or Flatten first.
        x: all inputs `[B, *input_shape]`; kept, not copied.
        y: class indices `[B]`, or values `[B, K]`.
        alpha: weight of the proximal terms of W, b, U_n (n < N) and V_N, > 0.
        rho: weight of ||V_{n-1} W_n^T + b_n - U_n||^2, > 0.
        gamma: weight of ||V_n - sigma(U_n)||^2, > 0.

    Raises:
        ValueError: for a model, an option or data that is not supported, naming it and what is.
        MemoryError: if the 2 B sum(O) numbers of its state do not fit, before any is allocated.
    """

    def __init__(
        self, model: nn.Sequential, x: Tensor, y: Tensor, *, alpha: float = 1.0, rho: float = 1.0, gamma: float = 1.0
    ) -> None:
        self.options = read_options("bcd", {"alpha": alpha, "rho": rho, "gamma": gamma})
        self.model = model
        self.state: State = {}
        self._engine(x, y).check_memory(len(x))
        self.data = x.detach(), y.detach()

    def step(self) -> Tensor:
        """Make one full sweep.

        Returns:
            The objective after it, a scalar: `objective()`. A model or data that no longer fit are refused with a ValueError; the model is
            left untouched then.
        """
        engine, parameters, x, y = self._ready()
        engine.sweep(parameters, self.state, x, y)
        return engine.objective(parameters, self.state, x, y)[0]

    def objective(self, *, full: bool = False) -> Tensor:
        """Return 1/2 ||V_N - Y||^2 + sum_n rho/2 ||V_{n-1} W_n^T + b_n - U_n||^2, which the authors' program prints.

        Args:
            full: add sum_n gamma/2 ||V_n - sigma_n(U_n)||^2, the rest of what the sweep minimises.

        Returns:
            A scalar. Cost: one product per layer.
        """
        engine, parameters, x, y = self._ready()
        return engine.objective(parameters, self.state, x, y, full=full)[0]

    def _engine(self, x: Tensor, y: Tensor) -> Engine:
        engine = engine_of(self.model, "bcd", losses.get("squared"), self.options, x=x, y=y)
        assert isinstance(engine, Engine)
        return engine

    def _ready(self) -> tuple[Engine, list[Affine], Tensor, Tensor]:
        engine, parameters = self._engine(*self.data), parameters_of(self.model)
        x, y = (tensor.unsqueeze(0) for tensor in self.data)
        engine.begin(parameters, self.state, x)
        return engine, parameters, x, y

    def state_dict(self) -> dict[str, Any]:
        """Return the options and the state, for `torch.save`; the weights are the model's.

        Returns:
            Plain types and tensors, copied.
        """
        state = {name: [tensor.clone() for tensor in tensors] for name, tensors in self.state.items()}
        return {"method": "bcd", "options": asdict(self.options), "state": state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned, onto the model's device; a resumed run gives the bits of one that never stopped.

        Args:
            state_dict: from `state_dict`.

        Raises:
            ValueError: if it is not this method's, or is damaged; nothing is changed then.
        """
        missing = {"method", "options", "state"} - set(state_dict)
        if missing:
            raise ValueError(f"state_dict: has no {', '.join(sorted(missing))}")
        if state_dict["method"] != "bcd":
            raise ValueError(f"state_dict: is of method {state_dict['method']!r}, need 'bcd'")
        options, weight = read_options("bcd", state_dict["options"]), check_parameters(self.model)
        layers = self._engine(*self.data).network.layers
        need = _in_words([((1, len(self.data[0]), layer.fan_out), weight.dtype) for layer in layers])
        try:
            state = {
                name: [tensor.to(weight.device, copy=True) for tensor in tensors] for name, tensors in state_dict["state"].items()
            }
            sizes = {name: _in_words([(tensor.shape, tensor.dtype) for tensor in state[name]]) for name in "UV" if state}
            if state:
                (_,) = state["probe"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"state_dict: is damaged: {error!r}") from None
        for name, size in sizes.items():
            if size != need:
                raise ValueError(f"state_dict: {name} is {size}, need {need} for this model and data")
        self.options, self.state = options, state


def _in_words(tensors: Sequence[tuple[Sequence[int], torch.dtype]]) -> str:
    """Return shapes and dtypes as a message has them, such as ``[1, 12, 8], [1, 12, 3] in float32``."""
    shapes = ", ".join(str(list(shape)) for shape, _ in tensors)
    return f"{shapes} in {' and '.join(sorted({str(dtype).removeprefix('torch.') for _, dtype in tensors}))}"
