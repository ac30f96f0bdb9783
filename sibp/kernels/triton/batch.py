"""Nonlinear conjugate gradients in batch space: two launches an iteration, for a grid of members and parts of their `[R, O]`.

`look` moves by the step that the last search found, takes the gradient there and its image K g; `turn` makes the next direction and
the partial sums of all its trials. The slow twin is `conjugate_gradient.minimise`; names are the same. <D, D>, <D, d>, <d, d> and the
curvature ||sigma'(Z) image_d||^2 come by recurrence from products with image_g, so no pass over memory is spent on them.
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

__all__ = ["minimise", "tiles"]


@triton.jit
def load_moved(Z, P, image_d, d, t, at, here, BEGIN: tl.constexpr):
    """Z + t image_d and P + t d; where there is no step, none is added: 0 * NaN is NaN. At the beginning P = 0."""
    z = tl.load(Z + at, mask=here, other=0.0)
    if BEGIN:
        p = tl.zeros_like(z)
    else:
        p = tl.load(P + at, mask=here, other=0.0)
        z = tl.where(t != 0, z + t * tl.load(image_d + at, mask=here, other=0.0), z)
        p = tl.where(t != 0, p + t * tl.load(d + at, mask=here, other=0.0), p)
    return z, p


@kernel
def look(
    K, k_stride, Z, P, T, lam, d, image_d, line, trials, trial_parts, state, Z_new, P_new, g, image_g, sums, R, O,
    millionths, BEGIN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, SIGMA: tl.constexpr,
    LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """Z_new = Z + t image_d, P_new = P + t d, g = 2 sigma'(Z) (sigma(Z) - T) + P / lam there, image_g = K g, and the dots with it.

    A program has ROWS x COLUMNS of them and makes what it needs of g for all rows again, so nobody waits for anybody."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    weight = tl.load(lam + e)
    inverse_lam = (1 / weight).to(dtype)
    t = tl.zeros((), tl.float64)
    if not BEGIN:
        line += e * WIDTH
        t = step_of(line, trials + e * trial_parts * TRIALS, trial_parts, weight, dtype, SIGMA, LOG2, LIMIT, TRIALS)
        if panel + block == 0:
            dD, d2 = tl.load(line + D_D), tl.load(line + D2)
            state += e * WIDTH
            tl.store(state + GG, tl.load(line + GG))
            tl.store(state + DD, tl.maximum(tl.load(line + DD) + 2 * t * dD + t * t * d2, 0.0))
            tl.store(state + D_D, dD + t * d2)
            tl.store(state + D2, d2)
    t = t.to(dtype)
    member = e * R * O
    o = panel * COLUMNS + tl.arange(0, COLUMNS)
    i = block * ROWS + tl.arange(0, ROWS)
    product = tl.zeros((ROWS, COLUMNS), dtype)
    for start in range(0, R, INNER):
        r = start + tl.arange(0, INNER)
        here = (r[:, None] < R) & (o[None, :] < O)
        at = member + r[:, None] * O + o[None, :]
        z, p = load_moved(Z, P, image_d, d, t, at, here, BEGIN)
        part = gradient(z, tl.load(T + at, mask=here, other=0.0), leak) + p * inverse_lam
        inside = (i[:, None] < R) & (r[None, :] < R)
        k = tl.load(K + e * k_stride + i[:, None] * R + r[None, :], mask=inside, other=0.0)
        product = tl.dot(k, part, product, input_precision="ieee", out_dtype=dtype)
    here = (i[:, None] < R) & (o[None, :] < O)
    at = member + i[:, None] * O + o[None, :]
    z, p = load_moved(Z, P, image_d, d, t, at, here, BEGIN)
    own = gradient(z, tl.load(T + at, mask=here, other=0.0), leak) + p * inverse_lam
    tl.store(Z_new + at, z, mask=here)
    tl.store(P_new + at, p, mask=here)
    tl.store(g + at, own, mask=here)
    tl.store(image_g + at, product, mask=here)
    seen = slope_of(z, leak) * product
    sums += ((e * tl.num_programs(1) + block) * tl.num_programs(0) + panel) * WIDTH
    tl.store(sums, tl.sum(own * product).to(tl.float64))
    tl.store(sums + 5, tl.sum(seen * seen).to(tl.float64))
    if BEGIN:
        for n in tl.static_range(1, 5):
            tl.store(sums + n, tl.zeros((), tl.float64))
    else:
        along = slope_of(z, leak) * tl.load(image_d + at, mask=here, other=0.0)
        tl.store(sums + 1, tl.sum(tl.load(d + at, mask=here, other=0.0) * product).to(tl.float64))
        tl.store(sums + 2, tl.sum(p * product).to(tl.float64))
        tl.store(sums + 3, tl.sum(along * along).to(tl.float64))
        tl.store(sums + 4, tl.sum(along * seen).to(tl.float64))


