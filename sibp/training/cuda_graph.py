"""One step of a method as a CUDA graph: recorded once, then replayed with a single launch.

A step of a small network is hundreds of kernels of a few microseconds, and on a GPU their launches cost more than their work.
A step looks at no value on the host, so it can be recorded. Where it cannot, it runs eagerly and `Captured.reason` says why.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.methods import Method, State
from sibp.nets import propagation
from sibp.nets.layers import Affine

__all__ = ["Captured", "captured"]

WARM_UP = 3  # steps before the recording, in which libraries set up what a recording must not
MOST = 4  # graphs of one step; each new shape of a mini-batch needs its own


class Graph(NamedTuple):
    """A recorded step: where its mini-batch must be put, what replays it, and where its losses appear."""

    x: Tensor
    y: Tensor
    replay: Callable[[], None]
    losses: Tensor


class Captured:
    """Steps of one method on one set of parameters; made by `captured`.

    Attributes:
        reason: why steps run eagerly, or None where they are replayed.
        eager_steps: how many did although there is no such reason: their mini-batches had too many different shapes.
    """

    def __init__(self, method: Method, parameters: Sequence[Affine], state: State) -> None:
        self.method, self.parameters, self.state = method, parameters, state
        self.reason = _obstacle(parameters) or method.capture_obstacle
        self.eager_steps = 0
        self._graphs: dict[object, Graph] = {}

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step in place and return the mean losses `[E]` before it, as `Method.step` does."""
        graph = self.graph(x, y)
        if graph is None:
            self.eager_steps += self.reason is None
            return self.method.step(self.parameters, self.state, x, y)
        graph.x.copy_(x)
        graph.y.copy_(y)
        graph.replay()
        return graph.losses.clone()  # the next replay writes there again

    def graph(self, x: Tensor, y: Tensor) -> Graph | None:
        """Return the graph for a mini-batch of this shape, recorded now if it is new; None where the step must run eagerly."""
        key = (x.shape, x.dtype, y.shape, y.dtype)
        if self.reason is None and key not in self._graphs and len(self._graphs) < MOST:
            recorded = self._record(x.clone(), y.clone())
            if recorded is not None:
                self._graphs[key] = recorded
        return self._graphs.get(key)

    def _record(self, x: Tensor, y: Tensor) -> Graph | None:
        """Record a step on these buffers; the parameters and the state stay as they were."""
        lists = {key: list(tensors) for key, tensors in self.state.items()}
        kept = [*propagation.tensors(self.parameters), *(tensor for tensors in lists.values() for tensor in tensors)]
        values = [tensor.clone() for tensor in kept]
        try:
            replay, losses = record(lambda: self.method.step(self.parameters, self.state, x, y))
            if not _same(lists, self.state):
                self.reason = f"{self.method.name} replaces its state in a step"
        except torch.OutOfMemoryError:  # a smaller ensemble can be recorded
            raise
        except RuntimeError as error:  # torch's for whatever cannot be recorded
            self.reason = f"not recorded: {_cause(error)}"
        finally:
            self.state.clear()
            self.state.update(lists)
            for tensor, value in zip(kept, values, strict=True):
                tensor.copy_(value)
        return Graph(x, y, replay, losses) if self.reason is None else None


def captured(method: Method, parameters: Sequence[Affine], state: State, x: Tensor, y: Tensor) -> Captured:
    """Return a method's step on these parameters and this state, recorded for mini-batches of the shape of x and y.

    A mini-batch of another shape is recorded when it first comes. On a CPU, or where recording fails, steps run eagerly.

    Args:
        method: built for the members of `parameters`.
        parameters: changed in place by every call, not by this one.
        state: likewise.
        x: an example of the inputs `[E or 1, B, *input_shape]`.
        y: an example of the targets.
    """
    step = Captured(method, parameters, state)
    step.graph(x, y)
    return step


def record(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Warm a step up on a side stream, record it, and return what replays it and the tensor that a replay writes its result to.

    Raises:
        RuntimeError: if something in the step cannot be recorded, such as a look at a value on the host.
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
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _same(lists: State, state: State) -> bool:
    return lists.keys() == state.keys() and all(
        len(before) == len(state[key]) and all(a is b for a, b in zip(before, state[key], strict=True))
        for key, before in lists.items()
    )
