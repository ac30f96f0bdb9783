"""What an affine map and an activation are in autograd's graph while a watch looks on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from sibp.modules.problems import Use

__all__ = ["ActivationFunction", "AffineFunction"]


class AffineFunction(torch.autograd.Function):
    """An affine function whose backward is the layer's update."""

    @staticmethod
    @override
    def forward(ctx: Any, X: Tensor, W: Tensor, b: Tensor | None, use: Use) -> Tensor:
        ctx.use = use
        ctx.save_for_backward(X)
        Z = use.map.forward(X, W, b)
        return torch.ops.aten._unsafe_view(Z, Z.shape) if Z._is_view() else Z  # a view could not be changed in place, as Z may

    @staticmethod
    @override
    def backward(ctx: Any, *errors: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.use.watch.affine_backward(ctx.use, ctx.saved_tensors[0], *errors, ctx.needs_input_grad[:3]), None


class ActivationFunction(torch.autograd.Function):
    """An activation right after a watched affine call."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        Z: Tensor,
        name: str,
        use: Use,
        inplace: bool,
        function: Callable[..., Tensor],
        args: tuple,
        kwargs: dict[str, Any],
    ) -> Tensor:
        ctx.name, ctx.use = name, use
        ctx.save_for_backward(Z.clone() if inplace else Z)
        value = function(Z, *args, **kwargs)
        if inplace:
            ctx.mark_dirty(Z)
        return value

    @staticmethod
    @override
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor | None, ...]:
        error = ctx.use.watch.activation_backward(ctx.use, ctx.name, ctx.saved_tensors[0], *deltas)
        return error, None, None, None, None, None, None
