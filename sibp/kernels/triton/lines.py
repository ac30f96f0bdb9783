"""What all solvers' kernels share on the device: sigma, sums in a fixed order, and the step along a line.

Every kernel of a solve leaves its partial sums in a small float64 array, `[E, parts, width]`, and each program of the next kernel adds
them up for itself, in the order of their numbers. So no kernel waits for another, nothing is added atomically, and a result is the
same to the bit from run to run, and for a member alone or in an ensemble. Numbers of a line are float64 in either precision.

sigma(z) = z for z > 0 and leak z otherwise: identity has leak 1, ReLU 0, leaky ReLU 0.01; at 0 the left derivative.
"""

import inspect
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

__all__ = [
    "D2",
    "DD",
    "D_D",
    "FIRST_STEP",
    "GG",
    "SLOPE",
    "WIDTH",
    "activate",
    "chosen_step",
    "column",
    "first_step",
    "gradient",
    "kernel",
    "leak_of",
    "slope_of",
    "step_of",
    "sum_of_parts",
    "times",
    "trial_steps",
    "trial_terms",
]


# of a line's numbers: a member's row of eight
GG, SLOPE, DD, D_D, D2, FIRST_STEP = (tl.constexpr(n) for n in range(6))
# of the sums that `look` leaves: <g, Kg>, <d, Kg>, <D, Kg>, and with s = sigma'(Z): ||s image_d||^2, <s image_d, s Kg>, ||s Kg||^2
WIDTH = tl.constexpr(8)
# what is neither a tensor nor a constant in a kernel's signature
INTEGERS = {
    *("R", "I", "O", "numel", "steps", "parts", "chunks", "blocks", "panels", "inputs", "rows", "columns", "by_row", "millionths"),
    *("first_trial", "count"),
    *("k_stride", "x_stride", "sum_parts", "trial_parts", "bend_parts"),
    *("channels", "height", "width", "out_height", "out_width", "per_sample", "per_channel", "per_row", "per_column"),
}


def kernel(function: Callable[..., None]) -> Any:
    """Make a kernel that is compiled once for layers of all sizes; Triton would do it anew for integers that 16 divides, and for 1."""
    return triton.jit(do_not_specialize=[name for name in inspect.signature(function).parameters if name in INTEGERS])(function)


@triton.jit
def leak_of(millionths, dtype: tl.constexpr):
    """sigma's slope below 0; it comes as an integer, for a number would come in float32, and a constant would double the kernels."""
    return (millionths.to(tl.float64) / tl.full((), 1e6, tl.float64)).to(dtype)


@triton.jit
def activate(z, leak):
    """sigma(z)"""
    return tl.where(z > 0, z, leak * z)


@triton.jit
def slope_of(z, leak):
    """sigma'(z)"""
    return tl.where(z > 0, tl.full((), 1.0, z.dtype), leak)


@triton.jit
def gradient(z, target, leak):
    """2 sigma'(z) (sigma(z) - target)"""
    return 2 * slope_of(z, leak) * (activate(z, leak) - target)


@triton.jit
def sum_of_parts(parts, count, stride, first, limit, WIDTH: tl.constexpr, TOGETHER: tl.constexpr):
    """Sum over `count` rows of `parts`, `stride` numbers apart: columns first, first + 1, ... below limit, zeros beyond."""
    columns = first + tl.arange(0, WIDTH)
    total = tl.zeros((TOGETHER, WIDTH), tl.float64)
    for start in range(0, count, TOGETHER):
        row = start + tl.arange(0, TOGETHER)
        here = (row[:, None] < count) & (columns[None, :] < limit)
        total += tl.load(parts + row[:, None] * stride + columns[None, :], mask=here, other=0.0)
    return tl.sum(total, 0)


@triton.jit
def column(row, n: tl.constexpr, WIDTH: tl.constexpr):
    """row[n] of a vector `[WIDTH]`; other entries may be NaN."""
    return tl.sum(tl.where(tl.arange(0, WIDTH) == n, row, 0.0), 0)


@triton.jit
def trial_steps(first, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr, dtype: tl.constexpr):
    """t_m = first * shrink^m, LOG2 = log2(shrink), for m < LIMIT, and 0 for the rest of `[TRIALS]`, rounded to dtype.

    The last trial is always t = 0, so that f(0) and f(t) are sums of the same order."""
    m = tl.arange(0, TRIALS)
    t = first * tl.exp2(m.to(tl.float64) * tl.full((), LOG2, tl.float64))
    return tl.where(m < LIMIT, t, 0.0).to(dtype)


@triton.jit
def trial_terms(z, along, target, t, leak):
    """(sigma(z + t along) - target)^2, for z, along and target `[n]` and t `[TRIALS]`: `[n, TRIALS]`"""
    rest = activate(z[:, None] + t[None, :] * along[:, None], leak) - target[:, None]
    return rest * rest


@triton.jit
def chosen_step(data, t, slope, DD, Dd, dd, lam, SIGMA: tl.constexpr, TRIALS: tl.constexpr):
    """The first t > 0 of `[TRIALS]` with f(t) < f(0) + SIGMA t slope, strictly, or 0: false for NaN. data: ||sigma(Z(t)) - T||^2."""
    m = tl.arange(0, TRIALS)
    t = t.to(tl.float64)
    value = data + (DD + 2 * t * Dd + t * t * dd) / (2 * lam)
    start = column(value, TRIALS - 1, TRIALS)
    passed = (t > 0) & (value < start + tl.full((), SIGMA, tl.float64) * t * slope)
    best = tl.min(tl.where(passed, m, TRIALS), 0)
    return tl.sum(tl.where(m == best, t, 0.0), 0)


@triton.jit
def step_of(
    line, trials, parts, lam, dtype: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr,
    TRIALS: tl.constexpr
):  # fmt: skip
    """The step that a member's search takes: a float64 that is exact in dtype."""
    data = sum_of_parts(trials, parts, TRIALS, 0, TRIALS, TRIALS, 16)
    t = trial_steps(tl.load(line + FIRST_STEP), LOG2, LIMIT, TRIALS, dtype)
    dD, d2 = tl.load(line + D_D), tl.load(line + D2)
    return chosen_step(data, t, tl.load(line + SLOPE), tl.load(line + DD), dD, d2, lam, SIGMA, TRIALS)


@triton.jit
def times(beta, value):
    """beta * value, and 0 where beta is, whatever the value."""
    return tl.where(beta == 0, 0.0, beta * value)


@triton.jit
def first_step(slope, bend, dd, lam, ARMIJO: tl.constexpr):
    """1, or the curvature step -slope / (2 bend + dd / lam); 0 where that is not above 0."""
    if ARMIJO:
        return tl.full((), 1.0, tl.float64)
    else:
        total = 2 * bend + dd / lam
        t = tl.where(total > 0, -slope / total, 0.0)
        return tl.where(t > 0, t, 0.0)