@kernel
def turn(
    Z, T, lam, g, image_g, d, image_d, sums, sum_parts, state, line, trials, numel, steps, millionths, BEGIN: tl.constexpr,
    BLOCK: tl.constexpr, ARMIJO: tl.constexpr, SIGMA: tl.constexpr, LOG2: tl.constexpr, LIMIT: tl.constexpr,
    TRIALS: tl.constexpr
):  # fmt: skip
    """d = -g + beta d and the same for its image (Fletcher-Reeves, back to -g where that does not descend), and the trials' sums."""
    part, e = tl.program_id(0), tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    leak = leak_of(millionths, dtype)
    dots = sum_of_parts(sums + e * sum_parts * WIDTH, sum_parts, WIDTH, 0, 6, WIDTH, 16)
    gg = tl.maximum(column(dots, 0, WIDTH), 0.0)  # in batch space it can round below zero when K is nearly singular
    beta, DD_, dD, d2 = (tl.zeros((), tl.float64),) * 4
    dg = column(dots, 1, WIDTH)
    if not BEGIN:
        state += e * WIDTH
        beta = gg / tl.load(state + GG)
        beta = tl.where(beta * dg - gg < 0, beta, 0.0)  # also for NaN
        DD_, dD, d2 = tl.load(state + DD), tl.load(state + D_D), tl.load(state + D2)
    slope = times(beta, dg) - gg
    dD = times(beta, dD) - column(dots, 2, WIDTH)
    d2 = tl.maximum(gg - 2 * times(beta, dg) + times(beta * beta, d2), 0.0)
    bend = column(dots, 5, WIDTH) - 2 * times(beta, column(dots, 4, WIDTH)) + times(beta * beta, column(dots, 3, WIDTH))
    first = first_step(slope, bend, d2, tl.load(lam + e), ARMIJO)
    if part == 0:
        line += e * WIDTH
        tl.store(line + GG, gg)
        tl.store(line + SLOPE, slope)
        tl.store(line + DD, DD_)
        tl.store(line + D_D, dD)
        tl.store(line + D2, d2)
        tl.store(line + FIRST_STEP, first)
    t = trial_steps(first, LOG2, LIMIT, TRIALS, dtype)
    total = tl.zeros((BLOCK, TRIALS), dtype)
    share = beta.to(dtype)
    turned = tl.where(beta != 0, numel, 0)  # elements of d that are needed: the others may be anything
    for step in range(steps):
        i = (part * steps + step) * BLOCK + tl.arange(0, BLOCK)
        here, at = i < numel, e * numel + i
        next_d, along = -tl.load(g + at, mask=here, other=0.0), -tl.load(image_g + at, mask=here, other=0.0)
        if not BEGIN:
            old = i < turned
            next_d += share * tl.load(d + at, mask=old, other=0.0)
            along += share * tl.load(image_d + at, mask=old, other=0.0)
        tl.store(d + at, next_d, mask=here)
        tl.store(image_d + at, along, mask=here)
        z, target = tl.load(Z + at, mask=here, other=0.0), tl.load(T + at, mask=here, other=0.0)
        total += trial_terms(z, along, target, t, leak)
    m = tl.arange(0, TRIALS)
    tl.store(trials + (e * tl.num_programs(0) + part) * TRIALS + m, tl.sum(total, 0).to(tl.float64))


