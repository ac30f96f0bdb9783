"""Affine maps on rows, and what a bridge between two of them is; its other steps are in `bridges`.

Letters: E member, B sample, R row, I fan-in, O fan-out, C channel, P output position of a convolution.

A dense layer's rows are its samples, R = B. A convolution's rows are its patches, R = B P, one per sample and output position. With
that, both are `Z = X W^T + b` and share one subproblem (J Remark 5.1). `Patches` stands for a convolution's rows without unfolding
them. What lies between two affine maps, such as pooling and flattening, is a *bridge*: a chain of steps without parameters, each with
its exact adjoint, so that an error signal goes back through it as autograd would send it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight
from typing_extensions import override

from sibp.kernels import cpu

__all__ = [
    "Adjoint",
    "Affine",
    "Patches",
    "Step",
    "Unfold",
    "add_cross",
    "adjoint",
    "affine",
    "cross",
    "gram",
    "matrix",
]


class Affine(NamedTuple):
    """Parameters of one affine layer: weights W `[E, O, I]` and bias b `[E, 1, O]`, or None for a layer without one."""

    W: Tensor
    b: Tensor | None


class Patches:
    """A convolution's rows X `[E, R, I]`, R = B P and I = C kh kw in torch's weight order, as the images they are patches of.

    On the CPU torch's convolutions and our kernels read the images, and nothing holds the kh kw copies of every number that
    a matrix of patches has; elsewhere, and where a solver needs a matrix, `rows` unfolds them once.

    Args:
        images: `[E or 1, B, C, H, W]`, in any memory order.
        step: kernel, stride and padding.
    """

    def __init__(self, images: Tensor, step: "Unfold") -> None:
        self.images = images
        self.step = step
        sides = zip(images.shape[3:], step.kernel, step.stride, step.padding, strict=True)
        height, width = ((length + 2 * padding - kernel) // stride + 1 for length, kernel, stride, padding in sides)
        self.size = (height, width)
        rows, inputs = images.shape[1] * math.prod(self.size), images.shape[2] * math.prod(step.kernel)
        self.shape = torch.Size((images.shape[0], rows, inputs))

    @cached_property
    def rows(self) -> Tensor:
        """X as a matrix: views of the padded images and one copy, where CUDA's `unfold` would launch a kernel for every image."""
        images, ((kh, kw), (sh, sw), (ph, pw)) = self.images.flatten(0, 1), (self.step.kernel, self.step.stride, self.step.padding)
        if ph or pw:
            images = functional.pad(images, (pw, pw, ph, ph))
        windows = images.unfold(2, kh, sh).unfold(3, kw, sw)  # [EB, C, H', W', kh, kw]
        return windows.permute(0, 2, 3, 1, 4, 5).reshape(self.shape)

    def expand(self, members: int, *sizes: int) -> "Patches":
        """Return the same rows for each of E members, as a tensor's `expand` does.

        Args:
            members: E.
            sizes: of the other axes, -1 each; only there so that it is called as a tensor's.

        Returns:
            Patches of shape `[E, R, I]` that share the images, and the unfolded rows if there are any.

        Raises:
            ValueError: for another size.
        """
        if any(size != -1 for size in sizes):
            raise ValueError(f"expand: got {sizes}, need -1 for all axes but the first")
        if members == self.shape[0]:
            return self
        other = Patches(self.images.expand(members, -1, -1, -1, -1), self.step)
        if "rows" in vars(self):
            vars(other)["rows"] = self.rows.expand(members, -1, -1)
        return other

    @property
    def folded(self) -> bool:
        """Whether products are convolutions of the images, without unfolded rows: on the CPU, where that needs less memory."""
        return self.images.device.type == "cpu"

    def affine(self, W: Tensor, b: Tensor | None) -> Tensor:
        """Return Z = X W^T + b by a convolution of the images.

        Args:
            W: weights `[E, O, I]`.
            b: bias `[E, 1, O]`, or None.

        Returns:
            Z `[E, R, O]`. Cost: one convolution per member, R I O multiply-adds.
        """

        def convolve(images: Tensor, kernel: Tensor, e: int) -> Tensor:
            kernel = kernel.contiguous(memory_format=torch.channels_last)  # then so is the output, in the order of the rows
            return functional.conv2d(images, kernel, None if b is None else b[e, 0], self.step.stride, self.step.padding)

        return self._each(W, lambda e, images, kernel: self._to_rows(convolve(images, kernel, e)))

    def adjoint(self, D: Tensor, W: Tensor) -> Tensor:
        """Return the adjoint of X -> X W^T: the error on the images, where all patches that share a number are added up.

        Args:
            D: dL/dZ `[E, R, O]`.
            W: weights `[E, O, I]`.

        Returns:
            dL/dimages `[E, B, C, H, W]`. Cost: one transposed convolution per member, R I O multiply-adds.
        """
        step = self.step
        if not self.folded:
            patches = (D @ W).reshape(len(W) * self.images.shape[1], -1, W.shape[2]).mT
            folded = functional.fold(patches, self.images.shape[3:], step.kernel, padding=step.padding, stride=step.stride)
            return folded.reshape(len(W), *self.images.shape[1:])
        return self._each(
            W, lambda e, images, kernel: conv2d_input(images.shape, kernel, self._to_images(D[e]), step.stride, step.padding)
        )

    def cross(self, D: Tensor) -> Tensor:
        """Return D^T X, the gradient in W, by a convolution of the images with the error.

        Args:
            D: dL/dZ `[E, R, O]`.

        Returns:
            D^T X `[E, O, I]`. Cost: one convolution per member, R I O multiply-adds.
        """
        shape = (D.shape[2], self.images.shape[2], *self.step.kernel)
        parts = [
            conv2d_weight(self._of(e), shape, self._to_images(D[e]), self.step.stride, self.step.padding) for e in range(len(D))
        ]
        return torch.stack(parts).flatten(2)

    def _of(self, e: int) -> Tensor:
        return self.images[e if self.images.shape[0] > 1 else 0]

    def _each(self, W: Tensor, map_: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """Map (e, images, kernel) of each member to its part.

        Returns:
            The parts, stacked; with one member nothing is copied.
        """
        kernels = W.reshape(*W.shape[:2], self.images.shape[2], *self.step.kernel)
        parts = [map_(e, self._of(e), kernels[e]) for e in range(len(W))]
        return torch.stack(parts) if len(parts) > 1 else parts[0].unsqueeze(0)

    def _to_rows(self, image: Tensor) -> Tensor:
        return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])

    def _to_images(self, D: Tensor) -> Tensor:
        return D.reshape(-1, *self.size, D.shape[1]).permute(0, 3, 1, 2)


