"""Proximal gradient with an l1 term in weight space: ten launches an iteration, and no trial after the one that is taken.

`weights.back` leaves the gradient's shares; `collect` adds them up; `bend` leaves the curvature along the gradient; `attempt` and
`choose`, for 1, then 4, then the rest of the halvings, leave the trials' objectives and take the first that is lower: where one was, or
where none ever will be, the later programs end at once; `move` makes the new point. Rows are read as `rows` says; the bias problem is
that of one column of ones. The slow twin is `proximal_gradient.minimise_l1`.
"""

import triton
import triton.language as tl

from sibp.kernels.triton.lines import WIDTH, activate, column, first_step, kernel, leak_of, slope_of, sum_of_parts
from sibp.kernels.triton.plan import Launch, millionths, scratch
from sibp.kernels.triton.rows import Rows, cuts, empty_like_weights, load_rows
from sibp.kernels.triton.weights import back

__all__ = ["minimise"]

# a member's row of numbers: the objective at its point, the search's first step and the step taken, whether there is one more trial to
# make, and whether it stays where it is for good
VALUE, FIRST_STEP, STEP, ENDED, STUCK = (tl.constexpr(n) for n in range(5))
TRIALS = tl.constexpr(32)  # columns for the trials of a search


@triton.jit
def thresholded(v, d, g, t, threshold):
    """soft(v + d - t g, threshold) - v, the displacement after a step t."""
    at = v + d - t * g
    size = tl.abs(at) - threshold
    return tl.where(size > 0, tl.where(at > 0, size, -size), 0.0) - v


@kernel
def collect(shares, chunks, lam, D, g, sums, numel, BLOCK: tl.constexpr):
    """g = the shares' sum + D / lam, and <g, g>."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i = part * BLOCK + tl.arange(0, BLOCK)
    here = i < numel
    pull = tl.zeros((BLOCK,), tl.float64)
    for chunk in range(chunks):
        pull += tl.load(shares + (e * chunks + chunk) * numel + i, mask=here, other=0.0).to(tl.float64)
    pull += tl.load(D + e * numel + i, mask=here, other=0.0).to(tl.float64) / tl.load(lam + e)
    new = pull.to(g.dtype.element_ty)
    tl.store(g + e * numel + i, new, mask=here)
    tl.store(sums + e * tl.num_programs(0) + part, tl.sum(new.to(tl.float64) * new.to(tl.float64)))


@kernel
def bend(
    X, x_stride, Z, g, bends, O, panels, millionths,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    """||sigma'(Z) X g||^2, a tile's share of it."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    o, r = part % panels * COLUMNS + tl.arange(0, COLUMNS), part // panels * ROWS + tl.arange(0, ROWS)
    inputs = I + JOINT
    product = tl.zeros((ROWS, COLUMNS), dtype)
    for first in range(0, inputs, INNER):
        i = first + tl.arange(0, INNER)
        here = (i[:, None] < inputs) & (o[None, :] < O)
        along = tl.load(g + (e * inputs + i[:, None]) * O + o[None, :], mask=here, other=0.0)
        x = load_rows(
            X + e * x_stride, r[:, None], i[None, :], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, along, product, input_precision="ieee", out_dtype=dtype)
    here = (r[:, None] < R) & (o[None, :] < O)
    z = tl.load(Z + (e * R + r[:, None]) * O + o[None, :], mask=here, other=0.0)
    seen = slope_of(z, leak_of(millionths, dtype)) * product
    tl.store(bends + e * tl.num_programs(0) + part, tl.sum(seen * seen).to(tl.float64))