@kernel
def settle(
    Z, P, d, image_d, lam, line, trials, trial_parts, Z_end, P_end, numel, BLOCK: tl.constexpr, SIGMA: tl.constexpr,
    LOG2: tl.constexpr, LIMIT: tl.constexpr, TRIALS: tl.constexpr
):  # fmt: skip
    """The last step: Z_end = Z + t image_d, P_end = P + t d."""
    e = tl.program_id(1).to(tl.int64)
    dtype: tl.constexpr = Z.dtype.element_ty
    sums = trials + e * trial_parts * TRIALS
    t = step_of(line + e * WIDTH, sums, trial_parts, tl.load(lam + e), dtype, SIGMA, LOG2, LIMIT, TRIALS).to(dtype)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    z, p = load_moved(Z, P, image_d, d, t, e * numel + i, i < numel, False)
    tl.store(Z_end + e * numel + i, z, mask=i < numel)
    tl.store(P_end + e * numel + i, p, mask=i < numel)


def tiles(rows: int) -> tuple[dict[str, int], int]:
    """Return how a product K g is cut, by the number of rows alone: many programs for a mini-batch, few passes over many rows."""
    high = 32 if rows <= 128 else 64
    return {"ROWS": high, "COLUMNS": 32, "INNER": 16}, high


def minimise(K, Z, T, lam, P, iterations, search: Search, leak) -> list[Launch]:
    """Return the 2 n + 1 launches that minimise f from displacement 0 in batch space by n iterations.

    Args:
        K: `[E, R, R]`, or `[1, R, R]` for members that share their rows.
        Z: pre-activation `[E, R, O]`; afterwards the one at the displacement found.
        T: target `[E, R, O]`.
        lam: proximal weight `[E, 1, 1]`.
        P: written, the displacement's coordinates `[E, R, O]`.
        iterations: n >= 1.
        search: the trials along a line.
        leak: sigma's slope below 0.
    """
    E, R, O = Z.shape
    cut, high = tiles(R)
    grid = (-(-O // cut["COLUMNS"]), -(-R // high), E)
    parts, steps = blocks(R * O, search.block)
    buffers = [(Z.new_empty(Z.shape), Z.new_empty(Z.shape)) for _ in range(2)]  # read and written in turns
    g, image_g, d, image_d = (Z.new_empty(Z.shape) for _ in range(4))
    sums, trials = scratch(Z, E, grid[0] * grid[1], 8), scratch(Z, E, parts, search.width)
    state, line = scratch(Z, E, 8), scratch(Z, E, 8)
    numbers, launches = search.constants(), []
    chosen = {name: value for name, value in numbers.items() if name != "ARMIJO"}
    here, code = (Z, P), millionths(leak)
    for k in range(iterations):
        begin, there = {"BEGIN": k == 0}, buffers[k % 2]
        given = (
            K,
            R * R * (K.shape[0] > 1),
            *here,
            T,
            lam,
            d,
            image_d,
            line,
            trials,
            parts,
            state,
            *there,
            g,
            image_g,
            sums,
            R,
            O,
            code,
        )
        launches.append(Launch(look, grid, given, {**begin, **cut, **chosen}, warps=8))
        here = there
        given = (here[0], T, lam, g, image_g, d, image_d, sums, grid[0] * grid[1], state, line, trials, R * O, steps, code)
        launches.append(Launch(turn, (parts, E), given, {**begin, "BLOCK": search.block, **numbers}, warps=8))
    given = (*here, d, image_d, lam, line, trials, parts, Z, P, R * O)
    return [*launches, Launch(settle, (-(-R * O // 1024), E), given, {"BLOCK": 1024, **chosen})]
