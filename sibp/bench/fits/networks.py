"""The networks: small ones of the kinds that people train, written as they write them; nothing in them knows of SIBP.

Each takes images `[B, C, H, W]` with values in [0, 1] and returns scores `[B, classes]`, the U-Net images.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["NETWORKS", "Kind"]

Shape = tuple[int, int, int]


class ResidualMLP(nn.Module):
    """Blocks of LayerNorm and two dense layers around a skip."""

    def __init__(self, shape: Shape, classes: int, width: int = 200, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(torch.Size(shape).numel(), width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images.flatten(1))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm; the skip is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.skip(x))


class ResNet(nn.Module):
    """A stem that halves the image, three residual blocks, the mean over positions and a dense layer."""

    def __init__(self, shape: Shape, classes: int, widths: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        first, middle, last = widths
        self.stem = nn.Sequential(nn.Conv2d(shape[0], first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.blocks = nn.Sequential(ResidualBlock(first, first, 1), ResidualBlock(first, middle, 2), ResidualBlock(middle, last, 2))
        self.head = nn.Linear(last, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(images)).mean((2, 3)))


def _patches(shape: Shape, side: int) -> int:
    """Return how many patches of that side an image has."""
    return (shape[1] // side) * (shape[2] // side)


class Mixer(nn.Module):
    """MLP-Mixer: blocks that mix patches and channels in turn."""

    def __init__(self, shape: Shape, classes: int, side: int = 7, width: int = 48, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Conv2d(shape[0], width, side, side)
        self.across_patches = nn.ModuleList(_mixing(width, _patches(shape, side)) for _ in range(blocks))
        self.across_channels = nn.ModuleList(_mixing(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).mT  # [B, patches, width]
        pairs = cast("Iterable[tuple[nn.ModuleList, nn.ModuleList]]", zip(self.across_patches, self.across_channels, strict=True))
        for (norm, patches), (other_norm, channels) in pairs:
            x = x + patches(norm(x).mT).mT
            x = x + channels(other_norm(x))
        return self.head(x.mean(1))


def _mixing(width: int, size: int) -> nn.ModuleList:
    return nn.ModuleList([nn.LayerNorm(width), nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))])


class Attention(nn.Module):
    """Self-attention with one layer for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.inward, self.outward = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.inward(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.outward(functional.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


class ViT(nn.Module):
    """A vision transformer: patches with learnt positions, pre-norm blocks, the mean over patches."""

    def __init__(self, shape: Shape, classes: int, *, side: int = 8, width: int = 48, blocks: int = 2, heads: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(shape[0], width, side, side)
        self.positions = nn.Parameter(torch.randn(_patches(shape, side), width) * 0.02)
        self.attention = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), Attention(width, heads)) for _ in range(blocks))
        self.dense = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images).flatten(2).mT + self.positions
        for attention, dense in zip(self.attention, self.dense, strict=True):
            x = x + attention(x)
            x = x + dense(x)
        return self.head(x.mean(1))


class RNN(nn.Module):
    """A recurrent cell written out; it reads an image row by row, so its weights are used once a row."""

    def __init__(self, shape: Shape, classes: int, width: int = 64) -> None:
        super().__init__()
        self.inward, self.again = nn.Linear(shape[0] * shape[2], width), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.transpose(1, 2).flatten(2)  # [B, H, C W]
        state = rows.new_zeros(len(rows), self.again.in_features)
        for row in rows.unbind(1):
            state = torch.tanh(self.inward(row) + self.again(state))
        return self.head(state)


class UNet(nn.Module):
    """Two halvings and two doublings of the image with skips between; returns an image."""

    def __init__(self, shape: Shape, classes: int, width: int = 6) -> None:  # noqa: ARG002 - a kind's arguments
        super().__init__()
        self.down = nn.ModuleList([_twice(shape[0], width), _twice(width, 2 * width)])
        self.bottom = _twice(2 * width, 4 * width)
        self.up = nn.ModuleList([nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)])
        self.join = nn.ModuleList([_twice(4 * width, 2 * width), _twice(2 * width, width)])
        self.out = nn.Conv2d(width, shape[0], 1)

    def forward(self, images: Tensor) -> Tensor:
        x, skips = images, []
        for block in self.down:
            skips.append(block(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        return self.out(x)


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)),
    )


class Kind(NamedTuple):
    """How to build a network for an image's shape and a number of classes, and what it does: ``classify`` or ``denoise``."""

    build: Callable[[Shape, int], nn.Module]
    task: str = "classify"


NETWORKS = {
    "residual-mlp": Kind(ResidualMLP),
    "resnet": Kind(ResNet),
    "mixer": Kind(Mixer),
    "vit": Kind(ViT),
    "rnn": Kind(RNN),
    "unet": Kind(UNet, "denoise"),
}
