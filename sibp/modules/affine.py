"""torch's affine functions as affine maps on rows, which is all that a solver knows.

Letters: E member, R row, I fan-in, O fan-out. A map says how a call's input, output, weight and bias look as X `[E, R, I]`,
Z `[E, R, O]`, W `[E, O, I]` and b `[E, 1, O]`, and how an error goes back through it. E is the number of a convolution's groups,
which share nothing; 1 otherwise.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sibp.nets.layers import Patches, Unfold

__all__ = ["DENSE", "TRANSPOSED", "AffineMap", "Convolution", "Dense", "Gradients", "Needs", "pointwise"]

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]  # of X, W and b
Needs = tuple[bool, bool, bool]  # of X, W and b


class AffineMap(ABC):
    """What a solver and a backward pass must know of one affine function.

    A weight W is torch's own, in torch's shape; X and Z are a call's input and output in theirs.
    """

    @property
    @abstractmethod
    def members(self) -> int:
        """E: groups that share nothing."""

    @property
    @abstractmethod
    def layout(self) -> tuple[object, ...]:
        """Equal where weights are treated alike, so that uses can be solved together."""

    @abstractmethod
    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Call torch's function.

        Args:
            X: the input.
            W: the weight.
            b: the bias `[E O]`, or None.

        Returns:
            Z, the output.
        """

    @abstractmethod
    def rows(self, X: Tensor) -> Tensor | Patches:
        """Return a call's input as rows.

        Args:
            X: the input.

        Returns:
            `[E, R, I]`.
        """

    @abstractmethod
    def to_rows(self, Z: Tensor) -> Tensor:
        """Return a call's output, or an error on it, as rows.

        Args:
            Z: the output.

        Returns:
            `[E, R, O]`; a view where memory allows.
        """

    @abstractmethod
    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        """Undo `to_rows`.

        Args:
            Z: rows `[E, R, O]`.
            shape: the output's.

        Returns:
            A tensor of that shape.
        """

    @abstractmethod
    def outputs(self, W: Tensor) -> int:
        """Return the numbers in a row of the output.

        Args:
            W: the weight.

        Returns:
            E O.
        """

    @abstractmethod
    def weight(self, W: Tensor) -> Tensor:
        """Return torch's weight as a solver has it.

        Args:
            W: the weight.

        Returns:
            `[E, O, I]`; a view where memory allows.
        """

    @abstractmethod
    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        """Undo `weight`.

        Args:
            W: `[E, O, I]`.
            shape: that of torch's weight.

        Returns:
            A tensor of that shape.
        """

    @abstractmethod
    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        """Return the error on the input.

        Args:
            error: on the output.
            X: the input, for its shape.
            W: the weight.

        Returns:
            A tensor of X's shape. Cost: one product.
        """

    @abstractmethod
    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: Needs) -> Gradients:
        """Return autograd's gradients.

        Args:
            error: on the output.
            X: the input.
            W: the weight.
            needs: which of X, W and b need one.

        Returns:
            Those of X, W and b, None where it is not needed. Cost: one product for each of X and W.
        """


@dataclass(frozen=True)
class Dense(AffineMap):
    """``linear`` and, with a weight `[I, O]`, ``addmm``: the rows are all leading axes together.

    Attributes:
        transposed: whether the weight is `[I, O]`.
    """

    transposed: bool = False

    @property
    @override
    def members(self) -> int:
        return 1

    @property
    @override
    def layout(self) -> tuple[object, ...]:
        return ("dense", self.transposed)

    @override
    def outputs(self, W: Tensor) -> int:
        return W.shape[1] if self.transposed else W.shape[0]

    @override
    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        if not self.transposed:
            return functional.linear(X, W, b)
        assert b is not None  # which is addmm's first argument
        return torch.addmm(b, X, W)

    @override
    def rows(self, X: Tensor) -> Tensor:
        return X.reshape(1, -1, X.shape[-1])

    @override
    def to_rows(self, Z: Tensor) -> Tensor:
        return Z.reshape(1, -1, Z.shape[-1])

    @override
    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        return Z.view(shape)

    @override
    def weight(self, W: Tensor) -> Tensor:
        return (W.mT if self.transposed else W).unsqueeze(0)

    @override
    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        return W[0].mT if self.transposed else W[0]

    @override
    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        return error @ (W.mT if self.transposed else W)

    @override
    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        D, rows = error.reshape(-1, error.shape[-1]), X.reshape(-1, X.shape[-1])
        gW = (rows.mT @ D if self.transposed else D.mT @ rows) if needs[1] else None
        return self.adjoint(error, X, W) if needs[0] else None, gW, D.sum(0) if needs[2] else None


