"""One step of a method as a CUDA graph: captured once, then replayed with a single launch.

A step of a small network is hundreds of kernels of a few microseconds, and on a GPU their launches cost more than their work.
A step makes no host sync, so it can be captured. Where it cannot, it runs eagerly and `Captured.reason` says why.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.core.messages import first_line
from sibp.methods import Method, State
from sibp.nets import propagation
from sibp.nets.layers import Affine

__all__ = ["Captured", "captured"]

WARM_UP = 3  # steps before the capture, in which libraries set up what a capture must not
MOST = 4  # graphs of one step; each new shape of a mini-batch needs its own


class Graph(NamedTuple):
    """A captured step.

    Attributes:
        x: the buffer that its inputs are copied into.
        y: the buffer that its targets are copied into.
        replay: launches the graph.
        losses: the buffer that a replay writes the mini-batch's mean losses `[E]` to.
    """

    x: Tensor
    y: Tensor
    replay: Callable[[], None]
    losses: Tensor


class Captured:
    """Steps of one method on one set of parameters.

    Args:
        method: built for the members of `parameters`.
        parameters: changed in place by every step.
        state: likewise.

    Attributes:
        reason: why steps run eagerly, or None where they are replayed.
        eager_steps: how many ran eagerly although there is no such reason: their mini-batches had too many different shapes.
    """

    def __init__(self, method: Method, parameters: Sequence[Affine], state: State) -> None:
        self.method, self.parameters, self.state = method, parameters, state
        self.reason = _obstacle(parameters) or method.capture_obstacle
        self.eager_steps = 0
        self._graphs: dict[object, Graph] = {}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step in place, as `Method.step` does.

        Args:
            x: inputs `[E or 1, B, *input_shape]`.
            y: targets.

        Returns:
            The mean losses `[E]` before it.
        """
        graph = self.graph(x, y)
        if graph is None:
            self.eager_steps += self.reason is None
            return self.method.step(self.parameters, self.state, x, y)
        graph.x.copy_(x)
        graph.y.copy_(y)
        graph.replay()
        return graph.losses.clone()  # the next replay writes there again

    def graph(self, x: Tensor, y: Tensor) -> Graph | None:
        """Return the graph for a mini-batch of this shape, captured now if it is new.

        Args:
            x: inputs `[E or 1, B, *input_shape]`.
            y: targets.

        Returns:
            The graph, or None where the step must run eagerly.
        """
        key = (x.shape, x.dtype, y.shape, y.dtype)
        if self.reason is None and key not in self._graphs and len(self._graphs) < MOST:
            graph = self._capture(x.clone(), y.clone())
            if graph is not None:
                self._graphs[key] = graph
        return self._graphs.get(key)

    def _capture(self, x: Tensor, y: Tensor) -> Graph | None:
        """Capture a step on these buffers; the parameters and the state stay as they were.

        Returns:
            The graph, or None where the step cannot be captured: `reason` then says why.

        Raises:
            OutOfMemoryError: if the device is too small for it; a smaller ensemble can be captured.
        """
        lists = {key: list(tensors) for key, tensors in self.state.items()}
        changed = [*propagation.tensors(self.parameters), *(tensor for tensors in lists.values() for tensor in tensors)]
        values, graph = [tensor.clone() for tensor in changed], None
        try:
            graph = Graph(x, y, *record(lambda: self.method.step(self.parameters, self.state, x, y)))
            if not _same(lists, self.state):
                self.reason = f"{self.method.name} replaces its state in a step"
        except torch.OutOfMemoryError:  # a smaller ensemble can be recorded
            raise
        except RuntimeError as error:  # torch's for whatever cannot be recorded
            self.reason = f"not recorded: {_cause(error)}"
        finally:
            self.state.clear()
            self.state.update(lists)
            for tensor, value in zip(changed, values, strict=True):
                tensor.copy_(value)
        return graph if self.reason is None else None


def captured(method: Method, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> Captured:
    """Return a method's step on these parameters and this state, captured for mini-batches of the shape of x and y.

    A mini-batch of another shape is captured when it first comes. On a CPU, or where recording fails, steps run eagerly.

    Args:
        method: built for the members of `parameters`.
        parameters: changed in place by every call, not by this one.
        state: likewise.
        x: an example of the inputs `[E or 1, B, *input_shape]`.
        y: an example of the targets.

    Returns:
        What makes the steps.
    """
    step = Captured(method, parameters, state)
    step.graph(x, y)
    return step


def record(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Warm a step up on a side stream, and capture it.

    Args:
        step: makes the step; called `WARM_UP` + 1 times.

    Returns:
        What replays it, and the tensor that a replay writes its result to. What cannot be captured, such as a host sync, raises torch's
        RuntimeError.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):  # restores the present stream even where the recording fails, which torch's own manager does not
        with torch.cuda.graph(graph, stream=side):
            result = step()
    torch.cuda.current_stream().wait_stream(side)
    return graph.replay, result


def _obstacle(parameters: Sequence[Affine]) -> str | None:
    device = parameters[0].W.device
    return None if device.type == "cuda" else f"a graph needs a CUDA device, the parameters are on {device}"


def _cause(error: BaseException) -> str:
    """Return the first line of what went wrong first: the end of a recording that failed raises an error of its own over it."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)


def _same(lists: State, state: State) -> bool:
    return lists.keys() == state.keys() and all(
        len(before) == len(state[key]) and all(a is b for a, b in zip(before, state[key], strict=True))
        for key, before in lists.items()
    )
