"""torch's affine functions as affine maps on rows, which is all that a solver knows.

Letters: E member, R row, I fan-in, O fan-out. A map says how a call's input, output, weight and bias look as X `[E, R, I]`,
Z `[E, R, O]`, W `[E, O, I]` and b `[E, 1, O]`, and how an error goes back through it. E is the number of a convolution's groups,
which share nothing; 1 otherwise.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sibp.nets.layers import Patches, Unfold

__all__ = ["AffineMap", "Convolution", "Dense", "pointwise"]

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class AffineMap(Protocol):
    """What a solver and a backward pass must know of one affine function."""

    members: int
    layout: tuple[object, ...]  # equal where weights are treated alike, so that uses can be solved together

    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Call torch's function."""

    def rows(self, X: Tensor) -> Tensor | Patches:
        """Return a call's input as rows `[E, R, I]`."""

    def to_rows(self, Z: Tensor) -> Tensor:
        """Return a call's output, or an error on it, as rows `[E, R, O]`; a view where memory allows."""

    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        """Undo `to_rows`; `shape` is the output's."""

    def outputs(self, W: Tensor) -> int:
        """Return the numbers in a row of the output."""

    def weight(self, W: Tensor) -> Tensor:
        """Return torch's weight as `[E, O, I]`; a view where memory allows."""

    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        """Undo `weight`; `shape` is that of torch's weight."""

    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        """Return the error on the input, for torch's weight W and an error on the output. Cost: one product."""

    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        """Return autograd's gradients of X, W and b, each where it is needed. Cost: one product for each of X and W."""


@dataclass(frozen=True)
class Dense:
    """``linear`` and, with a weight `[I, O]`, ``addmm``: the rows are all leading axes together."""

    transposed: bool = False
    members = 1

    @property
    def layout(self) -> tuple[object, ...]:
        return ("dense", self.transposed)

    def outputs(self, W: Tensor) -> int:
        return W.shape[1] if self.transposed else W.shape[0]

    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        return torch.addmm(b, X, W) if self.transposed else functional.linear(X, W, b)

    def rows(self, X: Tensor) -> Tensor:
        return X.reshape(1, -1, X.shape[-1])

    def to_rows(self, Z: Tensor) -> Tensor:
        return Z.reshape(1, -1, Z.shape[-1])

    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        return Z.view(shape)

    def weight(self, W: Tensor) -> Tensor:
        return (W.mT if self.transposed else W).unsqueeze(0)

    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        return W[0].mT if self.transposed else W[0]

    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        return error @ (W.mT if self.transposed else W)

    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        D, rows = error.reshape(-1, error.shape[-1]), X.reshape(-1, X.shape[-1])
        gW = (rows.mT @ D if self.transposed else D.mT @ rows) if needs[1] else None
        return self.adjoint(error, X, W) if needs[0] else None, gW, D.sum(0) if needs[2] else None


@dataclass(frozen=True)
class Convolution:
    """``conv1d`` and ``conv2d`` over a batch: a row is an output position of a sample, its numbers are the patch there.

    A convolution in one dimension is one over images of height 1. Plain ones stay folded, see `Patches`; with groups or dilation the
    patches are unfolded.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def members(self) -> int:
        return self.groups

    @property
    def layout(self) -> tuple[object, ...]:
        return ("convolution", self.groups)

    def outputs(self, W: Tensor) -> int:
        return W.shape[0]

    @property
    def is_plain(self) -> bool:
        """Whether `Patches` can stand for the rows."""
        return self.groups == 1 and set(self.dilation) == {1}

    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        convolve = functional.conv1d if len(self.kernel) == 1 else functional.conv2d
        return convolve(X, W, b, self.stride, self.padding, self.dilation, self.groups)

    def rows(self, X: Tensor) -> Tensor | Patches:
        flat = len(self.kernel) == 1
        images = X.unsqueeze(2) if flat else X
        kernel, stride, dilation = ((1, *n) if flat else n for n in (self.kernel, self.stride, self.dilation))
        padding = (0, *self.padding) if flat else self.padding
        if self.is_plain:
            return Patches(images.unsqueeze(0), Unfold(kernel, stride, padding))
        patches = functional.unfold(images, kernel, dilation, padding, stride)  # [B, I, P]
        return self.to_rows(patches)

    def to_rows(self, Z: Tensor) -> Tensor:
        positions = Z.flatten(2).unflatten(1, (self.groups, -1))  # [B, E, O, P]
        return positions.permute(1, 0, 3, 2).reshape(self.groups, -1, positions.shape[2])

    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        split = Z.view(self.groups, shape[0], *shape[2:], -1)  # [E, B, *size, O]
        image = split.movedim(-1, 2)
        return image[0] if self.groups == 1 else image.transpose(0, 1).reshape(shape)

    def weight(self, W: Tensor) -> Tensor:
        return W.reshape(self.groups, W.shape[0] // self.groups, -1)

    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        return W.reshape(shape)

    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        return self.gradients(error, X, W, (True, False, False))[0]

    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        zeros = [0] * len(self.kernel)
        return torch.ops.aten.convolution_backward(
            error, X, W, [W.shape[0]], self.stride, self.padding, self.dilation, False, zeros, self.groups, needs
        )


def pointwise(rows: Tensor) -> Patches:
    """Return rows `[E, R, I]` as the patches of a convolution with a kernel of 1 x 1, for which there are kernels in weight space."""
    E, R, I = rows.shape
    height = math.gcd(R, 256)
    return Patches(rows.view(E, R // height, 1, height, I).permute(0, 1, 4, 2, 3), Unfold((1, 1)))
