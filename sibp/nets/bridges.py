"""The steps of a bridge that make no patches: rows to images, pooling, flattening, an activation of its own.

Letters: E member, B sample, R row, C channel, P output position of a convolution.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from sibp.nets import activations
from sibp.nets.layers import Adjoint, Step

__all__ = ["Activate", "Flatten", "Image", "MaxPool", "to_rows"]


def to_rows(images: Tensor) -> Tensor:
    """Return a convolution's output as rows, which `Image` turns into images.

    Args:
        images: `[E, B, C, H, W]`.

    Returns:
        Rows `[E, B H W, C]`.
    """
    E, B, C, height, width = images.shape
    return images.permute(0, 1, 3, 4, 2).reshape(E, B * height * width, C)


@dataclass(frozen=True)
class Image(Step):
    """Rows `[E, B P, C]` of a convolution to images `[E, B, C, *size]`, where P is the product of size."""

    size: tuple[int, int]

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Adjoint]:
        height, width = self.size
        E, R, C = x.shape
        return x.reshape(E, R // (height * width), height, width, C).permute(0, 1, 4, 2, 3), to_rows


@dataclass(frozen=True)
class Flatten(Step):
    """Anything `[E, B, ...]` to `[E, B, features]`."""

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Adjoint]:
        shape = x.shape
        return x.reshape(*shape[:2], -1), lambda delta: delta.reshape(shape)


@dataclass(frozen=True)
class Activate(Step):
    """An activation that follows a pooling instead of an affine map."""

    name: str

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Adjoint]:
        sigma = activations.get(self.name)
        value = sigma.value(x)
        return value, lambda delta: delta * sigma.slope(x, value)


@dataclass(frozen=True)
class MaxPool(Step):
    """Largest value of each window; the error goes to the position that was largest (the first one on a tie)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Adjoint]:
        E, B, _, height, width = x.shape
        y, index = functional.max_pool2d(x.flatten(0, 1), self.kernel, self.stride, self.padding, return_indices=True)

        def adjoint(delta: Tensor) -> Tensor:
            add = scattered if delta.device.type == "cpu" else self.gathered
            return add(delta.flatten(0, 1), index, (height, width)).unflatten(0, (E, B))

        return y.unflatten(0, (E, B)), adjoint

    def gathered(self, delta: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
        """Do what `scattered` does, to the bit, position by position in the window instead of number by number.

        CUDA makes a scattered sum deterministic by sorting all of it. From the last position to the first, a number that several
        windows share gets their errors in the windows' order.

        Args:
            delta: errors `[N, C, h, w]` at the windows' maxima.
            index: their flat positions in the image, as `max_pool2d` returns them.
            size: height and width of the image.

        Returns:
            Images `[N, C, H, W]`. Cost: three passes over delta for each position of the window.
        """
        (H, W), (kh, kw), (sh, sw), (ph, pw) = size, self.kernel, self.stride, self.padding
        h, w = delta.shape[2:]
        image = delta.new_zeros(*delta.shape[:2], max(H + 2 * ph, (h - 1) * sh + kh), max(W + 2 * pw, (w - 1) * sw + kw))
        rows, columns = (torch.arange(n, device=delta.device) for n in (h, w))
        for i, j in itertools.product(reversed(range(kh)), reversed(range(kw))):
            here = (rows * sh + i - ph).unsqueeze(-1) * W + columns * sw + j - pw
            image[..., i : i + h * sh : sh, j : j + w * sw : sw] += torch.where(index == here, delta, 0)
        return image[..., ph : ph + H, pw : pw + W]


def scattered(delta: Tensor, index: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images to which each error is added at its flat index; windows may overlap.

    Args:
        delta: errors `[N, C, h, w]`.
        index: flat positions in the image, of delta's shape.
        size: height and width of the image.

    Returns:
        Images `[N, C, H, W]`. Cost: one pass over delta.
    """
    flat = delta.new_zeros(*delta.shape[:2], size[0] * size[1])
    return flat.scatter_add_(-1, index.flatten(2), delta.flatten(2)).unflatten(-1, size)
