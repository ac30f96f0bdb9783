"""Deciding, before anything moves, what becomes of every parameter in a backward pass."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

from sibp.modules.graph import Graph
from sibp.modules.problems import Use

__all__ = ["Fate", "check_uses", "decide"]

NOT_IMPLICIT = "in a group with implicit: False"


class Fate(NamedTuple):
    """What becomes of a weight in a backward pass.

    Attributes:
        uses: how many uses its subproblem joins; 0 for an ordinary gradient.
        with_bias: whether the bias is solved for, too.
    """

    uses: int
    with_bias: bool = False


def decide(graph: Graph, names: Mapping[int, str], weights: Set[int]) -> tuple[dict[int, Fate], dict[int, str]]:
    """Return what becomes of every weight of a graph, and why the other parameters in it get ordinary gradients.

    Args:
        graph: of the loss.
        names: of all parameters, by id.
        weights: the ids of those that may be solved for.

    Returns:
        Fates and reasons, both by the parameter's id.
    """
    left = {
        key: f"used by {operation}" if key in weights else NOT_IMPLICIT
        for key, (_, operation) in graph.ordinary.items()
        if key in names
    }
    users: dict[int, set[int]] = {}  # of a bias: the weights that it is used with
    for key, uses in graph.uses.items():
        for use in uses:
            users.setdefault(id(use.b), set()).add(key)
    fates = {}
    for key, uses in graph.uses.items():
        if key in left:
            left[key] = f"also {left[key]}"
        elif len(uses) > 1 and any(use.map.layout != uses[0].map.layout or use.b is not uses[0].b for use in uses):
            left[key] = "used in different ways"
        fate = fates[key] = Fate(0) if key in left else Fate(len(uses), _is_solved_for(uses[0], users, weights, left))
        if not fate.with_bias:
            for bias in _biases(uses) & names.keys():
                left.setdefault(bias, left.get(key) or ("shared by layers" if bias in weights else NOT_IMPLICIT))
    return fates, left


def _is_solved_for(use: Use, users: Mapping[int, set[int]], weights: Set[int], left: Mapping[int, str]) -> bool:
    """Return whether a use's bias is solved for with its weight."""
    b = use.b
    return b is not None and b.requires_grad and id(b) in weights and id(b) not in left and len(users[id(b)]) == 1


def _biases(uses: Sequence[Use]) -> set[int]:
    """Return the ids of some uses' biases that get gradients."""
    return {id(use.b) for use in uses if use.b is not None and use.b.requires_grad}


def check_uses(graph: Graph, watch: Any) -> None:
    """Refuse a graph of weights that have moved since or already in this step, or that somebody else watched.

    Args:
        graph: of the loss.
        watch: who is about to run it backward.

    Raises:
        RuntimeError: naming the first of them.
    """
    for key, uses in graph.uses.items():
        for use in uses:
            names = use.watch.names
            if use.watch is not watch:
                need = "need forward and backward in one closure or `with`, and a closure for each optimizer"
                raise RuntimeError(f"{names[key]}: was used under another optimizer or in another step, {need}")
            is_stale = use.W._version != use.version
            if is_stale or (watch.update.in_place and key in watch.solved):
                when = "since it was used" if is_stale else "already in this step"
                raise RuntimeError(f"{names[key]}: has moved {when}, need one backward over the sum of the losses")
