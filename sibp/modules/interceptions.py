"""What a watch does with torch's functions that are neither affine maps nor activations."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from sibp.modules import calls
from sibp.modules.graph import Roots, read_graph

__all__ = ["INTERCEPTIONS"]

TENSOR_BACKWARD, BACKWARD, GRAD = map(inspect.signature, (Tensor.backward, torch.autograd.backward, torch.autograd.grad))
TWICE = (
    "create_graph: an implicit layer cannot be differentiated twice (gradient penalties, MAML); "
    'need a group {"params": ..., "implicit": False} for its weight'
)


def _elementwise_mean(watch: Any, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
    """Run a loss that is a mean over all numbers, and remember how many those are.

    Returns:
        The loss.
    """
    loss = function(*args, **kwargs)
    if kwargs.get("reduction", "mean") == "mean" and loss.grad_fn is not None:
        watch.means[loss.grad_fn] = (args[0] if args else kwargs["input"]).numel()
    return loss


def _composite(watch: Any, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    with watch:
        return calls.transparent(function)(*args, **kwargs)


def _tensor_backward(watch: Any, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    given = TENSOR_BACKWARD.bind(*args, **kwargs).arguments
    _go_back(watch, given["self"], given.get("gradient"), given)


def _backward(watch: Any, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
    given = BACKWARD.bind(*args, **kwargs).arguments
    _go_back(watch, given["tensors"], given.get("grad_tensors", given.get("grad_variables")), given)


def _go_back(watch: Any, tensors: Any, gradients: Any, given: Mapping[str, Any]) -> None:
    if given.get("create_graph"):
        raise ValueError(TWICE)
    if given.get("inputs") is not None:
        raise ValueError("backward: got inputs, need none: layers are solved for all parameters at once")
    watch.go_back(tensors, gradients, retain_graph=given.get("retain_graph"))


def _grad(watch: Any, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Any:
    """Compute plain gradients, which move nothing.

    Returns:
        What torch returns.

    Raises:
        ValueError: if an implicit layer would be differentiated twice.
    """
    given = GRAD.bind(*args, **kwargs).arguments
    if given.get("create_graph"):
        outputs = given["outputs"]
        tensors = [outputs] if isinstance(outputs, Tensor) else outputs
        if read_graph(Roots([get_gradient_edge(tensor).node for tensor in tensors], {}, {})).uses:
            raise ValueError(TWICE)
    was_plain, watch.is_plain = watch.is_plain, True
    try:
        return function(*args, **kwargs)
    finally:
        watch.is_plain = was_plain


INTERCEPTIONS: dict[Callable, Callable[[Any, Callable, tuple, Mapping[str, Any]], Any]] = {
    **dict.fromkeys(calls.ELEMENTWISE_MEANS, _elementwise_mean),
    **dict.fromkeys(calls.COMPOSITES, _composite),
    Tensor.backward: _tensor_backward,
    torch.autograd.backward: _backward,
    torch.autograd.grad: _grad,
}