def matrix(X: Tensor | Patches) -> Tensor:
    """Return the rows as one tensor; patches are unfolded, once.

    Args:
        X: rows `[E, R, I]`.

    Returns:
        X `[E, R, I]`.
    """
    return X.rows if isinstance(X, Patches) else X


def affine(X: Tensor | Patches, W: Tensor, b: Tensor | None) -> Tensor:
    """Return Z = X W^T + b (J 2.1).

    Args:
        X: rows `[E or 1, R, I]`.
        W: weights `[E, O, I]`.
        b: bias `[E, 1, O]`, or None.

    Returns:
        Z `[E, R, O]`. Cost: one product of R I O multiply-adds per member.
    """
    if isinstance(X, Patches):
        if X.folded:
            return X.affine(W, b)
        X = X.rows
    if W.shape[0] == 1:  # one member: the plain product is faster than a batch of one
        if b is None:
            return (X[0] @ W[0].mT).unsqueeze(0)
        return torch.addmm(b[0], X[0], W[0].mT).unsqueeze(0)
    X = X.expand(W.shape[0], -1, -1)
    return X @ W.mT if b is None else torch.baddbmm(b, X, W.mT)


def adjoint(D: Tensor, W: Tensor, X: Tensor | Patches) -> Tensor:
    """Return the adjoint of `affine` in X: D W, or for patches the error on their images, see `Patches.adjoint`.

    Args:
        D: dL/dZ `[E, R, O]`.
        W: weights `[E, O, I]`.
        X: the layer's rows; of a tensor nothing is read.

    Returns:
        dL/dX `[E, R, I]`, or dL/dimages `[E, B, C, H, W]`. Cost: one product.
    """
    if isinstance(X, Patches):
        return X.adjoint(D, W)
    return (D[0] @ W[0]).unsqueeze(0) if W.shape[0] == 1 else D @ W


def cross(D: Tensor, X: Tensor | Patches) -> Tensor:
    """Return D^T X, the adjoint of `affine` in W.

    Args:
        D: dL/dZ `[E, R, O]`.
        X: rows `[E, R, I]`.

    Returns:
        D^T X `[E, O, I]`. Cost: one product.
    """
    if isinstance(X, Patches):
        if X.folded:
            return X.cross(D)
        X = X.rows
    if cpu.multiplies(D, X):
        W = D.new_zeros(D.shape[0], D.shape[2], X.shape[2])
        cpu.add_cross(W, D, X)
        return W
    return D.mT @ X


def add_cross(W: Tensor, D: Tensor, X: Tensor | Patches) -> None:
    """Add D^T X to W in place; for a tensor X without a buffer of W's size.

    Args:
        W: `[E, O, I]`, changed in place.
        D: `[E, R, O]`.
        X: rows `[E, R, I]`. Cost: one product.
    """
    if isinstance(X, Patches):
        W += cross(D, X)
    elif cpu.multiplies(D, X) and W.is_contiguous():
        cpu.add_cross(W, D, X)
    elif W.shape[0] == 1:
        W[0].addmm_(D[0].mT, X[0])
    else:
        W.baddbmm_(D.mT, X.expand(W.shape[0], -1, -1))


def gram(X: Tensor | Patches) -> Tensor:
    """Return K = X X^T.

    Args:
        X: rows `[E, R, I]`.

    Returns:
        K `[E, R, R]`. Cost: one product of R^2 I multiply-adds per member.
    """
    X = matrix(X)
    return X @ X.mT


Adjoint = Callable[[Tensor], Tensor]


class Step(ABC):
    """One parameter-free map of a bridge, with its exact adjoint."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor | Patches, Adjoint]:
        """Apply the map, and say how an error comes back through it.

        Args:
            x: `[E, ...]`.

        Returns:
            The value, rows or images, and the adjoint at x: an error of the value's shape -> one of x's shape.
        """


@dataclass(frozen=True)
class Unfold(Step):
    """Images `[E, B, C, H, W]` to a convolution's rows; an error comes back on the images, see `layers.adjoint`."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @override
    def forward(self, x: Tensor) -> tuple[Patches, Adjoint]:
        return Patches(x, self), lambda delta: delta  # layers.adjoint has added up what patches share
