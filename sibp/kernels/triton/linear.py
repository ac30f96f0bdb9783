"""Linear conjugate gradients in batch space, one problem per neuron: one launch an iteration.

`advance` makes the direction and the step from the sums that the launch before left for its neurons, moves, takes the image K r of the
new residual and leaves the sums that the next direction and its curvature need. The slow twin is `conjugate_gradient.solve_linear`.
"""

import triton
import triton.language as tl

from sibp.kernels.triton.batch import tiles
from sibp.kernels.triton.lines import kernel, sum_of_parts
from sibp.kernels.triton.plan import Launch, scratch

__all__ = ["solve"]


@triton.jit
def step_and_turn(sums, parts, state, state_new, o, first, O, mu, tolerance, write, COLUMNS: tl.constexpr):
    """beta and t of some neurons: rr = <r, Kr>, beta = rr / rr_old, t = rr / (||Kd||^2 + mu <d, Kd>) for d = r + beta d_old.

    sums `[parts, 6, O]`: <r, Kr>, ||Kr||^2, <Kr, Kd>, ||Kd||^2, <r, Kd> + <d, Kr>, <d, Kd>. state `[2, O]`: rr_old and the floor of rr
    below which a neuron stays, less than 0 where it is not known yet."""
    rr = sum_of_parts(sums, parts, 6 * O, first, O, COLUMNS, 4)
    inner = rr  # <d, Kd>
    bend = sum_of_parts(sums + O, parts, 6 * O, first, O, COLUMNS, 4)
    rr = tl.maximum(rr, 0.0)  # in batch space it can round below zero when K is nearly singular
    old = tl.load(state + o, mask=o < O, other=0.0)
    floor = tl.load(state + O + o, mask=o < O, other=0.0)
    floor = tl.where(floor < 0, tolerance * tolerance * rr, floor)
    beta = tl.where(old > 0, rr / old, 0.0)
    bend += beta * (2 * sum_of_parts(sums + 2 * O, parts, 6 * O, first, O, COLUMNS, 4))
    bend += beta * beta * sum_of_parts(sums + 3 * O, parts, 6 * O, first, O, COLUMNS, 4)
    inner += beta * sum_of_parts(sums + 4 * O, parts, 6 * O, first, O, COLUMNS, 4)
    inner += beta * beta * sum_of_parts(sums + 5 * O, parts, 6 * O, first, O, COLUMNS, 4)
    bend += mu * inner
    t = tl.where((bend > 0) & (rr > floor), rr / bend, 0.0)
    if write:
        tl.store(state_new + o, rr, mask=o < O)
        tl.store(state_new + O + o, floor, mask=o < O)
    return beta, t


@triton.jit
def load_residual(r, image_r, d, image_d, at, here, beta, t, mu, BEGIN: tl.constexpr):
    """d = r + beta d, its image, and r - t (image_d + mu d); at the beginning r is the negative residual and there is no d."""
    rest = tl.load(r + at, mask=here, other=0.0)
    if BEGIN:
        zero = tl.zeros_like(rest)
        return zero, zero, -rest
    else:
        # what is not used may be anything: 0 * NaN is NaN
        old, image = tl.load(d + at, mask=here, other=0.0), tl.load(image_d + at, mask=here, other=0.0)
        direction = rest + tl.where(beta != 0, beta * old, 0.0)
        along = tl.load(image_r + at, mask=here, other=0.0) + tl.where(beta != 0, beta * image, 0.0)
        return direction, along, rest - t * (along + mu * direction)