DENSE, TRANSPOSED = Dense(), Dense(transposed=True)


@dataclass(frozen=True)
class Convolution(AffineMap):
    """``conv1d`` and ``conv2d`` over a batch: a row is an output position of a sample, its numbers are the patch there.

    A convolution in one dimension is one over images of height 1. Plain ones stay folded, see `Patches`; with groups or dilation the
    patches are unfolded.

    Attributes:
        kernel: sizes along the one or two axes.
        stride: likewise.
        padding: likewise, with zeros.
        dilation: likewise.
        groups: E.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    @override
    def members(self) -> int:
        return self.groups

    @property
    @override
    def layout(self) -> tuple[object, ...]:
        return ("convolution", self.groups)

    @override
    def outputs(self, W: Tensor) -> int:
        return W.shape[0]

    @property
    def is_plain(self) -> bool:
        """Whether `Patches` can stand for the rows."""
        return self.groups == 1 and set(self.dilation) == {1}

    @override
    def forward(self, X: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        convolve = functional.conv1d if len(self.kernel) == 1 else functional.conv2d
        return convolve(X, W, b, self.stride, self.padding, self.dilation, self.groups)

    @override
    def rows(self, X: Tensor) -> Tensor | Patches:
        images = X.unsqueeze(2) if len(self.kernel) == 1 else X
        kernel, stride, dilation = (_in_two_axes(sizes, 1) for sizes in (self.kernel, self.stride, self.dilation))
        padding = _in_two_axes(self.padding, 0)
        if self.is_plain:
            return Patches(images.unsqueeze(0), Unfold(kernel, stride, padding))
        patches = functional.unfold(images, kernel, dilation, padding, stride)  # [B, I, P]
        return self.to_rows(patches)

    @override
    def to_rows(self, Z: Tensor) -> Tensor:
        positions = Z.flatten(2).unflatten(1, (self.groups, -1))  # [B, E, O, P]
        return positions.permute(1, 0, 3, 2).reshape(self.groups, -1, positions.shape[2])

    @override
    def from_rows(self, Z: Tensor, shape: torch.Size) -> Tensor:
        split = Z.view(self.groups, shape[0], *shape[2:], -1)  # [E, B, *size, O]
        image = split.movedim(-1, 2)
        return image[0] if self.groups == 1 else image.transpose(0, 1).reshape(shape)

    @override
    def weight(self, W: Tensor) -> Tensor:
        return W.reshape(self.groups, W.shape[0] // self.groups, -1)

    @override
    def from_weight(self, W: Tensor, shape: torch.Size) -> Tensor:
        return W.reshape(shape)

    @override
    def adjoint(self, error: Tensor, X: Tensor, W: Tensor) -> Tensor:
        gX, _, _ = self.gradients(error, X, W, (True, False, False))
        assert gX is not None
        return gX

    @override
    def gradients(self, error: Tensor, X: Tensor, W: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        transposed, zeros = False, [0] * len(self.kernel)
        return torch.ops.aten.convolution_backward(
            error, X, W, [W.shape[0]], self.stride, self.padding, self.dilation, transposed, zeros, self.groups, needs
        )


def _in_two_axes(sizes: tuple[int, ...], first: int) -> tuple[int, int]:
    """Return sizes along two axes; those of one axis are the second one's."""
    return (first, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def pointwise(rows: Tensor) -> Patches:
    """Return rows as the patches of a convolution with a kernel of 1 x 1, for which there are kernels in weight space.

    Args:
        rows: `[E, R, I]`, contiguous.

    Returns:
        Patches of the same shape, over a view.
    """
    E, R, I = rows.shape
    height = math.gcd(R, 256)
    return Patches(rows.view(E, R // height, 1, height, I).permute(0, 1, 4, 2, 3), Unfold((1, 1)))
