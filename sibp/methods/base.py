"""What every method is: options for one member, columns of them for an ensemble, and one training step in place.

A method is built for a list of members whose non-float options agree; their float options become columns `[E, 1, 1]`. The step
reads a mini-batch `[E or 1, B, ...]` and changes the parameters in place. Nothing is ever summed over E. A `BackpropMethod` makes its
step from one forward pass and the error at the output; `BCD` does not.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import Options
from sibp.nets import propagation
from sibp.nets.layers import Affine
from sibp.nets.losses import Loss
from sibp.nets.network import Network
from sibp.nets.propagation import Trace

__all__ = ["BackpropMethod", "Method", "State", "columns"]

State = dict[str, list[Tensor]]
O = TypeVar("O", bound=Options)


def columns(members: Sequence[Options], dtype: torch.dtype, device: torch.device | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the members' float options as columns, and the first one's other options.

    Args:
        members: one `Options` each.
        dtype: of the columns.
        device: of the columns.

    Returns:
        Columns `[E, 1, 1]` by name, and the other options by name; under ``zero`` those name the columns that are 0 throughout, so that
        nobody has to look for it on a device.
    """
    rows = [vars(member) for member in members]
    shared = {key: value for key, value in rows[0].items() if not isinstance(value, float)}
    column = {
        key: torch.tensor([row[key] for row in rows], dtype=dtype, device=device).reshape(-1, 1, 1)
        for key, value in rows[0].items()
        if isinstance(value, float)
    }
    return column, shared | {"zero": frozenset(key for key in column if not any(row[key] for row in rows))}


class Method(ABC, Generic[O]):
    """One training method for an ensemble.

    Args:
        network: what is trained.
        loss: at the output; reported, and what a `BackpropMethod` descends.
        members: one `Options` each; the fields that are not floats must agree (see `group_key`).
        dtype: of the parameters.
        device: of the parameters.

    Attributes:
        name: the key in experiment files.
        options: the class of its `Options`.
        whole_data: whether every step must see the whole training set in the same order.
        buffers: arrays of the parameters' size that a step holds beside them, about.
        column: float options as `[E, 1, 1]` tensors.
        shared: the other options.
    """

    name: ClassVar[str]
    options: ClassVar[type[Options]]
    whole_data: ClassVar[bool] = False
    buffers: ClassVar[int] = 1

    def __init__(
        self,
        network: Network,
        loss: Loss,
        members: Sequence[O],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        keys = {self.group_key(member) for member in members}
        if len(keys) != 1:
            raise ValueError(f"{self.name}: members of one ensemble must agree in all but float options, got {keys}")
        self.network = network
        self.loss = loss
        self.size = len(members)
        self.column, self.shared = columns(members, dtype, device)
        self.prepare()

    @classmethod
    def group_key(cls, options: O) -> tuple[tuple[str, object], ...]:
        """Return the options that must agree inside one ensemble: all but the floats.

        Args:
            options: of one member.

        Returns:
            Names and values; members with equal keys may train together.
        """
        return tuple((k, v) for k, v in vars(options).items() if not isinstance(v, float))

    @classmethod
    def numbers_per_sample(cls, network: Network) -> int:
        """Return about how many numbers a step holds for each sample of its mini-batch: two copies of every layer's rows.

        Args:
            network: what is trained.

        Returns:
            Numbers per sample and member.
        """
        return 2 * sum(rows * (layer.fan_in + layer.fan_out) for rows, layer in zip(network.rows, network.layers, strict=True))

    @property
    def capture_obstacle(self) -> str | None:
        """Why a step cannot be captured as a CUDA graph, such as a host sync; None where it can."""
        return None

    def prepare(self) -> None:
        """Set up what depends on the network and the options alone, or refuse them with a ValueError."""

    def start(self, parameters: Sequence[Affine]) -> State:  # noqa: ARG002 - most methods keep nothing
        """Return the state before the first step.

        Args:
            parameters: one `Affine` per layer.

        Returns:
            Lists of tensors by name, or nothing.
        """
        return {}

    @abstractmethod
    def step(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on a mini-batch, in place.

        Args:
            parameters: one `Affine` per layer; changed in place.
            state: from `start`; changed in place.
            x: inputs `[E or 1, B, *input_shape]`, in the parameters' dtype.
            y: class indices `[E or 1, B]`, or values `[E or 1, B, K]`.

        Returns:
            The mini-batch's mean losses before the step, `[E]`.
        """


class BackpropMethod(Method[O]):
    """A method whose step is one forward pass, and an update from the error at the output."""

    @override
    @torch.no_grad()
    def step(self, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> Tensor:
        trace = propagation.forward(self.network, parameters, x)
        losses = self.loss.value(trace.output, y)
        self.update(parameters, state, trace, self.loss.delta(trace.output, y))
        return losses

    @abstractmethod
    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        """Change the parameters and the state, in place.

        Args:
            parameters: one `Affine` per layer.
            state: from `start`.
            trace: a forward pass of the parameters; its arrays may be overwritten.
            delta: dL/dF_N of the mini-batch's **sum**, `[E, B, K]`.
        """
