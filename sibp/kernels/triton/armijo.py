"""Armijo's search of the eager solvers as two launches, whatever the number of trials, rows or members."""

import triton
import triton.language as tl

from sibp.kernels.triton.lines import column, kernel, leak_of, sum_of_parts, trial_terms
from sibp.kernels.triton.plan import Launch, Search, blocks, millionths, scratch

__all__ = ["exponents"]


@triton.jit
def _steps(first, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr, dtype: tl.constexpr):
    """shrink^m for m = first, first + 1, ... < LIMIT, then 0; exponents first to inf."""
    m = first + tl.arange(0, TRIALS).to(tl.float64)
    return tl.where(m < LIMIT, tl.exp2(m * tl.full((), LOG2, tl.float64)), 0.0).to(dtype)


@kernel
def try_steps(
    Z, along, T, first, sums, rows, columns, steps, by_row, millionths, LOG2: tl.constexpr, LIMIT: tl.constexpr,
    TRIALS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """sums[e, part, m] = this part's share of ||sigma(Z + t_m along) - T||^2.

    Z and T are `[E, rows, columns]`; along likewise, or `[E, 1, columns]` with by_row 0."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    numel = rows * columns
    t = _steps(tl.load(first + e).to(tl.float64), LOG2, LIMIT, TRIALS, dtype)
    total = tl.zeros((BLOCK, TRIALS), dtype)
    for step in range(steps):
        i = (part * steps + step) * BLOCK + tl.arange(0, BLOCK)
        here = i < numel
        z = tl.load(Z + e * numel + i, mask=here, other=0.0)
        target = tl.load(T + e * numel + i, mask=here, other=0.0)
        base = along + e * columns * (by_row * (rows - 1) + 1)
        d = tl.load(base + (i // columns) * columns * by_row + i % columns, mask=here, other=0.0)
        total += trial_terms(z, d, target, t, leak)
    m = tl.arange(0, TRIALS)
    tl.store(sums + (e * tl.num_programs(0) + part) * TRIALS + m, tl.sum(total, 0).to(tl.float64))


@kernel
def first_that_passes(
    sums, parts, first, DD, Dd, dd, slope, lam, exponent, SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr,
    TRIALS: tl.constexpr
):  # fmt: skip
    """exponent[e] = the least m at which f(t) < f(0) + SIGMA t slope, or inf."""
    e = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + e).to(tl.float64)
    t = _steps(begin, LOG2, LIMIT, TRIALS, exponent.dtype.element_ty).to(tl.float64)
    data = sum_of_parts(sums + e * parts * TRIALS, parts, TRIALS, 0, TRIALS, TRIALS, 16)
    proximal = tl.load(DD + e) + 2 * t * tl.load(Dd + e) + t * t * tl.load(dd + e)
    value = data + proximal / (2 * tl.load(lam + e))
    start = column(value, TRIALS - 1, TRIALS)
    j = tl.arange(0, TRIALS)
    passed = (begin + j < LIMIT) & (value < start + tl.full((), SIGMA, tl.float64) * t * tl.load(slope + e))
    least = tl.min(tl.where(passed, j, TRIALS), 0)
    tl.store(exponent + e, tl.where(least < TRIALS, begin + least, float("inf")).to(exponent.dtype.element_ty))


def exponents(Z, along, T, numbers, first, exponent, leak, sigma, shrink, limit) -> list[Launch]:
    """Return the launches that write to `exponent` the least exponent m in first, first + 1, ... < limit at which t = shrink^m passes
    Armijo's test strictly, or inf.

    Args:
        Z, T: pre-activation and target `[E, R, O]`.
        along: dZ/dt `[E, R, O]`, or `[E, 1, O]` for a bias.
        numbers: <D, D>, <D, d>, <d, d>, slope and lam, each `[E, 1, 1]`.
        first, exponent: `[E, 1, 1]`.
        leak: sigma's slope below 0.
        sigma, shrink, limit: of the search.
    """
    E, R, O = Z.shape
    search = Search(True, sigma, shrink, limit)
    parts, steps = blocks(R * O, search.block)
    sums = scratch(Z, E, parts, search.width)
    trials = search.constants("LOG2", "LIMIT", "TRIALS")
    by_row = int(along.shape[1] == R)
    return [
        Launch(
            try_steps,
            (parts, E),
            (Z, along, T, first, sums, R, O, steps, by_row, millionths(leak)),
            {"BLOCK": search.block, **trials},
        ),
        Launch(first_that_passes, (E,), (sums, parts, first, *numbers, exponent), {"SIGMA": sigma, **trials}),
    ]
