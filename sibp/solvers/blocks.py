"""The blocks of block coordinate descent (J 3.3): a member's variables, the minimiser of the objective over each, and one sweep.

Letters: B sample, n layer 1..N, I fan-in, O fan-out. The formulas stand at `sibp.methods.bcd.BCD`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sibp.nets import activations

__all__ = ["PROXES", "Blocks", "chunks", "objective", "relu_prox", "sweep"]

CHUNK = 8192  # rows per product: all temporaries are of this size, and U and V are the only large arrays


def relu_prox(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """Return argmin_u 1/2 (relu(u) - a)^2 + g/2 (u - b)^2, elementwise.

    For u >= 0 the best is (a + g b)/(1 + g), worth g/(2 (1 + g)) (a - b)^2 if it is there; for u <= 0 it is min(b, 0). With b < 0
    < a the first wins where g b >= a (g - sqrt(g (g + 1))); a tie goes to b, as in the authors' program.

    Args:
        a: V_n, any shape.
        b: what U_n is drawn to, of a's shape.
        g: ratio of the two weights, > 0, broadcasts to a.

    Returns:
        U_n, of a's shape.
    """
    inside = a + g * b
    keep = (inside >= 0) & (b < 0) & (g * b <= a * (g - (g * (g + 1)).sqrt()))
    return torch.where(inside < 0, b.clamp(max=0), torch.where(keep, b, inside / (1 + g)))


def identity_prox(a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """Return argmin_u 1/2 (u - a)^2 + g/2 (u - b)^2, elementwise.

    Args:
        a: V_n, any shape.
        b: what U_n is drawn to, of a's shape.
        g: ratio of the two weights, > 0, broadcasts to a.

    Returns:
        U_n, of a's shape.
    """
    return (a + g * b) / (1 + g)


PROXES = {"relu": relu_prox, "identity": identity_prox}


class Blocks(NamedTuple):
    """One member's variables, as views: what a sweep updates in place, and what it reads.

    Attributes:
        activations: of the layers.
        W: weights `[O, I]` of each layer.
        b: bias `[1, O]` of each layer, or None.
        U: pre-activations `[B, O]` of each layer.
        V: activations `[B, O]` of each layer.
        x: inputs `[B, I]`.
        Y: one-hot targets `[B, K]`.
        alpha: weight of the proximal terms, `[1, 1]`.
        rho: weight of the affine terms, `[1, 1]`.
        gamma: weight of the activation terms, `[1, 1]`.
    """

    activations: list[str]
    W: list[Tensor]
    b: list[Tensor | None]
    U: list[Tensor]
    V: list[Tensor]
    x: Tensor
    Y: Tensor
    alpha: Tensor
    rho: Tensor
    gamma: Tensor

    def below(self, n: int) -> Tensor:
        """Return V_{n-1}, the input of a layer.

        Args:
            n: the layer, counted from 0 here.

        Returns:
            `[B, I]`.
        """
        return self.V[n - 1] if n else self.x

    def affine(self, n: int, rows: slice) -> Tensor:
        """Return V_{n-1} W_n^T + b_n of some rows.

        Args:
            n: the layer, counted from 0.
            rows: which samples.

        Returns:
            `[rows, O]`, a new array. Cost: one product.
        """
        Z = self.below(n)[rows] @ self.W[n].mT
        b = self.b[n]
        return Z if b is None else Z.add_(b)

    def activated(self, n: int, rows: slice) -> Tensor:
        """Return sigma_n(U_n) of some rows.

        Args:
            n: the layer, counted from 0.
            rows: which samples.

        Returns:
            `[rows, O]`.
        """
        return activations.get(self.activations[n]).value(self.U[n][rows])


def sweep(blocks: Blocks) -> None:
    """Update every block once, from the last layer to the first, in place.

    Args:
        blocks: a member's.
    """
    _, W, b, U, V, x, Y, alpha, rho, gamma = blocks
    V[-1].copy_((Y + gamma * U[-1] + alpha * V[-1]) / (1 + gamma + alpha))
    for rows in chunks(len(x)):
        U[-1][rows] = (gamma * V[-1][rows] + rho * blocks.affine(len(W) - 1, rows)) / (gamma + rho)
    for n in reversed(range(len(W))):
        update_parameters(blocks, n)
        if n == 0:
            break
        A, prox = rho * W[n].mT @ W[n], PROXES[blocks.activations[n - 1]]
        factor = cholesky(A.double(), gamma).to(A.dtype)
        for rows in chunks(len(x)):
            bias = b[n]
            D = U[n][rows] if bias is None else U[n][rows] - bias
            right = rho * (D @ W[n]) + gamma * blocks.activated(n - 1, rows)
            V[n - 1][rows] = torch.cholesky_solve(right.mT, factor).mT
            at = (rho * blocks.affine(n - 1, rows) + alpha * U[n - 1][rows]) / (rho + alpha)
            U[n - 1][rows] = prox(V[n - 1][rows], at, (rho + alpha) / gamma)


def update_parameters(blocks: Blocks, n: int) -> None:
    """Update W_n and b_n by their ridge problems; sums over samples are kept in float64, where rho V^T V swamps alpha.

    Args:
        blocks: a member's.
        n: the layer, counted from 0. Cost: two products of B I O and one of B I^2, and solves of I^3.
    """
    W, b, U, X = blocks.W[n], blocks.b[n], blocks.U[n], blocks.below(n)
    O, I = W.shape
    A, C, s = (W.new_zeros(*shape, dtype=torch.float64) for shape in ((I, I), (O, I), (1, I + O)))
    for rows in chunks(len(X)):
        Xc, Uc = X[rows], U[rows]
        A += Xc.mT @ Xc
        C += (Uc if b is None else Uc - b).mT @ Xc
        s[:, :I] += Xc.sum(0)
        s[:, I:] += Uc.sum(0)
    alpha, rho = blocks.alpha.double(), blocks.rho.double()
    rest = s[:, I:] - s[:, :I] @ W.double().mT  # with the old W
    W.copy_(torch.cholesky_solve((alpha * W + rho * C).mT, cholesky(rho * A, alpha)).mT)
    if b is not None:
        b.copy_((alpha * b + rho * rest) / (alpha + rho * len(X)))


def objective(blocks: Blocks, *, full: bool) -> Tensor:
    """Return one member's objective, see `BCD.objective`.

    Args:
        blocks: a member's.
        full: add the terms of the activations.

    Returns:
        A scalar.
    """
    total = (blocks.V[-1] - blocks.Y).square().sum() / 2
    for n, (U, V) in enumerate(zip(blocks.U, blocks.V, strict=True)):
        for rows in chunks(len(U)):
            total += blocks.rho.squeeze() / 2 * (blocks.affine(n, rows) - U[rows]).square().sum()
            if full:
                total += blocks.gamma.squeeze() / 2 * (V[rows] - blocks.activated(n, rows)).square().sum()
    return total


def cholesky(A: Tensor, ridge: Tensor) -> Tensor:
    """Return the Cholesky factor of A + ridge I.

    Args:
        A: positive semi-definite `[n, n]`, overwritten.
        ridge: one number, > 0.

    Returns:
        L, lower triangular `[n, n]`.
    """
    A.diagonal().add_(ridge.squeeze())
    return torch.linalg.cholesky_ex(A)[0]


def chunks(rows: int) -> Iterator[slice]:
    """Return slices of at most `CHUNK` rows.

    Args:
        rows: how many there are.

    Returns:
        The slices, in order.
    """
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))
