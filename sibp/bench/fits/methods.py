"""The methods that are compared: each makes one step on a loss."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sibp.optim import SIBP, Oracle

__all__ = ["METHODS", "Step"]

Closure = Callable[[], Tensor]
Step = Callable[[Closure], Tensor]  # makes one step and returns the loss before it, detached
PLAIN = nullcontext()  # the loss's own gradients


def _gradient(optimizer: torch.optim.Optimizer, oracle: Oracle | nullcontext[None] = PLAIN) -> Step:
    def step(closure: Closure) -> Tensor:
        optimizer.zero_grad()
        with oracle:
            loss = closure()
            loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _sgd(model: nn.Module, **options: Any) -> Step:
    return _gradient(torch.optim.SGD(model.parameters(), **options))


def _adamw(model: nn.Module, **options: Any) -> Step:
    return _gradient(torch.optim.AdamW(model.parameters(), **options))


def _sibp(model: nn.Module, rest_lr: float = 1e-3, **options: Any) -> Step:
    return SIBP(model.parameters(), rest=lambda params: torch.optim.AdamW(params, lr=rest_lr), **options).step


def _proxprop(model: nn.Module, lr: float = 1e-3, **options: Any) -> Step:
    oracle = Oracle(model.parameters(), "proxprop", **options)
    return _gradient(torch.optim.Adam(model.parameters(), lr=lr), oracle)


METHODS: Mapping[str, Callable[..., Step]] = {"sgd": _sgd, "adamw": _adamw, "sibp": _sibp, "proxprop": _proxprop}
