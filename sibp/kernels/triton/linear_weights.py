"""Linear conjugate gradients in weight space, one problem per neuron: three launches an iteration.

`along` makes the direction d from the residual and its image X d; `fold` sends that back, for every chunk of rows its share of X^T X d and
of ||X d||^2; `update` adds the shares up and makes the step. The slow twin is `conjugate_gradient.solve_linear` in its `WeightSpace`.
"""

import triton.language as tl

from sibp.kernels.triton.lines import kernel, sum_of_parts
from sibp.kernels.triton.plan import Launch, scratch
from sibp.kernels.triton.rows import Rows, cuts, empty_like_weights, load_rows

__all__ = ["solve"]


@kernel
def fold(
    X, x_stride, image, shares, bends, O, panels, steps,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr, INPUTS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    """shares[e, chunk] = X^T image over the chunk's rows, a tile of it; bends[e, chunk, o] = the squares of the image there."""
    tile, chunk, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = image.dtype.element_ty
    panel, first = tile % panels, tile // panels * INPUTS
    o, i = panel * COLUMNS + tl.arange(0, COLUMNS), first + tl.arange(0, INPUTS)
    product, squares = tl.zeros((INPUTS, COLUMNS), dtype), tl.zeros((INNER, COLUMNS), dtype)
    for step in range(steps):
        r = (chunk * steps + step) * INNER + tl.arange(0, INNER)
        here = (r[:, None] < R) & (o[None, :] < O)
        seen = tl.load(image + (e * R + r[:, None]) * O + o[None, :], mask=here, other=0.0)
        squares += seen * seen
        x = load_rows(
            X + e * x_stride, r[None, :], i[:, None], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, seen, product, input_precision="ieee", out_dtype=dtype)
    inputs, place = I + JOINT, e * tl.num_programs(1) + chunk
    at = (place * inputs + i[:, None]) * O + o[None, :]
    tl.store(shares + at, product, mask=(i[:, None] < inputs) & (o[None, :] < O))
    tl.store(bends + place * O + o, tl.sum(squares, 0).to(tl.float64), mask=(o < O) & (first == 0))


@kernel
def along(
    X, x_stride, r, d, d_new, image, sums, sum_parts, tolerance, state, state_new, O,
    R, I, channels, height, width, out_height, out_width, per_sample, per_channel, per_row, per_column,
    KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DENSE: tl.constexpr, JOINT: tl.constexpr,
    BEGIN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    """d_new = r + beta d and its image; state `[3, O]`: rr, the floor below which a neuron stays, and ||d_new||^2."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = r.dtype.element_ty
    o, row = panel * COLUMNS + tl.arange(0, COLUMNS), block * ROWS + tl.arange(0, ROWS)
    rr = sum_of_parts(sums + e * sum_parts * O, sum_parts, O, panel * COLUMNS, O, COLUMNS, 8)
    state, state_new = state + e * 3 * O, state_new + e * 3 * O
    beta = tl.zeros((COLUMNS,), tl.float64)
    stop = tl.load(tolerance + e).to(tl.float64)
    floor = stop * stop * rr
    if not BEGIN:
        old = tl.load(state + o, mask=o < O, other=0.0)
        beta = tl.where(old > 0, rr / old, 0.0)
        floor = tl.load(state + O + o, mask=o < O, other=0.0)
    share = beta.to(dtype)[None, :]
    inputs = I + JOINT
    product, squares = tl.zeros((ROWS, COLUMNS), dtype), tl.zeros((INNER, COLUMNS), tl.float64)
    for first in range(0, inputs, INNER):
        i = first + tl.arange(0, INNER)
        here, at = (i[:, None] < inputs) & (o[None, :] < O), (e * inputs + i[:, None]) * O + o[None, :]
        direction = tl.load(r + at, mask=here, other=0.0)
        if not BEGIN:
            direction += tl.where(share != 0, share * tl.load(d + at, mask=here, other=0.0), 0.0)
        tl.store(d_new + at, direction, mask=here & (block == 0))
        squares += direction.to(tl.float64) * direction.to(tl.float64)
        x = load_rows(
            X + e * x_stride, row[:, None], i[None, :], R, I, channels, height, width, out_height, out_width,
            per_sample, per_channel, per_row, per_column, KH, KW, SH, SW, PH, PW, DENSE, JOINT
        )  # fmt: skip
        product = tl.dot(x, direction, product, input_precision="ieee", out_dtype=dtype)
    here = (row[:, None] < R) & (o[None, :] < O)
    tl.store(image + (e * R + row[:, None]) * O + o[None, :], product, mask=here)
    if block == 0:
        tl.store(state_new + o, rr, mask=o < O)
        tl.store(state_new + O + o, floor, mask=o < O)
        tl.store(state_new + 2 * O + o, tl.sum(squares, 0), mask=o < O)


@kernel
def update(
    shares, bends, chunks, lam, d, state, r, D, sums, inputs, O,
    BEGIN: tl.constexpr, INPUTS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """t = rr / (||X d||^2 + ||d||^2 / (2 lam)), D += t d, r -= t (X^T X d + d / (2 lam)), and the squares of r.

    At the beginning r = -X^T R and D = 0."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = r.dtype.element_ty
    o, i = panel * COLUMNS + tl.arange(0, COLUMNS), block * INPUTS + tl.arange(0, INPUTS)
    here, at = (i[:, None] < inputs) & (o[None, :] < O), (e * inputs + i[:, None]) * O + o[None, :]
    pull = tl.zeros((INPUTS, COLUMNS), tl.float64)
    for chunk in range(chunks):
        share = shares + ((e * chunks + chunk) * inputs + i[:, None]) * O + o[None, :]
        pull += tl.load(share, mask=here, other=0.0).to(tl.float64)
    if BEGIN:
        rest = -pull.to(dtype)
        tl.store(D + at, tl.zeros((INPUTS, COLUMNS), dtype), mask=here)
    else:
        mu = 1 / (2 * tl.load(lam + e).to(tl.float64))
        state += e * 3 * O + o
        rr, floor = tl.load(state, mask=o < O, other=0.0), tl.load(state + O, mask=o < O, other=0.0)
        bend = sum_of_parts(bends + e * chunks * O, chunks, O, panel * COLUMNS, O, COLUMNS, 8)
        bend += mu * tl.load(state + 2 * O, mask=o < O, other=0.0)
        t = tl.where((bend > 0) & (rr > floor), rr / bend, 0.0).to(dtype)[None, :]
        direction = tl.load(d + at, mask=here, other=0.0)
        tl.store(D + at, tl.load(D + at, mask=here, other=0.0) + t * direction, mask=here)
        rest = tl.load(r + at, mask=here, other=0.0) - t * (pull.to(dtype) + mu.to(dtype) * direction)
    tl.store(r + at, rest, mask=here)
    squares = tl.sum(rest.to(tl.float64) * rest.to(tl.float64), 0)
    tl.store(sums + (e * tl.num_programs(1) + block) * O + o, squares, mask=o < O)


def solve(rows: Rows, R, lam, tolerance, D, iterations) -> list[Launch]:
    """Return the 3 n + 2 launches that minimise ||X D + R||^2 + 1/(2 lam) ||D||^2 for every neuron by n iterations from D = 0.

    Args:
        rows: X.
        R: residual `[E, R, O]`.
        lam, tolerance: `[E, 1, 1]`.
        D: written, `[E, I, O]`, or `[E, I + 1, O]` with a column of ones.
        iterations: n >= 1.
    """
    E, _, O = R.shape
    inputs = D.shape[1]
    tile, (panels, tiles, chunks), steps, high = cuts(rows, O)
    geometry, fixed = rows.arguments(), rows.constants()
    blocks = -(-inputs // 32)
    r, *ds = (empty_like_weights(rows, E, O) for _ in range(3))
    image, shares = R.new_empty(R.shape), R.new_empty(E, chunks, inputs, O)
    bends, sums, states = scratch(R, E, chunks, O), scratch(R, E, blocks, O), [scratch(R, E, 3, O) for _ in range(2)]
    X = (rows.tensor, rows.member_stride)
    cut = {"COLUMNS": tile["COLUMNS"], "INNER": tile["INNER"]}

    def folded(array) -> Launch:
        given = (*X, array, shares, bends, O, panels, steps, *geometry)
        return Launch(fold, (tiles, chunks, E), given, {**fixed, **tile}, warps=8)

    def updated(d, state, begin: bool) -> Launch:
        given = (shares, bends, chunks, lam, d, state, r, D, sums, inputs, O)
        return Launch(update, (panels, blocks, E), given, {"BEGIN": begin, "INPUTS": 32, "COLUMNS": tile["COLUMNS"]})

    launches = [folded(R), updated(ds[0], states[0], True)]
    for k in range(iterations):
        now, before = k % 2, (k + 1) % 2
        given = (*X, r, ds[before], ds[now], image, sums, blocks, tolerance, states[before], states[now], O, *geometry)
        launches.append(Launch(along, (panels, high, E), given, {**fixed, "BEGIN": k == 0, "ROWS": 64, **cut}, warps=8))
        launches += [folded(image), updated(ds[now], states[now], False)]
    return launches
