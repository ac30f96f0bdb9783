"""The compiled CPU kernels, one operator each: `operators` makes them, `csrc` holds the code, `solvers.dispatch` calls them.

Letters: E member, S members with rows of their own (1 or E), R row, I fan-in, O fan-out; of images B sample, C channel, H and W height and
width. `leak` is the activation's slope below zero, see `native.LEAKS`. A search is Armijo's with its `sigma`, `shrink` and `trials`, or
the curvature step with `trials` halvings. `geometry` is the kernel's height and width and the padding of both.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sibp.kernels import native
from sibp.kernels.operators import kernel

__all__ = [
    "add_cross",
    "cross",
    "is_worth_it",
    "linear",
    "linear_weights",
    "minimise",
    "minimise_l1",
    "minimise_weights",
    "multiplies",
    "targets",
    "update",
]

MOST_ROWS, FEWEST_WEIGHTS = 512, 2048  # of a product D^T X that is worth a kernel


@kernel("delta D", Z="E R O", delta="E R O", eta="E 1 1", D="E R O")
def targets(Z: Tensor, delta: Tensor, eta: Tensor, D: Tensor | None, leak: float) -> None:
    """D = sigma'(Z) delta where there is a D, and delta becomes sigma(Z) - eta delta."""


@kernel("W", W="E O I", D="E R O", X="S R I")
def cross(W: Tensor, D: Tensor, X: Tensor) -> None:
    """W += D^T X."""


@kernel("Z b P", X="S R I", Z="E R O", T="E R O", lam="E 1 1", b="E 1 O", P="E R O")
def minimise(
    X: Tensor,
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    b: Tensor | None,
    P: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    leak: float,
) -> None:
    """Nonlinear conjugate gradients in batch space: the displacement's coordinates into P, Z moves along, then b if there is one."""


@kernel("b P W", X="S R I", Z="E R O", delta="E R O", eta="E 1 1", lam="E 1 1", b="E 1 O", P="E R O", W="E O I")
def update(
    X: Tensor,
    Z: Tensor | None,
    delta: Tensor,
    eta: Tensor,
    lam: Tensor,
    b: Tensor | None,
    P: Tensor | None,
    W: Tensor | None,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    leak: float,
) -> None:
    """`minimise` with the target sigma(Z) - eta delta, overwriting neither; no Z stands for zeros. Then `cross`, if there is no P."""


@kernel("D", X="S R I", R="E R O", lam="E 1 1", tolerance="E 1 1", D="E R O")
def linear(X: Tensor, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, joint: bool, iterations: int) -> None:
    """Linear conjugate gradients in batch space: the coordinates of argmin ||X D + R||^2 + 1/(2 lam) ||D||^2; joint: with a bias."""


def _patches(sizes: dict[str, int], arguments: Sequence[Any]) -> str:
    """Return what is wrong with a convolution's rows R or inputs I; its images and geometry come first, then maybe `joint`."""
    if len(arguments[1]) != 4:
        return f"geometry is {arguments[1]}, need height and width of the kernel and of the padding"
    (kh, kw, ph, pw), joint = arguments[1], arguments[2] is True
    tall, wide = sizes["H"] + 2 * ph - kh + 1, sizes["W"] + 2 * pw - kw + 1
    if min(kh, kw, tall, wide) < 1 or min(ph, pw) < 0:
        return f"geometry is {[kh, kw, ph, pw]}, need a kernel within images of {sizes['H']} x {sizes['W']} and their padding"
    rows, inputs = sizes["B"] * tall * wide, sizes["C"] * kh * kw + joint
    if (sizes["R"], sizes["I"]) != (rows, inputs):
        return f"R is {sizes['R']} and I {sizes['I']}, need R = {rows} and I = {inputs} for these images"
    return ""


@kernel("b P", _patches, images="S B C H W...", Z="E R O", T="E R O", lam="E 1 1", b="E 1 O", P="E I O")
def minimise_weights(
    images: Tensor,
    geometry: Sequence[int],
    Z: Tensor,
    T: Tensor,
    lam: Tensor,
    b: Tensor | None,
    P: Tensor,
    iterations: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    leak: float,
) -> None:
    """Nonlinear conjugate gradients in a convolution's weight space: the displacement into P, then b moves if there is one."""


@kernel("D", _patches, images="S B C H W...", R="E R O", lam="E 1 1", tolerance="E 1 1", D="E I O")
def linear_weights(
    images: Tensor, geometry: Sequence[int], joint: bool, R: Tensor, lam: Tensor, tolerance: Tensor, D: Tensor, iterations: int
) -> None:
    """Linear conjugate gradients in a convolution's weight space; with `joint` the bias is the last of the I inputs."""


@kernel(
    "b D",
    _patches,
    images="S B C H W...",
    Z="E R O",
    T="E R O",
    V="E I O",
    smooth="E I O",
    lam="E 1 1",
    gamma="E 1 1",
    b="E 1 O",
    D="E I O",
)
def minimise_l1(
    images: Tensor,
    geometry: Sequence[int],
    Z: Tensor,
    T: Tensor,
    V: Tensor,
    smooth: Tensor,
    lam: Tensor,
    gamma: Tensor,
    b: Tensor | None,
    D: Tensor,
    iterations: int,
    halvings: int,
    armijo: bool,
    sigma: float,
    shrink: float,
    trials: int,
    leak: float,
) -> None:
    """Proximal gradient on a convolution's weights V from `smooth`, the displacement into D, then on b if there is one."""


def multiplies(D: Tensor, X: Tensor) -> bool:
    """Return whether `add_cross` may take the place of torch's product: on the CPU, for rows that stay in cache, `[E, R, ...]`."""
    return is_worth_it(D, X) and native.supports("identity", D, X)


def is_worth_it(D: Tensor, X: Tensor) -> bool:
    """Return whether a product D^T X is worth a kernel: for rows that stay in cache, `[E, R, ...]`, and enough weights."""
    return MOST_ROWS >= D.shape[1] and D.shape[2] * X.shape[2] >= FEWEST_WEIGHTS


def add_cross(W: Tensor, D: Tensor, X: Tensor) -> None:
    """Add D^T X to W `[E, O, I]`, contiguous, in place, for D `[E, R, O]` and X `[E or 1, R, I]`."""
    cross(W, D.contiguous(), (X[:1] if X.stride(0) == 0 else X).contiguous())
