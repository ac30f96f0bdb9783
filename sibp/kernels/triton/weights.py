"""Nonlinear conjugate gradients in weight space: four launches an iteration, for any number of rows, neurons and members.

`back` moves Z by the step that the last search found and leaves, for every chunk of rows, the gradient's share X^T gamma; `gather` adds
the shares up, moves P, and leaves the dots of the line; `along` makes the next direction and its image X d; `attempt` leaves the
trials' partial sums. Rows are read as `rows` says. The slow twin is `conjugate_gradient.minimise` in its `WeightSpace`.
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
    column,
    first_step,
    gradient,
    kernel,
    leak_of,
    slope_of,
    step_of,
    sum_of_parts,
    times,
    trial_steps,
    trial_terms,
)
from sibp.kernels.triton.plan import Launch, Search, blocks, millionths, scratch
from sibp.kernels.triton.rows import Rows, cuts, empty_like_weights, load_rows

__all__ = ["minimise"]


@triton.jit
def load_moved(Z, image_d, t, at, here, BEGIN: tl.constexpr):
    """Z + t image_d; where there is no step, none is added: 0 * NaN is NaN."""
    z = tl.load(Z + at, mask=here, other=0.0)
    if not BEGIN:
        z = tl.where(t != 0, z + t * tl.load(image_d + at, mask=here, other=0.0), z)
    return z


@kernel
def back(
    X, x_stride, Z, T, lam, image_d, line, trials, trial_parts, Z_new, shares, O, panels, steps, millionths,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr,
    BEGIN: tl.constexpr, INPUTS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
    SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """Z_new = Z + t image_d; shares[e, chunk] = X^T (2 sigma'(Z_new) (sigma(Z_new) - T)) over the chunk's rows, a tile of it."""
    tile, chunk, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    panel, first = tile % panels, tile // panels * INPUTS
    t = tl.zeros((), dtype)
    if not BEGIN:
        sums = trials + e * trial_parts * TRIALS
        t = step_of(line + e * WIDTH, sums, trial_parts, tl.load(lam + e), dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
    o, i = panel * COLUMNS + tl.arange(0, COLUMNS), first + tl.arange(0, INPUTS)
    product = tl.zeros((INPUTS, COLUMNS), dtype)
    for step in range(steps):
        r = (chunk * steps + step) * INNER + tl.arange(0, INNER)
        here, at = (r[:, None] < R) & (o[None, :] < O), (e * R + r[:, None]) * O + o[None, :]
        z = load_moved(Z, image_d, t, at, here, BEGIN)
        if not BEGIN:
            tl.store(Z_new + at, z, mask=here & (first == 0))
        gamma = gradient(z, tl.load(T + at, mask=here, other=0.0), leak)
        x = load_rows(
            X + e * x_stride, r[None, :], i[:, None], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, gamma, product, input_precision="ieee", out_dtype=dtype)
    inputs = I + JOINT
    at = ((e * tl.num_programs(1) + chunk) * inputs + i[:, None]) * O + o[None, :]
    tl.store(shares + at, product, mask=(i[:, None] < inputs) & (o[None, :] < O))


@kernel
def gather(
    shares, chunks, lam, d, line, trials, trial_parts, P, g, sums, numel,
    BEGIN: tl.constexpr, BLOCK: tl.constexpr,
    SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """P += t d, g = the shares' sum + P / lam, and <g, g>, <d, g>, <P, g>, <P, P>, <P, d>, <d, d>."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = P.dtype.element_ty
    weight = tl.load(lam + e)
    i = part * BLOCK + tl.arange(0, BLOCK)
    here, at = i < numel, e * numel + i
    pull = tl.zeros((BLOCK,), tl.float64)
    for chunk in range(chunks):
        pull += tl.load(shares + (e * chunks + chunk) * numel + i, mask=here, other=0.0).to(tl.float64)
    p, old = tl.zeros((BLOCK,), dtype), tl.zeros((BLOCK,), dtype)
    if not BEGIN:
        trials += e * trial_parts * TRIALS
        t = step_of(line + e * WIDTH, trials, trial_parts, weight, dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
        p, old = tl.load(P + at, mask=here, other=0.0), tl.load(d + at, mask=here, other=0.0)
        p = tl.where(t != 0, p + t * old, p)
    tl.store(P + at, p, mask=here)
    new = (pull + p.to(tl.float64) / weight).to(dtype)
    tl.store(g + at, new, mask=here)
    new, p, old = new.to(tl.float64), p.to(tl.float64), old.to(tl.float64)
    sums += (e * tl.num_programs(0) + part) * WIDTH
    tl.store(sums, tl.sum(new * new))
    tl.store(sums + 1, tl.sum(old * new))
    tl.store(sums + 2, tl.sum(p * new))
    tl.store(sums + 3, tl.sum(p * p))
    tl.store(sums + 4, tl.sum(p * old))
    tl.store(sums + 5, tl.sum(old * old))


@kernel
def along(
    X, x_stride, Z, g, d, d_new, image_d, sums, sum_parts, line_old, line, bends, O, millionths,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr,
    BEGIN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    """d_new = -g + beta d (Fletcher-Reeves, back to -g where that does not descend), its image, and ||sigma'(Z) image_d||^2."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    dots = sum_of_parts(sums + e * sum_parts * WIDTH, sum_parts, WIDTH, 0, 6, WIDTH, 16)
    gg, dg = column(dots, 0, WIDTH), column(dots, 1, WIDTH)
    beta = tl.zeros((), tl.float64)
    if not BEGIN:
        beta = gg / tl.load(line_old + e * WIDTH + GG)
        beta = tl.where(beta * dg - gg < 0, beta, 0.0)  # also for NaN
    if panel + block == 0:
        line += e * WIDTH
        tl.store(line + GG, gg)
        tl.store(line + SLOPE, times(beta, dg) - gg)
        tl.store(line + DD, column(dots, 3, WIDTH))
        tl.store(line + D_D, times(beta, column(dots, 4, WIDTH)) - column(dots, 2, WIDTH))
        tl.store(line + D2, gg - 2 * times(beta, dg) + times(beta * beta, column(dots, 5, WIDTH)))
    share = beta.to(dtype)
    inputs = I + JOINT
    o, r = panel * COLUMNS + tl.arange(0, COLUMNS), block * ROWS + tl.arange(0, ROWS)
    product = tl.zeros((ROWS, COLUMNS), dtype)
    for first in range(0, inputs, INNER):
        i = first + tl.arange(0, INNER)
        here, at = (i[:, None] < inputs) & (o[None, :] < O), (e * inputs + i[:, None]) * O + o[None, :]
        direction = -tl.load(g + at, mask=here, other=0.0)
        if not BEGIN:
            direction += tl.where(beta != 0, share * tl.load(d + at, mask=here, other=0.0), 0.0)
        tl.store(d_new + at, direction, mask=here & (block == 0))
        x = load_rows(
            X + e * x_stride, r[:, None], i[None, :], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, direction, product, input_precision="ieee", out_dtype=dtype)
    here, at = (r[:, None] < R) & (o[None, :] < O), (e * R + r[:, None]) * O + o[None, :]
    tl.store(image_d + at, product, mask=here)
    seen = slope_of(tl.load(Z + at, mask=here, other=0.0), leak) * product
    tl.store(bends + (e * tl.num_programs(1) + block) * tl.num_programs(0) + panel, tl.sum(seen * seen).to(tl.float64))


@kernel
def attempt(
    Z, T, lam, image_d, bends, bend_parts, line, trials, numel, steps, millionths,
    BLOCK: tl.constexpr, ARMIJO: tl.constexpr,
    SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """The first step, and the trials' partial sums."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    line += e * WIDTH
    bend = tl.zeros((1,), tl.float64)
    if not ARMIJO:
        bend = sum_of_parts(bends + e * bend_parts, bend_parts, 1, 0, 1, 1, 128)
    first = first_step(tl.load(line + SLOPE), tl.sum(bend, 0), tl.load(line + D2), tl.load(lam + e), ARMIJO)
    if part == 0:
        tl.store(line + FIRST_STEP, first)
    t = trial_steps(first, LOG2, LIMIT, TRIALS, dtype)
    total = tl.zeros((BLOCK, TRIALS), dtype)
    for step in range(steps):
        i = (part * steps + step) * BLOCK + tl.arange(0, BLOCK)
        here, at = i < numel, e * numel + i
        z, target = tl.load(Z + at, mask=here, other=0.0), tl.load(T + at, mask=here, other=0.0)
        total += trial_terms(z, tl.load(image_d + at, mask=here, other=0.0), target, t, leak)
    m = tl.arange(0, TRIALS)
    tl.store(trials + (e * tl.num_programs(0) + part) * TRIALS + m, tl.sum(total, 0).to(tl.float64))


@kernel
def settle(
    A, B, lam, line, trials, trial_parts, end, numel,
    BLOCK: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """The last step of Z or of P: end = A + t B."""
    e = tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = A.dtype.element_ty
    sums = trials + e * trial_parts * TRIALS
    t = step_of(line + e * WIDTH, sums, trial_parts, tl.load(lam + e), dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(end + e * numel + i, load_moved(A, B, t, e * numel + i, i < numel, False), mask=i < numel)


def minimise(rows: Rows, Z, T, lam, P, iterations, search: Search, leak) -> list[Launch]:
    """Return the 4 n + 2 launches that minimise f from displacement 0 in weight space by n iterations.

    Args:
        rows: the layer's rows.
        P: written, the displacement `[E, I, O]`.

    The others are those of `batch.minimise`.
    """
    E, R, O = Z.shape
    tile, (panels, tiles, chunks), steps, high = cuts(rows, O)
    geometry, fixed, x_stride = rows.arguments(), rows.constants(), rows.member_stride
    numel = P[0].numel()
    parts, trial_steps_ = blocks(R * O, search.block)
    dot_parts = -(-numel // 1024)
    Zs, image_d = [Z.new_empty(Z.shape) for _ in range(2)], Z.new_empty(Z.shape)
    g, *ds = (empty_like_weights(rows, E, O) for _ in range(3))
    shares = Z.new_empty(E, chunks, *P.shape[1:])
    sums, bends, trials = scratch(Z, E, dot_parts, 8), scratch(Z, E, high, panels), scratch(Z, E, parts, search.width)
    lines = [scratch(Z, E, 8) for _ in range(2)]
    numbers, launches, here, code = search.constants(), [], Z, millionths(leak)
    chosen = {name: value for name, value in numbers.items() if name != "ARMIJO"}
    for k in range(iterations):
        now, before, begin = k % 2, (k + 1) % 2, {"BEGIN": k == 0}
        searched = (lines[before], trials, parts)
        given = (rows.tensor, x_stride, here, T, lam, image_d, *searched, Zs[now], shares, O, panels, steps, code, *geometry)
        launches.append(Launch(back, (tiles, chunks, E), given, {**fixed, **begin, **tile, **chosen}, warps=8))
        here = here if k == 0 else Zs[now]
        given = (shares, chunks, lam, ds[before], *searched, P, g, sums, numel)
        launches.append(Launch(gather, (dot_parts, E), given, {**begin, "BLOCK": 1024, **chosen}))
        directions = (ds[before], ds[now], image_d)
        given = (rows.tensor, x_stride, here, g, *directions, sums, dot_parts, lines[before], lines[now], bends, O, code, *geometry)
        cut = {"ROWS": 64, "COLUMNS": tile["COLUMNS"], "INNER": tile["INNER"]}
        launches.append(Launch(along, (panels, high, E), given, {**fixed, **begin, **cut}, warps=8))
        given = (here, T, lam, image_d, bends, high * panels, lines[now], trials, R * O, trial_steps_, code)
        launches.append(Launch(attempt, (parts, E), given, {"BLOCK": search.block, **numbers}, warps=8))
    searched = (lam, lines[now], trials, parts)
    for A, B, end in ((here, image_d, Z), (P, ds[now], P)):
        size = A[0].numel()
        launches.append(Launch(settle, (-(-size // 1024), E), (A, B, *searched, end, size), {"BLOCK": 1024, **chosen}))
    return launches