@kernel
def attempt(
    X, x_stride, Z, T, V, D, g, lam, gamma, smooth, state, sums, sum_parts, bends, bend_parts, data, sizes,
    O, panels, blocks, first_trial, millionths,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    BEGIN: tl.constexpr, FIRST: tl.constexpr
):  # fmt: skip
    """The shares of ||sigma(Z + X D_m) - T||^2, ||D_m||^2 and ||V + D_m||_1 of a trial m; at the beginning of D = `smooth` and of D = 0."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    m, part = first_trial + part // (panels * blocks), part % (panels * blocks)
    state += e * WIDTH
    t, threshold = tl.zeros((), dtype), tl.zeros((), dtype)
    needed = True
    if not BEGIN:
        if FIRST:
            needed = tl.load(state + STUCK) == 0
            gg = tl.sum(sum_of_parts(sums + e * sum_parts, sum_parts, 1, 0, 1, 1, 128), 0)
            curvature = tl.sum(sum_of_parts(bends + e * bend_parts, bend_parts, 1, 0, 1, 1, 128), 0)
            bound = tl.load(lam + e).to(tl.float64)  # of curvature steps, and the step where the gradient is 0
            first = tl.where(gg == 0, bound, first_step(-gg, curvature, gg, bound, False))
            if part == 0:
                tl.store(state + FIRST_STEP, first)
        else:
            needed = tl.load(state + ENDED) == 0
            first = tl.load(state + FIRST_STEP)
        t = (first * tl.exp2(-m.to(tl.float64))).to(dtype)
        threshold = t * tl.load(gamma + e)
    if needed:
        panel, block = part % panels, part // panels
        o, r = panel * COLUMNS + tl.arange(0, COLUMNS), block * ROWS + tl.arange(0, ROWS)
        inputs = I + JOINT
        product = tl.zeros((ROWS, COLUMNS), dtype)
        squares, size = tl.zeros((INNER, COLUMNS), dtype), tl.zeros((INNER, COLUMNS), dtype)
        for start in range(0, inputs, INNER):
            i = start + tl.arange(0, INNER)
            here, at = (i[:, None] < inputs) & (o[None, :] < O), (e * inputs + i[:, None]) * O + o[None, :]
            v = tl.load(V + at, mask=here, other=0.0)
            if BEGIN:
                d = tl.where(m == 0, tl.load(smooth + at, mask=here, other=0.0), 0.0)
            else:
                d = tl.load(D + at, mask=here, other=0.0)
                d = thresholded(v, d, tl.load(g + at, mask=here, other=0.0), t, threshold)
            squares += d * d
            size += tl.abs(v + d)
            x = load_rows(
                X + e * x_stride, r[:, None], i[None, :], R, I, channels, height, width, out_height, out_width,
                per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
            )  # fmt: skip
            product = tl.dot(x, d, product, input_precision="ieee", out_dtype=dtype)
        here, at = (r[:, None] < R) & (o[None, :] < O), (e * R + r[:, None]) * O + o[None, :]
        z = tl.load(Z + at, mask=here, other=0.0) + product
        rest = activate(z, leak_of(millionths, dtype)) - tl.load(T + at, mask=here, other=0.0)
        rest = tl.where(here, rest * rest, 0.0)
        tl.store(data + (e * panels * blocks + part) * TRIALS + m, tl.sum(rest).to(tl.float64))
        if block == 0:
            sizes += (e * panels + panel) * 2 * TRIALS + m
            tl.store(sizes, tl.sum(squares).to(tl.float64))
            tl.store(sizes + TRIALS, tl.sum(size).to(tl.float64))


@kernel
def choose(
    lam, gamma, state, data, parts, sizes, panels, first_trial, count,
    BEGIN: tl.constexpr, FIRST: tl.constexpr, LAST: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """Take the first trial whose objective is lower than the point's, or `smooth` at the beginning if it is lower than 0."""
    e = tl.program_id(0).to(tl.int64)
    weight, price = tl.load(lam + e).to(tl.float64), tl.load(gamma + e).to(tl.float64)
    state, sizes = state + e * WIDTH, sizes + e * panels * 2 * TRIALS
    limit = first_trial + count
    value = sum_of_parts(data + e * parts * TRIALS, parts, TRIALS, first_trial, limit, COLUMNS, 1024 // COLUMNS)
    value += sum_of_parts(sizes, panels, 2 * TRIALS, first_trial, limit, COLUMNS, 16) / (2 * weight)
    value += price * sum_of_parts(sizes + TRIALS, panels, 2 * TRIALS, first_trial, limit, COLUMNS, 16)
    n = tl.arange(0, COLUMNS)
    if BEGIN:
        moved, still = column(value, 0, COLUMNS), column(value, 1, COLUMNS)
        tl.store(state + VALUE, tl.where(moved < still, moved, still))
        tl.store(state + STEP, tl.where(moved < still, 1.0, 0.0))
        tl.store(state + STUCK, 0.0)
    else:
        first = tl.load(state + FIRST_STEP)
        stuck = tl.load(state + STUCK) != 0
        if FIRST:
            stuck = stuck | (first <= 0)
            ended = stuck
            tl.store(state + STEP, 0.0)
        else:
            ended = tl.load(state + ENDED) != 0
        lower = (n < count) & (value < tl.load(state + VALUE))
        best = tl.min(tl.where(lower, n, COLUMNS), 0)
        taken = (best < COLUMNS) & (ended == 0)
        if taken:
            tl.store(state + VALUE, tl.sum(tl.where(n == best, value, 0.0), 0))
            tl.store(state + STEP, first * tl.exp2(-(first_trial + best).to(tl.float64)))
        ended = ended | taken
        if LAST:
            stuck = stuck | (ended == 0)
        tl.store(state + ENDED, ended.to(tl.float64))
        tl.store(state + STUCK, stuck.to(tl.float64))


@kernel
def move(
    X, x_stride, Z, V, D, g, gamma, smooth, state, D_new, Z_new, O, panels,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    BEGIN: tl.constexpr
):  # fmt: skip
    """D_new = soft(V + D - t g, t gamma) - V, without a step D; Z_new = Z + X D_new."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    panel, block = part % panels, part // panels
    t = tl.load(state + e * WIDTH + STEP).to(dtype)
    threshold = t * tl.load(gamma + e)
    o, r = panel * COLUMNS + tl.arange(0, COLUMNS), block * ROWS + tl.arange(0, ROWS)
    inputs = I + JOINT
    product = tl.zeros((ROWS, COLUMNS), dtype)
    for start in range(0, inputs, INNER):
        i = start + tl.arange(0, INNER)
        here, at = (i[:, None] < inputs) & (o[None, :] < O), (e * inputs + i[:, None]) * O + o[None, :]
        if BEGIN:
            d = tl.where(t != 0, tl.load(smooth + at, mask=here, other=0.0), 0.0)
        else:
            d = tl.load(D + at, mask=here, other=0.0)
            v = tl.load(V + at, mask=here, other=0.0)
            d = tl.where(t != 0, thresholded(v, d, tl.load(g + at, mask=here, other=0.0), t, threshold), d)
        tl.store(D_new + at, d, mask=here & (block == 0))
        x = load_rows(
            X + e * x_stride, r[:, None], i[None, :], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, d, product, input_precision="ieee", out_dtype=dtype)
    here, at = (r[:, None] < R) & (o[None, :] < O), (e * R + r[:, None]) * O + o[None, :]
    tl.store(Z_new + at, tl.load(Z + at, mask=here, other=0.0) + product, mask=here)


def minimise(rows: Rows, Z, T, V, lam, gamma, smooth, D, Z_new, iterations, halvings, leak) -> list[Launch]:
    """Return the 10 n + 3 launches that minimise f(D) + gamma ||V + D||_1 from 0, or from `smooth` where that is lower.

    Args:
        rows: the layer's rows; for the bias problem none but a joint column of ones.
        Z: pre-activation at displacement 0, `[E, R, O]`; T: target.
        V, smooth: the present weights, and a displacement that solves the problem without the l1 term, `[E, I, O]`.
        lam, gamma: `[E, 1, 1]`.
        D, Z_new: written, the displacement and the pre-activation there.
        halvings: trials of a search, at most 32.
    """
    E, _, O = Z.shape
    tile, (panels, tiles, chunks), steps, high = cuts(rows, O)
    geometry, fixed, x_stride, code = rows.arguments(), rows.constants(), rows.member_stride, millionths(leak)
    cut = {"ROWS": 64, "COLUMNS": tile["COLUMNS"], "INNER": tile["INNER"]}
    numel, parts = D[0].numel(), high * panels
    dot_parts = -(-numel // 1024)
    g, other = empty_like_weights(rows, E, O), empty_like_weights(rows, E, O)
    Ds = (D, other) if iterations % 2 == 0 else (other, D)  # read and written in turns, so that the last one written is D
    shares = Z.new_empty(E, chunks, *D.shape[1:])
    sums, bends, state = scratch(Z, E, dot_parts), scratch(Z, E, parts), scratch(Z, E, 8)
    data, sizes = scratch(Z, E, parts, 32), scratch(Z, E, panels, 2, 32)
    unused = {"BEGIN": True, "SIGMA": 0.0, "LOG2": -1.0, "LIMIT": 1, "TRIALS": 2}  # of `back` where it takes no step
    launches = []

    def search(here, first_trial: int, count: int, begin: bool) -> None:
        given = (rows.tensor, x_stride, Z, T, V, here, g, lam, gamma, smooth, state, sums, dot_parts, bends, parts, data, sizes)
        flags: dict[str, float] = {"BEGIN": begin, "FIRST": first_trial == 0}
        numbers = (O, panels, high, first_trial, code, *geometry)
        launches.append(Launch(attempt, (parts * count, E), (*given, *numbers), {**fixed, **cut, **flags}, warps=8))
        flags |= {"LAST": first_trial + count == halvings and not begin, "COLUMNS": 1 << (count - 1).bit_length()}
        launches.append(Launch(choose, (E,), (lam, gamma, state, data, parts, sizes, panels, first_trial, count), flags))

    def moved(here, there, begin: bool) -> None:
        given = (rows.tensor, x_stride, Z, V, here, g, gamma, smooth, state, there, Z_new, O, panels, *geometry)
        launches.append(Launch(move, (parts, E), given, {**fixed, **cut, "BEGIN": begin}, warps=8))

    search(Ds[1], 0, 2, begin=True)
    moved(Ds[1], Ds[0], begin=True)
    for k in range(iterations):
        here, there = Ds[k % 2], Ds[(k + 1) % 2]
        given = (rows.tensor, x_stride, Z_new, T, lam, g, state, data, 0, Z_new, shares, O, panels, steps, code, *geometry)
        launches.append(Launch(back, (tiles, chunks, E), given, {**fixed, **tile, **unused}, warps=8))
        launches.append(Launch(collect, (dot_parts, E), (shares, chunks, lam, here, g, sums, numel), {"BLOCK": 1024}))
        given = (rows.tensor, x_stride, Z_new, g, bends, O, panels, code, *geometry)
        launches.append(Launch(bend, (parts, E), given, {**fixed, **cut}, warps=8))
        for first_trial, count in ((0, 1), (1, 4), (5, halvings - 5)):
            search(here, first_trial, count, begin=False)
        moved(here, there, begin=False)
    return launches
