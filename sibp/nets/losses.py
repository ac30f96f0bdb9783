"""Losses L(F_N, Y) at the identity output layer, per member.

Two scales are in use and must not be mixed: a reported `value` is the **mean** over the mini-batch, as torch has it; `delta`
is dL/dF_N of the **sum** over the mini-batch, as J 4.1 writes it, so that eta and lam mean what they mean in the papers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sibp.core import messages

__all__ = ["LOSSES", "Loss", "accuracy", "get"]


@dataclass(frozen=True)
class Loss:
    """A loss over outputs F `[E, B, K]` and targets y: class indices `[E, B]`, or values `[E, B, K]` for squared error.

    Attributes:
        name: the key in experiment files.
        value: (F, y) -> `[E]`, mean over the batch.
        delta: (F, y) -> `[E, B, K]`, derivative of the sum over the batch.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    delta: Callable[[Tensor, Tensor], Tensor]


def one_hot(F: Tensor, y: Tensor) -> Tensor:
    """Return targets in F's shape: class indices become one-hot rows, values pass through.

    Args:
        F: outputs `[E, B, K]`, for shape, dtype and device.
        y: class indices `[E, B]`, or values `[E, B, K]`.

    Returns:
        Y `[E, B, K]`.
    """
    if y.is_floating_point():
        return y
    return torch.zeros_like(F).scatter_(-1, y.unsqueeze(-1).expand(*F.shape[:-1], 1), 1.0)


def _cross_entropy(F: Tensor, y: Tensor) -> Tensor:
    picked = F.gather(-1, y.unsqueeze(-1).expand(*F.shape[:-1], 1)).squeeze(-1)
    return (F.logsumexp(-1) - picked).mean(-1)


def _cross_entropy_delta(F: Tensor, y: Tensor) -> Tensor:
    # softmax(F) - Y; a scattered sum would be made deterministic on CUDA by sorting
    hit = y.unsqueeze(-1) == torch.arange(F.shape[-1], device=F.device)
    return F.softmax(-1).sub_(hit.to(F.dtype))


def _squared(F: Tensor, y: Tensor) -> Tensor:
    return (F - one_hot(F, y)).square().sum(-1).mean(-1)


def _squared_delta(F: Tensor, y: Tensor) -> Tensor:
    return 2 * (F - one_hot(F, y))


LOSSES = {
    "cross-entropy": Loss("cross-entropy", _cross_entropy, _cross_entropy_delta),
    "squared": Loss("squared", _squared, _squared_delta),
}


def get(name: str) -> Loss:
    """Return the loss of that name: ``cross-entropy`` -log softmax(F)_y, or ``squared`` ||F - Y||^2 (J 5.1, without 1/2).

    Args:
        name: a key of `LOSSES`.

    Returns:
        The loss's value and derivative.

    Raises:
        ValueError: if there is none.
    """
    if name not in LOSSES:
        raise ValueError(f"loss: {messages.need(name, LOSSES)}")
    return LOSSES[name]


def accuracy(F: Tensor, y: Tensor) -> Tensor:
    """Return the share of rows whose largest output is the target's class; NaN outputs count as wrong.

    Args:
        F: outputs `[E, B, K]`.
        y: class indices `[E or 1, B]`.

    Returns:
        Accuracies `[E]` in [0, 1], float64.
    """
    hit = (F.argmax(-1) == y) & F.isfinite().all(-1)
    return hit.to(torch.float64).mean(-1)
