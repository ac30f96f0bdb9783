"""Reading an autograd graph before it runs backward: which affine calls it reaches, and what else it differentiates through.

Everything is decided here, before any weight moves: which weights are solved for, over how many uses, and which parameters are left
with an ordinary gradient. The graph is exact where watching the forward pass is not: a call whose output the loss does not use is
not in it, and a weight that is read through a view, a compiled region or somebody's own function is.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.utils.checkpoint import CheckpointFunction

from sibp.modules.functions import AffineFunction
from sibp.modules.problems import Use

__all__ = ["Graph", "Roots", "read_graph"]

Node = Any  # torch's nodes have no common class in Python
AFFINE, LEAF = AffineFunction._backward_cls, type(get_gradient_edge(torch.zeros((), requires_grad=True)).node)  # classes of nodes
CHECKPOINT = CheckpointFunction._backward_cls  # with use_reentrant=True; the other form is in the graph as if it were not there
X_EDGE, W_EDGE, B_EDGE = range(3)  # of a watched affine call's node


@dataclass
class Graph:
    """What a loss depends on.

    Attributes:
        uses: the watched affine calls by their weight's id, those next to the loss first.
        ordinary: leaf tensors that something else differentiates through, by id, with the name of what does.
        output: the affine call next to the loss, if it is a watched one.
        terms: over how many terms the loss is a mean: those of an elementwise loss, else the output layer's rows; None if unknown.
        has_output: whether an affine call has been met, watched or not.
    """

    uses: dict[int, list[Use]] = field(default_factory=dict)
    ordinary: dict[int, tuple[Tensor, str]] = field(default_factory=dict)
    output: Use | None = None
    terms: int | None = None
    has_output: bool = False


class Roots(NamedTuple):
    """Where the reading of a graph begins, and what the forward pass has noted of its nodes.

    Attributes:
        nodes: those of what goes backward.
        means: nodes of losses that are means over all numbers of the output, and how many those are.
        rows: nodes of affine calls that are not watched, and their rows.
    """

    nodes: Iterable[Node]
    means: Mapping[Node, int]
    rows: Mapping[Node, int]


def read_graph(roots: Roots, look_into: Callable[[Node], Roots] | None = None) -> Graph:
    """Walk a graph from its roots, breadth first.

    Args:
        roots: where to begin.
        look_into: returns the roots of what a checkpoint with ``use_reentrant=True`` holds, which is read at once and let go of, so
            that one checkpoint's tensors are held at a time; None to take such checkpoints as nodes like others.

    Returns:
        What the losses depend on. Cost: a microsecond or two per node, and what `look_into` costs.
    """
    graph = Graph()
    _walk(graph, roots, look_into)
    return graph


def _walk(graph: Graph, roots: Roots, look_into: Callable[[Node], Roots] | None) -> None:
    """Add to a graph what is reached from some roots."""
    nodes, means, rows = roots
    queue = deque(nodes)
    seen = set(queue)
    while queue:
        node = queue.popleft()
        use = node.use if type(node) is AFFINE else None
        if use is not None:
            graph.uses.setdefault(id(use.W), []).append(use)
        elif type(node) is CHECKPOINT and look_into is not None:
            _walk(graph, look_into(node), look_into)
        if graph.terms is None:
            graph.terms = means.get(node)
        if not graph.has_output and (use is not None or node in rows):
            graph.has_output, graph.output = True, use
            if graph.terms is None:
                graph.terms = rows[node] if use is None else use.rows
        for edge, (after, _) in enumerate(node.next_functions):
            if after is None:
                continue
            if type(after) is not LEAF:
                if after not in seen:
                    seen.add(after)
                    queue.append(after)
            elif use is None or edge == X_EDGE:
                graph.ordinary.setdefault(id(after.variable), (after.variable, _operation(node)))


def _operation(node: Node) -> str:
    """Return the name of the function that a node is the backward of, as autograd has it, such as ``NativeBatchNorm``."""
    return node.name().rpartition("::")[2].partition("Backward")[0]
