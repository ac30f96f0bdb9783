"""Affine maps on rows, and the bridges that carry values from one affine layer's rows to the next one's.

Letters: E member, B sample, R row, I fan-in, O fan-out, C channel, P output position of a convolution.

A dense layer's rows are its samples, R = B. A convolution's rows are its unfolded patches, R = B P, one per sample and output
position. With that, both are `Z = X W^T + b` and share one subproblem (J Remark 5.1). What lies between two affine maps, such
as pooling, flattening and unfolding, is a *bridge*: a chain of steps without parameters, each with its exact adjoint, so that an
error signal goes back through it as autograd would send it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sibp import activations, native

__all__ = ["Activate", "Affine", "Flatten", "Image", "MaxPool", "Step", "Unfold", "add_cross", "adjoint", "affine", "cross", "gram"]


class Affine(NamedTuple):
    """Parameters of one affine layer: weights W `[E, O, I]` and bias b `[E, 1, O]`, or None for a layer without one."""

    W: Tensor
    b: Tensor | None


def affine(X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """Return Z = X W^T + b, `[E, R, O]`, for X `[E or 1, R, I]`. Cost: one product of R I O multiply-adds per member."""
    if W.shape[0] == 1:  # one member: the plain product is faster than a batch of one
        if b is None:
            return (X[0] @ W[0].mT).unsqueeze(0)
        return torch.addmm(b[0], X[0], W[0].mT).unsqueeze(0)
    X = X.expand(W.shape[0], -1, -1)
    return X @ W.mT if b is None else torch.baddbmm(b, X, W.mT)


def adjoint(D: Tensor, W: Tensor) -> Tensor:
    """Return D W, `[E, R, I]`: the adjoint of `affine` in X, for D `[E, R, O]`. Cost: one product."""
    return (D[0] @ W[0]).unsqueeze(0) if W.shape[0] == 1 else D @ W


def cross(D: Tensor, X: Tensor) -> Tensor:
    """Return D^T X, `[E, O, I]`: the adjoint of `affine` in W, for D `[E, R, O]`. Cost: one product."""
    if native.multiplies(D, X):
        W = D.new_zeros(D.shape[0], D.shape[2], X.shape[2])
        native.add_cross(W, D, X)
        return W
    return D.mT @ X


def add_cross(W: Tensor, D: Tensor, X: Tensor) -> None:
    """Add D^T X to W in place, without a buffer of W's size. Cost: one product."""
    if native.multiplies(D, X) and W.is_contiguous():
        native.add_cross(W, D, X)
    elif W.shape[0] == 1:
        W[0].addmm_(D[0].mT, X[0])
    else:
        W.baddbmm_(D.mT, X.expand(W.shape[0], -1, -1))


def gram(X: Tensor) -> Tensor:
    """Return K = X X^T, `[E, R, R]`. Cost: one product of R^2 I multiply-adds per member."""
    return X @ X.mT


class Step:
    """One parameter-free map of a bridge. `forward` returns the value and what `adjoint` needs to send an error back."""

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        raise NotImplementedError

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Image(Step):
    """Rows `[E, B P, C]` of a convolution to images `[E, B, C, *size]`, where P is the product of size."""

    size: tuple[int, int]

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        height, width = self.size
        E, R, C = x.shape
        return x.reshape(E, R // (height * width), height, width, C).permute(0, 1, 4, 2, 3), None

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        E, B, C, height, width = delta.shape
        return delta.permute(0, 1, 3, 4, 2).reshape(E, B * height * width, C)


@dataclass(frozen=True)
class Flatten(Step):
    """Anything `[E, B, ...]` to `[E, B, features]`."""

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        return x.reshape(*x.shape[:2], -1), x.shape

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        return delta.reshape(kept)


@dataclass(frozen=True)
class Activate(Step):
    """An activation that follows a pooling instead of an affine map."""

    name: str

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        value = activations.get(self.name).value(x)
        return value, (x, value)

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        return delta * activations.get(self.name).slope(*kept)


@dataclass(frozen=True)
class MaxPool(Step):
    """Largest value of each window; the error goes to the position that was largest (the first one on a tie)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        y, index = functional.max_pool2d(x.flatten(0, 1), self.kernel, self.stride, self.padding, return_indices=True)
        return y.unflatten(0, x.shape[:2]), (index, x.shape)

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        index, shape = kept
        flat = delta.new_zeros(shape[0] * shape[1], shape[2], shape[3] * shape[4])
        # windows may overlap, so add instead of setting
        flat.scatter_add_(-1, index.flatten(2), delta.flatten(0, 1).flatten(2))
        return flat.reshape(shape)


@dataclass(frozen=True)
class Unfold(Step):
    """Images `[E, B, C, H, W]` to a convolution's rows of patches `[E, B P, C kh kw]`, in torch's weight order."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    def forward(self, x: Tensor) -> tuple[Tensor, object]:
        E, B = x.shape[:2]
        patches = functional.unfold(x.flatten(0, 1), self.kernel, padding=self.padding, stride=self.stride)
        return patches.mT.reshape(E, -1, patches.shape[1]), (B, x.shape)

    def adjoint(self, delta: Tensor, kept: object) -> Tensor:
        B, shape = kept
        patches = delta.reshape(shape[0] * B, -1, delta.shape[-1]).mT
        image = functional.fold(patches, shape[-2:], self.kernel, padding=self.padding, stride=self.stride)
        return image.reshape(shape)
