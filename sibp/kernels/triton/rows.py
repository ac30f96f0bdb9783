"""A layer's rows X `[R, I]` as kernels read them: a matrix, or the images whose patches they are; no patch is ever stored.

Row r of a convolution is an output position of a sample, input i a channel, row and column of the kernel; what lies in the border is 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["Rows", "cuts", "empty_like_weights", "load_rows"]


@triton.jit
def load_rows(
    X, r, i, R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr
):  # fmt: skip
    """X[r, i] for r and i of shapes that broadcast; 0 beyond R and I; with JOINT, 1 at i = I."""
    here = (r < R) & (i < I)
    if DENSE:
        x = tl.load(X + r.to(tl.int64) * I + i, mask=here, other=0.0)
    else:
        positions = out_height * out_width
        sample, position = r // positions, r % positions
        channel, offset = i // (KH * KW), i % (KH * KW)
        y = position // out_width * SH - PH + offset // KW
        x = position % out_width * SW - PW + offset % KW
        at = sample.to(tl.int64) * per_sample + channel * per_channel + y * per_row + x * per_column
        inside = here & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        x = tl.load(X + at, mask=inside, other=0.0)
    if JOINT:
        x = tl.where((r < R) & (i == I), tl.full((), 1.0, X.dtype.element_ty), x)
    return x


class Rows(NamedTuple):
    """Where a layer's rows come from.

    Attributes:
        tensor: a matrix `[E or 1, R, I]`, contiguous, or images `[E or 1, B, C, H, W]` in any order.
        kernel, stride, padding: of a convolution, height and width; ones and zeros for a matrix.
        joint: whether a column of ones follows.
    """

    tensor: Tensor
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    joint: bool = False

    @classmethod
    def of(cls, tensor: Tensor, geometry: Sequence[int], joint: bool = False) -> "Rows":
        """Return the rows that six numbers describe: kernel, stride and padding, each height and width."""
        kh, kw, sh, sw, ph, pw = geometry
        return cls(tensor, (kh, kw), (sh, sw), (ph, pw), joint)

    @property
    def is_dense(self) -> bool:
        return self.tensor.ndim == 3

    @property
    def member_stride(self) -> int:
        """From one member's rows to the next one's, 0 where they are shared."""
        return 0 if self.tensor.shape[0] == 1 else self.tensor.stride(0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a convolution's output."""
        sides = zip(self.tensor.shape[3:], self.kernel, self.stride, self.padding, strict=True)
        height, width = ((length + 2 * padding - kernel) // stride + 1 for length, kernel, stride, padding in sides)
        return height, width

    @property
    def shape(self) -> tuple[int, int]:
        """R, and I without the column of ones."""
        if self.is_dense:
            return self.tensor.shape[1], self.tensor.shape[2]
        height, width = self.size
        return self.tensor.shape[1] * height * width, self.tensor.shape[2] * self.kernel[0] * self.kernel[1]

    def arguments(self) -> tuple[int, ...]:
        """Return what `load_rows` takes after r and i."""
        if self.is_dense:
            return (*self.shape, *[1] * 9)
        return (*self.shape, *self.tensor.shape[2:], *self.size, *self.tensor.stride()[1:])

    def constants(self) -> dict[str, int | bool]:
        """Return what `load_rows` is compiled for."""
        names = ("KH", "KW", "SH", "SW", "PH", "PW")
        values = (*self.kernel, *self.stride, *self.padding)
        return {**dict(zip(names, values, strict=True)), "DENSE": self.is_dense, "JOINT": self.joint}


def empty_like_weights(rows: Rows, members: int, neurons: int) -> Tensor:
    """Return an array of a weight displacement's shape `[E, I, O]`, the bias' row included."""
    return torch.empty(members, rows.shape[1] + rows.joint, neurons, dtype=rows.tensor.dtype, device=rows.tensor.device)


def cuts(rows: Rows, neurons: int) -> tuple[dict[str, int], tuple[int, int, int], int, int]:
    """Return how the products X^T G and X D are cut, by the layer's sizes alone.

    Returns:
        Tile sizes; number of panels of neurons, tiles of inputs times panels, and chunks of rows; steps of a chunk; blocks of rows.
    """
    R, I = rows.shape[0], rows.shape[1] + rows.joint
    tile = {"INPUTS": 64, "COLUMNS": 16 if neurons <= 16 else 32, "INNER": 16}
    panels = -(-neurons // tile["COLUMNS"])
    tiles = -(-I // tile["INPUTS"]) * panels
    most = max(1, min(-(-R // 128), 512 // tiles))  # few shares to add up where there are many tiles
    steps = -(-R // (tile["INNER"] * most))
    return tile, (panels, tiles, -(-R // (tile["INNER"] * steps))), steps, -(-R // 64)
