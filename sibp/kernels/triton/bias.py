"""The bias problem: nonlinear conjugate gradients on p `[E, 1, O]` at a fixed Z, two launches an iteration.

`lean` shifts Z by the p that the last search found and leaves, for every block of rows, the gradient's and the curvature's share of
each neuron; `turn` adds them up, makes the next direction, and leaves the trials' partial sums.
"""

import triton
import triton.language as tl

from sibp.kernels.triton.lines import (
    D2,
    D_D,
    DD,
    FIRST_STEP,
    GG,
    SLOPE,
    WIDTH,
    activate,
    first_step,
    gradient,
    kernel,
    leak_of,
    slope_of,
    step_of,
    sum_of_parts,
    times,
    trial_steps,
)
from sibp.kernels.triton.plan import HELD, Launch, Search, blocks, millionths, scratch

__all__ = ["minimise"]

COLUMNS = 16  # neurons of a program: one code for wide layers and for the last, which has ten


@triton.jit
def load_shift(p, d, t, o, O, BEGIN: tl.constexpr):
    """p + t d of the neurons o, without a step p; 0 at the beginning."""
    if BEGIN:
        return tl.zeros(o.shape, p.dtype.element_ty)
    else:
        old = tl.load(p + o, mask=o < O, other=0.0)
        return tl.where(t != 0, old + t * tl.load(d + o, mask=o < O, other=0.0), old)


@kernel
def lean(
    Z, T, lam, p, d, line, trials, trial_parts, p_new, shares, R, O, steps, millionths, BEGIN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr,
    TRIALS: tl.constexpr
):  # fmt: skip
    """p_new = p + t d; shares[e, block, :, o] = sums over the block's rows of 2 sigma'(z) (sigma(z) - T) and of sigma'(z)^2."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    t = tl.zeros((), dtype)
    if not BEGIN:
        sums = trials + e * trial_parts * TRIALS
        t = step_of(line + e * WIDTH, sums, trial_parts, tl.load(lam + e), dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
    o = panel * COLUMNS + tl.arange(0, COLUMNS)
    shift = load_shift(p + e * O, d + e * O, t, o, O, BEGIN)
    if block == 0:
        tl.store(p_new + e * O + o, shift, mask=o < O)
    pull, active = tl.zeros((ROWS, COLUMNS), dtype), tl.zeros((ROWS, COLUMNS), dtype)
    for step in range(steps):
        r = (block * steps + step) * ROWS + tl.arange(0, ROWS)
        here, at = (r[:, None] < R) & (o[None, :] < O), e * R * O + r[:, None] * O + o[None, :]
        z = tl.load(Z + at, mask=here, other=0.0) + shift[None, :]
        slope = slope_of(z, leak)
        pull += tl.where(here, gradient(z, tl.load(T + at, mask=here, other=0.0), leak), 0.0)
        active += tl.where(here, slope * slope, 0.0)
    shares += (e * tl.num_programs(1) + block) * 2 * O + o
    tl.store(shares, tl.sum(pull, 0).to(tl.float64), mask=o < O)
    tl.store(shares + O, tl.sum(active, 0).to(tl.float64), mask=o < O)


@triton.jit
def load_neurons(p, d_old, shares, blocks, first, O, inverse_lam, BEGIN: tl.constexpr, COLUMNS: tl.constexpr):
    """p, d_old, the gradient g and sum of sigma'^2 of COLUMNS neurons, in float64."""
    o = first + tl.arange(0, COLUMNS)
    at = tl.load(p + o, mask=o < O, other=0.0).to(tl.float64)
    old = tl.zeros_like(at)
    if not BEGIN:
        old = tl.load(d_old + o, mask=o < O, other=0.0).to(tl.float64)
    g = sum_of_parts(shares, blocks, 2 * O, first, O, COLUMNS, 8) + at * inverse_lam
    return at, old, g, sum_of_parts(shares + O, blocks, 2 * O, first, O, COLUMNS, 8)