@kernel
def advance(
    K, k_stride, r, image_r, d, image_d, lam, tolerance, sums, sum_parts, state, D, r_new, image_r_new, d_new, image_d_new,
    sums_new, state_new, R, O, BEGIN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr
):  # fmt: skip
    """One iteration's step and the image of the residual after it, for ROWS x COLUMNS of a member."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = r.dtype.element_ty
    mu = 1 / (2 * tl.load(lam + e).to(tl.float64))
    o = panel * COLUMNS + tl.arange(0, COLUMNS)
    state, state_new = state + e * 2 * O, state_new + e * 2 * O
    beta, t = tl.zeros((COLUMNS,), tl.float64), tl.zeros((COLUMNS,), tl.float64)
    if BEGIN:
        if block == 0:
            tl.store(state_new + o, beta, mask=o < O)
            tl.store(state_new + O + o, beta - 1, mask=o < O)
    else:
        stop, first = tl.load(tolerance + e).to(tl.float64), panel * COLUMNS
        beta, t = step_and_turn(
            sums + e * sum_parts * 6 * O, sum_parts, state, state_new, o, first, O, mu, stop, block == 0, COLUMNS
        )
    beta, t, mu = beta.to(dtype)[None, :], t.to(dtype)[None, :], mu.to(dtype)
    i = block * ROWS + tl.arange(0, ROWS)
    product = tl.zeros((ROWS, COLUMNS), dtype)
    for start in range(0, R, INNER):
        row = start + tl.arange(0, INNER)
        here = (row[:, None] < R) & (o[None, :] < O)
        at = e * R * O + row[:, None] * O + o[None, :]
        direction, along, rest = load_residual(r, image_r, d, image_d, at, here, beta, t, mu, BEGIN)
        inside = (i[:, None] < R) & (row[None, :] < R)
        k = tl.load(K + e * k_stride + i[:, None] * R + row[None, :], mask=inside, other=0.0)
        product = tl.dot(k, rest, product, input_precision="ieee", out_dtype=dtype)
    here = (i[:, None] < R) & (o[None, :] < O)
    at = e * R * O + i[:, None] * O + o[None, :]
    direction, along, rest = load_residual(r, image_r, d, image_d, at, here, beta, t, mu, BEGIN)
    tl.store(r_new + at, rest, mask=here)
    tl.store(image_r_new + at, product, mask=here)
    tl.store(d_new + at, direction, mask=here)
    tl.store(image_d_new + at, along, mask=here)
    total = t * direction
    if not BEGIN:
        total += tl.load(D + at, mask=here, other=0.0)
    tl.store(D + at, total, mask=here)
    part = sums_new + (e * tl.num_programs(1) + block) * 6 * O + o
    tl.store(part, tl.sum(rest * product, 0).to(tl.float64), mask=o < O)
    tl.store(part + O, tl.sum(product * product, 0).to(tl.float64), mask=o < O)
    tl.store(part + 2 * O, tl.sum(product * along, 0).to(tl.float64), mask=o < O)
    tl.store(part + 3 * O, tl.sum(along * along, 0).to(tl.float64), mask=o < O)
    tl.store(part + 4 * O, tl.sum(rest * along + direction * product, 0).to(tl.float64), mask=o < O)
    tl.store(part + 5 * O, tl.sum(direction * along, 0).to(tl.float64), mask=o < O)


@kernel
def settle(r, d, lam, tolerance, sums, sum_parts, state, D, R, O, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The last step: D += t (r + beta d)."""
    panel, block, e = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    dtype: tl.constexpr = r.dtype.element_ty
    mu, stop = 1 / (2 * tl.load(lam + e).to(tl.float64)), tl.load(tolerance + e).to(tl.float64)
    o, first = panel * COLUMNS + tl.arange(0, COLUMNS), panel * COLUMNS
    state += e * 2 * O
    beta, t = step_and_turn(sums + e * sum_parts * 6 * O, sum_parts, state, state, o, first, O, mu, stop, False, COLUMNS)
    beta, t = beta.to(dtype)[None, :], t.to(dtype)[None, :]
    i = block * ROWS + tl.arange(0, ROWS)
    here, at = (i[:, None] < R) & (o[None, :] < O), e * R * O + i[:, None] * O + o[None, :]
    old = tl.load(d + at, mask=here, other=0.0)
    direction = tl.load(r + at, mask=here, other=0.0) + tl.where(beta != 0, beta * old, 0.0)
    tl.store(D + at, tl.load(D + at, mask=here, other=0.0) + t * direction, mask=here)


def solve(K, R, lam, tolerance, D, iterations) -> list[Launch]:
    """Return the n + 1 launches that minimise ||K S + R||^2 + 1/(2 lam) <S, K S> for every neuron by n iterations from S = 0.

    Args:
        K: `[E, R, R]`, or `[1, R, R]` for members that share their rows.
        R: residual `[E, R, O]`.
        lam, tolerance: `[E, 1, 1]`.
        D: written, S `[E, R, O]`.
        iterations: n >= 1.
    """
    E, rows, O = R.shape
    cut, high = tiles(rows)
    grid = (-(-O // cut["COLUMNS"]), -(-rows // high), E)
    buffers = [tuple(R.new_empty(R.shape) for _ in range(4)) for _ in range(2)]  # r, image_r, d, image_d: read and written in turns
    sums, states = ([scratch(R, E, *shape) for _ in range(2)] for shape in ((grid[1], 6, O), (2, O)))
    k_stride, launches = rows * rows * (K.shape[0] > 1), []
    for k in range(iterations):
        old, new = (k + 1) % 2, k % 2
        before = (R, *buffers[old][1:]) if k == 0 else buffers[old]
        given = (
            K,
            k_stride,
            *before,
            lam,
            tolerance,
            sums[old],
            grid[1],
            states[old],
            D,
            *buffers[new],
            sums[new],
            states[new],
            rows,
            O,
        )
        launches.append(Launch(advance, grid, given, {"BEGIN": k == 0, **cut}, warps=8))
    r, _, d, _ = buffers[new]
    given = (r, d, lam, tolerance, sums[new], grid[1], states[new], D, rows, O)
    return [*launches, Launch(settle, grid, given, {"ROWS": cut["ROWS"], "COLUMNS": cut["COLUMNS"]})]
