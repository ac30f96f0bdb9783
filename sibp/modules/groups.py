"""Parameter groups: a method's options under torch's roof, checked, and the layer solvers made from them."""

from collections.abc import Callable, Mapping
from copy import copy
from functools import cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sibp.core.options import Bounds, Options, check_number, describe
from sibp.methods.base import columns
from sibp.methods.proxbp import ProxBPOptions, ProxBPSolver
from sibp.methods.proxprop import OracleOptions, ProxPropSolver
from sibp.methods.sibp import SIBPOptions, SIBPSolver

__all__ = ["METHODS", "Group", "Solver", "check_dtype", "check_rate", "option_keys", "snapshot_of"]

Solver = SIBPSolver | ProxBPSolver | ProxPropSolver

METHODS: dict[str, tuple[type[Options], type[Solver]]] = {
    "sibp": (SIBPOptions, SIBPSolver),
    "proxbp": (ProxBPOptions, ProxBPSolver),
    "proxprop": (OracleOptions, ProxPropSolver),
}
INFINITY = float("inf")
SOLVED = (torch.float32, torch.float64)
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
        change = values["max_change"]
        words = "a number > 0, or None for no bound"
        self.max_change = None if change is None else check_number("max_change", change, Bounds(above=0), words)
        self.snapshot = snapshot_of(method)(values)
        self._solvers: dict[tuple[object, ...], Solver] = {}
        self.known: dict[tuple[object, ...], bool] = {}  # see `Update.has_kernel_of_update`

    def _options(self, values: Mapping[str, Any]) -> Options:
        given = {name: values[name] for name in describe(self.kind) if name != "eta"}
        if self.method == "sibp" and str(given["variant"]).startswith("released"):
            raise ValueError(f"variant: got {given['variant']!r}, which sibp.methods.step has, need newton or armijo")
        if "eta" in describe(self.kind):
            given["eta"] = check_rate(values["lr"]) or 1.0  # a schedule may end at 0, where nothing moves
        return self.kind(**given)

    def solver(self, members: int, like: Tensor, rate: float) -> Solver:
        """Return the solver for weights of one kind and step size.

        Args:
            members: E.
            like: a weight, for its dtype and device.
            rate: eta, times the terms of the loss.

        Returns:
            The same object for the same arguments, while it is kept.
        """
        key = (members, like.dtype, like.device)
        solver = self._solvers.get((*key, rate))
        if solver is None:
            if len(self._solvers) >= MOST_SOLVERS:
                self._solvers = {key: solver for key, solver in self._solvers.items() if len(key) == 3}
            if key not in self._solvers:
                self._solvers[key] = self.solver_class(*columns([self.options] * members, like.dtype, like.device))
            solver = self._solvers[*key, rate] = copy(self._solvers[key])  # making one anew would look at the device
            if "eta" in solver.column:
                solver.column = {**solver.column, "eta": torch.full_like(solver.column["eta"], rate)}
        return solver


@cache
def snapshot_of(method: str) -> Callable[[Mapping[str, Any]], tuple[object, ...]]:
    """Return what reads of a group, as torch keeps it, all that a `Group` is made from; the step size is read anew each time.

    Args:
        method: ``sibp``, ``proxbp`` or ``proxprop``.

    Returns:
        A function of the group, whose value is the options but eta.
    """
    return itemgetter(*(name for name in option_keys(method) if name != "lr"), "implicit")


def check_rate(rate: object) -> float:
    """Return a step size as a number.

    Args:
        rate: eta as it stands in a group.

    Returns:
        The number.

    Raises:
        ValueError: if it is not one >= 0.
    """
    if type(rate) is float and 0 <= rate < INFINITY:  # at every step
        return rate
    return check_number("eta", rate, Bounds(least=0), "a number >= 0")


def check_dtype(name: str, parameter: Tensor) -> None:
    """Refuse what the solvers cannot work on.

    Args:
        name: of the parameter.
        parameter: a weight or bias.

    Raises:
        ValueError: for a weight that is not a plain tensor in float32 or float64, by its name.
    """
    if parameter.layout is not torch.strided:
        raise ValueError(f"{name}: is stored as {parameter.layout}, need torch.strided")
    if type(parameter) is nn.Parameter and parameter.dtype in SOLVED:  # most are, and it is asked at every use
        return
    if parameter.dtype not in SOLVED:
        raise ValueError(f"{name}: is {parameter.dtype}, need torch.float32 or torch.float64; torch.autocast is fine")
    if any(base.__name__ == "DTensor" for base in type(parameter).__mro__):
        raise ValueError(f"{name}: is a DTensor, whose rows lie on other devices, need a plain tensor")