@kernel
def turn(
    Z, T, lam, p, d_old, d_new, shares, blocks, line_old, line, trials, R, O, steps, millionths, BEGIN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ARMIJO: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr,
    LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """d_new = -g + beta d_old as in batch space, and the partial sums of its trials."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    weight = tl.load(lam + e).to(tl.float64)
    shares += e * blocks * 2 * O
    p, d_old, d_new = p + e * O, d_old + e * O, d_new + e * O
    gg, dg, pg, pp, pd, dd, agg, agd, add = (tl.zeros((COLUMNS,), tl.float64),) * 9
    for first in range(0, O, COLUMNS):
        at, old, g, active = load_neurons(p, d_old, shares, blocks, first, O, 1 / weight, BEGIN, COLUMNS)
        gg, dg, pg = gg + g * g, dg + old * g, pg + at * g
        pp, pd, dd = pp + at * at, pd + at * old, dd + old * old
        agg, agd, add = agg + active * g * g, agd + active * g * old, add + active * old * old
    total = tl.sum(gg, 0)
    descent = tl.sum(dg, 0)
    beta = tl.zeros((), tl.float64)
    if not BEGIN:
        beta = total / tl.load(line_old + e * WIDTH + GG)
        beta = tl.where(beta * descent - total < 0, beta, 0.0)
    slope = times(beta, descent) - total
    d2 = total - 2 * times(beta, descent) + times(beta * beta, tl.sum(dd, 0))
    bend = tl.sum(agg, 0) - 2 * times(beta, tl.sum(agd, 0)) + times(beta * beta, tl.sum(add, 0))
    begin = first_step(slope, bend, d2, weight, ARMIJO)
    if panel + block == 0:
        line += e * WIDTH
        tl.store(line + GG, total)
        tl.store(line + SLOPE, slope)
        tl.store(line + DD, tl.sum(pp, 0))
        tl.store(line + D_D, times(beta, tl.sum(pd, 0)) - tl.sum(pg, 0))
        tl.store(line + D2, d2)
        tl.store(line + FIRST_STEP, begin)
    o = panel * COLUMNS + tl.arange(0, COLUMNS)
    at, old, g, active = load_neurons(p, d_old, shares, blocks, panel * COLUMNS, O, 1 / weight, BEGIN, COLUMNS)
    d = (times(beta, old) - g).to(dtype)
    if block == 0:
        tl.store(d_new + o, d, mask=o < O)
    t = trial_steps(begin, LOG2, LIMIT, TRIALS, dtype)
    shift = at.to(dtype)[:, None] + t[None, :] * d[:, None]
    sums = tl.zeros((ROWS, COLUMNS, TRIALS), dtype)
    for step in range(steps):
        r = (block * steps + step) * ROWS + tl.arange(0, ROWS)
        here, where = (r[:, None] < R) & (o[None, :] < O), e * R * O + r[:, None] * O + o[None, :]
        z, target = tl.load(Z + where, mask=here, other=0.0), tl.load(T + where, mask=here, other=0.0)
        rest = activate(z[:, :, None] + shift[None, :, :], leak) - target[:, :, None]
        sums += tl.where(here[:, :, None], rest * rest, 0.0)
    m = tl.arange(0, TRIALS)
    part = (e * tl.num_programs(1) + block) * tl.num_programs(0) + panel
    tl.store(trials + part * TRIALS + m, tl.sum(tl.sum(sums, 0), 0).to(tl.float64))


@kernel
def settle(
    p, d, lam, line, trials, trial_parts, b, O, BLOCK: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr,
    LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """b += p + t d"""
    e = tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = b.dtype.element_ty
    sums = trials + e * trial_parts * TRIALS
    t = step_of(line + e * WIDTH, sums, trial_parts, tl.load(lam + e), dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shift = load_shift(p + e * O, d + e * O, t, o, O, False)
    tl.store(b + e * O + o, tl.load(b + e * O + o, mask=o < O) + shift, mask=o < O)


def _row_blocks(R: int, panels: int, rows: int) -> tuple[int, int]:
    """Return how many blocks of rows there are, and how many tiles of `rows` each visits."""
    _, steps = blocks(R * panels * COLUMNS, rows * COLUMNS)
    return -(-R // (rows * steps)), steps


def minimise(Z, T, lam, b, iterations, search: Search, leak) -> list[Launch]:
    """Return the 2 n + 1 launches that solve the bias problem at Z by n iterations and add the solution to b `[E, 1, O]`.

    Args are those of `batch.minimise`.
    """
    E, R, O = Z.shape
    panels = -(-O // COLUMNS)
    rows, tried = 1024 // COLUMNS, max(1, HELD // (COLUMNS * search.width))  # of a tile, when leaning and when trying
    (lean_blocks, lean_steps), (turn_blocks, turn_steps) = (_row_blocks(R, panels, n) for n in (rows, tried))
    parts = panels * turn_blocks
    ps, ds = ([Z.new_empty(E, 1, O) for _ in range(2)] for _ in range(2))  # read and written in turns
    lines = [scratch(Z, E, 8) for _ in range(2)]
    trials, shares = scratch(Z, E, parts, search.width), scratch(Z, E, lean_blocks, 2, O)
    numbers, launches, code = search.constants(), [], millionths(leak)
    chosen = {name: value for name, value in numbers.items() if name != "ARMIJO"}
    for k in range(iterations):
        now, before, tile = k % 2, (k + 1) % 2, {"BEGIN": k == 0, "COLUMNS": COLUMNS}
        given = (Z, T, lam, ps[before], ds[before], lines[before], trials, parts, ps[now], shares, R, O, lean_steps, code)
        launches.append(Launch(lean, (panels, lean_blocks, E), given, {**tile, "ROWS": rows, **chosen}))
        old, new = (ds[before], ds[now]), (lines[before], lines[now])
        given = (Z, T, lam, ps[now], *old, shares, lean_blocks, *new, trials, R, O, turn_steps, code)
        launches.append(Launch(turn, (panels, turn_blocks, E), given, {**tile, "ROWS": tried, **numbers}, warps=8))
    given = (ps[now], ds[now], lam, lines[now], trials, parts, b, O)
    return [*launches, Launch(settle, (-(-O // 128), E), given, {"BLOCK": 128, **chosen})]
