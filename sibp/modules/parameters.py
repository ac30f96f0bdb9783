"""Parameter groups in torch's habit, for whatever trains layers implicitly.

What may be solved for, with which options, and what a report says of it.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sibp.core import messages
from sibp.core.options import Bounds, check_number, plain
from sibp.modules.groups import Group, check_dtype, check_rate, option_keys, snapshot_of
from sibp.modules.problems import Terms
from sibp.modules.update import Update
from sibp.modules.watch import Watch

__all__ = ["Parameters", "check_terms"]

TORCHS_KEYS = {"params", "param_names", "initial_lr"}  # the last is a scheduler's


class _Index(NamedTuple):
    """What a step looks parameters up in, and what it was made of: options and groups, and the ids of those and the parameters."""

    groups: list[Any]
    keys: list[int]
    names: dict[int, str]
    weights: dict[int, tuple[Group, dict[str, Any]]]


class Parameters(torch.optim.Optimizer):
    """The parameters of a model in groups, each with the options of a method.

    Args:
        params: what every torch optimizer takes: an iterable of tensors, of (name, tensor) pairs or of groups.
        method: ``sibp``, ``proxbp`` or ``proxprop``.
        options: the method's, and ``max_change``; the defaults of all groups.

    Raises:
        ValueError: for an option that is unknown or out of range, or a parameter that cannot be trained, by its name.
    """

    def __init__(self, params: Iterable[Any], method: str, options: Mapping[str, Any]) -> None:
        if isinstance(params, nn.Module):
            raise ValueError(f"params: got a {type(params).__name__}, need its parameters: model.parameters()")
        if isinstance(params, str):
            raise ValueError(f"params: got {params!r}, need tensors, such as model.parameters()")
        self.method = method
        self._options: list[Group | None] = []
        self._index: _Index | None = None
        _hide_from_compiler()
        super().__init__(params, {**option_keys(method), **_under_lr(options), "implicit": True})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; ``{"params": ..., "implicit": False}`` is one whose parameters get ordinary gradients.

        Args:
            param_group: parameters and options; what is missing is the optimizer's default.

        Raises:
            ValueError: as the constructor does; nothing is added then.
        """
        group = _under_lr(param_group)
        known = {*option_keys(self.method), *TORCHS_KEYS, "implicit", "rest"}
        if group.get("implicit", True):
            for name in group.keys() - known:
                allowed = ["eta", *option_keys(self.method), "implicit"]
                raise ValueError(
                    f"{name}: unknown key of a group, need one of {', '.join(allowed)}{messages.suggest(name, allowed)}"
                )
        else:  # whatever else it has is for `rest`
            own = group.keys() - TORCHS_KEYS - {"implicit", "rest"}
            group.setdefault("rest", {name: group.pop(name) for name in own})
        super().add_param_group(group)
        values = self.param_groups[-1]
        for name in option_keys(self.method) if values["implicit"] else ():
            if not (name == "lr" and isinstance(values[name], Tensor)):  # which a scheduler changes in place
                values[name] = plain(values[name])
        try:
            self._options.append(self._check(values, len(self.param_groups) - 1))
        except ValueError:
            self.param_groups.pop()
            raise

    def _check(self, values: Mapping[str, Any], number: int) -> Group | None:
        if not isinstance(values["implicit"], bool):
            raise ValueError(f"implicit: got {values['implicit']!r}, need True or False")
        if not values["implicit"]:
            return None
        for name, parameter in _named(values, number):
            if parameter.is_floating_point() or parameter.is_complex():
                check_dtype(name, parameter)
        return Group(self.method, values)

    def current(self) -> list[Group | None]:
        """Check every group's options as they are now.

        Returns:
            One `Group` each; None for one that is not implicit.

        Raises:
            ValueError: if somebody has set a value that is not allowed, or set ``eta``, which stands under ``lr``.
        """
        read = snapshot_of(self.method)
        for i, values in enumerate(self.param_groups):
            known = self._options[i] if i < len(self._options) else None
            if "eta" in values:
                raise ValueError("eta: is kept under 'lr', where schedulers find it, need group['lr'] = ...")
            if "lr" in values:
                check_rate(values["lr"])
            if known is None or read(values) != known.snapshot:
                self._options[i : i + 1] = [self._check(values, i)]
        return self._options

    def all_named(self) -> list[tuple[str, Tensor]]:
        """Return all parameters with their names: the model's, if `named_parameters()` were given."""
        return [pair for i, group in enumerate(self.param_groups) for pair in _named(group, i)]

    def names(self) -> dict[int, str]:
        """Return the name of every parameter by its id."""
        return {id(parameter): name for name, parameter in self.all_named()}

    def check_groups(self, groups: Any) -> None:
        """Check groups as `state_dict` has them against these parameters.

        Args:
            groups: its ``param_groups``.

        Raises:
            ValueError: naming what does not fit.
        """
        shapes = [len(group["params"]) for group in self.param_groups]
        try:
            theirs = [len(group["params"]) for group in groups]
            for group in groups:
                if group["implicit"]:
                    Group(self.method, group)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"state_dict: param_groups are damaged: {error!r}") from None
        if theirs != shapes:
            raise ValueError(f"state_dict: has groups of {theirs} parameters, need {shapes}")

    def watch(self, terms: Terms, allow: Callable[[Mapping[int, str]], None], *, in_place: bool) -> Watch:
        """Return a watch over the groups that are implicit.

        Args:
            terms: over how many terms the loss is a mean, see `check_terms`.
            allow: may refuse what is left with ordinary gradients, see `Watch`.
            in_place: whether the parameters move, or autograd gets their moves as gradients.

        Returns:
            A context for one forward and backward pass.
        """
        index = self._indexed(self.current())
        update = Update(self.method, index.weights, in_place=in_place)
        return Watch(index.names, index.weights.keys(), update, check_terms(terms), allow)

    def _indexed(self, options: list[Group | None]) -> "_Index":
        """Return what a step looks parameters up in, made anew where groups or their options are others."""
        groups = [*options, *self.param_groups]
        keys = [*map(id, groups), *map(id, chain.from_iterable([values["params"] for values in self.param_groups]))]
        index = self._index
        if index is None or index.keys != keys:
            pairs = zip(options, self.param_groups, strict=True)
            weights = {id(p): (group, values) for group, values in pairs if group is not None for p in values["params"]}
            index = self._index = _Index(groups, keys, self.names(), weights)
        return index

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to take an option as an attribute, where nobody would read it.

        Raises:
            AttributeError: naming the key of the group that keeps it.
        """
        if name[0] != "_" and (name == "eta" or name in option_keys(self.__dict__.get("method", "sibp"))):
            raise AttributeError(f"{name}: is kept in the groups, need group[{'lr' if name == 'eta' else name!r}] of param_groups")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "method": self.method, "_options": [], "_index": None}


@cache
def _hide_from_compiler() -> None:
    """Let torch.compile break its graphs at what a watch does instead of reading it: what is kept on a tensor would be lost."""
    from torch._dynamo import trace_rules  # every torch optimizer imports it anyway

    from sibp.kernels import launches  # noqa: F401, with what torch's FlopCounterMode must know; costs little after that import

    trace_rules.add("sibp.modules")


def _under_lr(values: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(values)
    if "eta" in values:
        values["lr"] = values.pop("eta")
    return values


def _named(group: Mapping[str, Any], number: int) -> list[tuple[str, Tensor]]:
    parameters = group["params"]
    names = group.get("param_names") or [f"parameter {i} of group {number}" for i in range(len(parameters))]
    return list(zip(names, parameters, strict=True))


def check_terms(terms: object) -> Terms:
    """Check over how many terms a loss is a mean.

    Args:
        terms: a number > 0, ``"sum"`` for a loss that is a sum, or None to take it from the graph.

    Returns:
        `terms`; a number as Python's.

    Raises:
        ValueError: if it is none of those.
    """
    if terms is None:
        return None
    if isinstance(terms, str) and terms == "sum":
        return "sum"
    return check_number("terms", terms, Bounds(above=0), "a number > 0, 'sum', or None for the output layer's rows")
