"""Parameter groups: a method's options under torch's roof, checked, and the layer solvers made from them."""

from collections.abc import Mapping
from copy import copy
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from sibp.core.options import Options, describe
from sibp.methods.base import columns
from sibp.methods.proxbp import ProxBPOptions, ProxBPSolver
from sibp.methods.proxprop import OracleOptions, ProxPropSolver
from sibp.methods.sibp import SIBPOptions, SIBPSolver

__all__ = ["METHODS", "Group", "Solver", "check_dtype", "check_rate", "option_keys"]

Solver = SIBPSolver | ProxBPSolver | ProxPropSolver

METHODS: dict[str, tuple[type[Options], type[Solver]]] = {
    "sibp": (SIBPOptions, SIBPSolver),
    "proxbp": (ProxBPOptions, ProxBPSolver),
    "proxprop": (OracleOptions, ProxPropSolver),
}
MOST_SOLVERS = 64  # kept for one group; a schedule makes a new one every step


@cache
def option_keys(method: str) -> Mapping[str, Any]:
    """Return the names under which a group keeps a method's options; eta is where schedulers look for it, under ``lr``.

    Args:
        method: ``sibp``, ``proxbp`` or ``proxprop``.

    Returns:
        Defaults by name.
    """
    known = describe(METHODS[method][0])
    keys = {"lr" if name == "eta" else name: option.default for name, option in known.items()} | {"max_change": None}
    return MappingProxyType(keys)


class Group:
    """The options of one parameter group, and its solvers.

    Args:
        method: ``sibp``, ``proxbp`` or ``proxprop``.
        values: the group as torch keeps it: eta under ``lr``, the other options and ``max_change`` under their names.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """

    def __init__(self, method: str, values: Mapping[str, Any]) -> None:
        self.method = method
        self.kind, self.solver_class = METHODS[method]
        self.options = self._options(values)
        self.max_change = _bound(values["max_change"])
        self._snapshot = self.snapshot(values)
        self._solvers: dict[tuple[object, ...], Solver] = {}

    def snapshot(self, values: Mapping[str, Any]) -> tuple[object, ...]:
        """Return what must not change for this object to stay right; the step size is read anew each time.

        Args:
            values: the group as torch keeps it.

        Returns:
            All options but eta.
        """
        return (*(values[name] for name in describe(self.kind) if name != "eta"), values["max_change"])

    def is_current(self, values: Mapping[str, Any]) -> bool:
        """Return whether a group still has the options that this was made from.

        Args:
            values: the group as torch keeps it.

        Returns:
            False if an option other than eta has changed.
        """
        return self.snapshot(values) == self._snapshot

    def _options(self, values: Mapping[str, Any]) -> Options:
        given = {name: values[name] for name in describe(self.kind) if name != "eta"}
        if self.method == "sibp" and str(given["variant"]).startswith("released"):
            raise ValueError(f"variant: got {given['variant']!r}, which sibp.methods.step has, need newton or armijo")
        if "eta" in describe(self.kind):
            given["eta"] = check_rate(values["lr"]) or 1.0  # a schedule may end at 0, where nothing moves
        return self.kind(**given)

    def solver(self, like: Tensor, rate: float) -> Solver:
        """Return the solver for weights of one shape and step size.

        Args:
            like: a weight `[E, O, I]`, for the number of members, dtype and device.
            rate: eta, times the terms of the loss.

        Returns:
            The same object for the same arguments, while it is kept.
        """
        key = (like.shape[0], like.dtype, like.device)
        if (*key, rate) not in self._solvers:
            if len(self._solvers) >= MOST_SOLVERS:
                self._solvers = {key: solver for key, solver in self._solvers.items() if len(key) == 3}
            if key not in self._solvers:
                self._solvers[key] = self.solver_class(*columns([self.options] * like.shape[0], like.dtype, like.device))
            solver = self._solvers[*key, rate] = copy(self._solvers[key])  # making one anew would look at the device
            if "eta" in solver.column:
                solver.column = {**solver.column, "eta": torch.full_like(solver.column["eta"], rate)}
        return self._solvers[*key, rate]


def check_rate(rate: object) -> float:
    """Return a step size as a number.

    Args:
        rate: eta as it stands in a group.

    Returns:
        The number.

    Raises:
        ValueError: if it is not one >= 0.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float | Tensor) or not 0 <= float(rate) < float("inf"):
        raise ValueError(f"eta: got {rate!r}, need a number >= 0")
    return float(rate)


def check_dtype(name: str, parameter: Tensor) -> None:
    """Refuse what the solvers cannot work on.

    Args:
        name: of the parameter.
        parameter: a weight or bias.

    Raises:
        ValueError: for a weight that is not a plain tensor in float32 or float64, by its name.
    """
    if parameter.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name}: is {parameter.dtype}, need torch.float32 or torch.float64; torch.autocast is fine")
    if any(base.__name__ == "DTensor" for base in type(parameter).__mro__):
        raise ValueError(f"{name}: is a DTensor, whose rows lie on other devices, need a plain tensor")


def _bound(change: object) -> float | None:
    if change is None:
        return None
    if isinstance(change, bool) or not isinstance(change, int | float) or not 0 < change < float("inf"):
        raise ValueError(f"max_change: got {change!r}, need a number > 0, or None for no bound")
    return float(change)
