"""Which torch functions mean something here, and how their arguments are read.

A reader takes a function's arguments as torch's callers write them and returns what they mean, or None where the function must
run as it is.
"""

import types
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from sibp.modules.affine import DENSE, TRANSPOSED, AffineMap, Convolution
from sibp.nets.activations import LEAK

__all__ = ["ACTIVATIONS", "AFFINE", "COMPOSITES", "ELEMENTWISE_MEANS", "Call", "transparent"]


Call = tuple[Tensor, Tensor, Tensor | None, AffineMap]  # one call of an affine function: its input, weight, bias and map


_convolution_of = cache(Convolution)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call | None:
    return (input, weight, bias, DENSE) if weight.ndim == 2 else None


def _addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Call | None:
    plain = beta == 1 and alpha == 1 and out is None and input.shape == mat2.shape[1:]
    return (mat1, mat2, input, TRANSPOSED) if plain else None


Sizes = int | tuple[int, ...]


def _convolution(axes: int) -> Callable[..., Call | None]:
    def read(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Call | None:
        if input.ndim != axes + 2:  # one sample without a batch
            return None
        kernel = tuple(weight.shape[2:])
        dilation = _each(dilation, axes)
        if padding == "same":
            totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            if any(total % 2 for total in totals):  # as torch: the odd one on the far side
                input = functional.pad(input, [side for t in reversed(totals) for side in (t // 2, t - t // 2)])
                totals = [0] * axes
            padding = tuple(total // 2 for total in totals)
        elif padding == "valid":
            padding = 0
        elif isinstance(padding, str):  # torch refuses it
            return None
        map_ = _convolution_of(kernel, _each(stride, axes), _each(padding, axes), dilation, groups)
        return input, weight, bias, map_

    return read


def _each(sizes: Sizes, axes: int) -> tuple[int, ...]:
    if isinstance(sizes, int):
        return (sizes,) * axes
    return tuple(sizes) if len(sizes) == axes else tuple(sizes) * axes


AFFINE: dict[Callable, Callable[..., Call | None]] = {
    functional.linear: _linear,
    torch.addmm: _addmm,
    Tensor.addmm: _addmm,
    functional.conv1d: _convolution(1),
    functional.conv2d: _convolution(2),
}


def _named(name: str, *, is_inplace: bool = False) -> Callable[..., tuple[str, bool] | None]:
    return lambda input, inplace=False, out=None: (name, inplace or is_inplace)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> tuple[str, bool] | None:
    return ("leaky_relu", inplace) if negative_slope == LEAK else None


def _softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> tuple[str, bool] | None:
    return ("softplus", False) if (beta, threshold) == (1, 20) else None


# -> (name in sibp.nets.activations, whether it overwrites its input); others have no kernel and little to gain
ACTIVATIONS: dict[Callable, Callable[..., tuple[str, bool] | None]] = {
    **dict.fromkeys([functional.relu, torch.relu, Tensor.relu], _named("relu")),
    **dict.fromkeys([functional.relu_, torch.relu_, Tensor.relu_], _named("relu", is_inplace=True)),
    **dict.fromkeys([functional.sigmoid, torch.sigmoid, Tensor.sigmoid], _named("sigmoid")),
    **dict.fromkeys([functional.tanh, torch.tanh, Tensor.tanh], _named("tanh")),
    functional.leaky_relu: _leaky_relu,
    functional.softplus: _softplus,
}

# Losses whose mean is over all numbers of the output, not over its rows.
ELEMENTWISE_MEANS = {
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
    functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits,
}

# Functions written in Python around affine maps that a mode does not see, since it is off while it handles them.
COMPOSITES = {functional.multi_head_attention_forward}


@cache
def transparent(function: types.FunctionType) -> types.FunctionType:
    """Return a copy of one of torch's composite functions that does not look for modes itself, so that its inside is visible.

    Args:
        function: written in Python, one of `COMPOSITES`.

    Returns:
        A function of the same signature.
    """
    blind = {name: lambda *_: False for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")}
    scope = {**function.__globals__, **blind}
    copy = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
