"""One layer's subproblem, and the spaces in which its iterates are kept.

Letters: E member, R row, I fan-in, O fan-out.

With X the layer's rows, Z_k = X W_k^T + b_k and T the target of its output rows, the weight update of SIBP (J 4.1) is
    min_W ||sigma(X W^T + b_k) - T||^2 + 1/(2 lam) ||W - W_k||^2 .
Written in the displacement D = (W - W_k)^T `[E, I, O]` and its image X D `[E, R, O]`,
    f(D) = ||sigma(Z_k + X D) - T||^2 + 1/(2 lam) ||D||^2 ,        grad f = X^T (2 Gamma) + D / lam,
    Gamma = sigma'(Z) * (sigma(Z) - T) .
The bias problem is the same with X a column of ones. A *space* says how displacements are stored. Every gradient is X^T of
something, so a solver that starts at W_k never leaves the span of the rows, and a displacement can be kept as S `[E, R, O]`
with D = X^T S: then X D = K S with K = X X^T `[E, R, R]`, and <D, D'> = <S, K S'>. Nothing of size I O is touched until the
end, when W += S^T X, the very product that SGD needs for its gradient (`BatchSpace`). `WeightSpace` keeps D itself.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from sibp.nets import layers
from sibp.nets.activations import Activation
from sibp.nets.layers import Patches

__all__ = ["BatchSpace", "BiasSpace", "Space", "Subproblem", "WeightSpace", "choose_space"]


class Space(Protocol):
    """Coordinates for the displacement of a layer's parameters; the last axis is always the neuron, so sums over all other
    axes but E are per neuron."""

    def coordinates(self, D: Tensor) -> Tensor:
        """Return the coordinates of X^T D for D `[E, R, O]`."""

    def image(self, P: Tensor) -> Tensor:
        """Return X times the displacement with coordinates P, in a shape that broadcasts to `[E, R, O]`."""

    def inner(self, P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        """Return the elementwise terms whose sum is the inner product of two displacements; sum over axis -2 for one
        number per neuron, over both last axes for one per member."""

    def displacement(self, P: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the displacements of W and of b that have coordinates P; None for one that stays."""

    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        """Add the displacement with coordinates P to the parameters, in place."""


@dataclass(frozen=True)
class WeightSpace:
    """Displacements as they are: P = D `[E, I, O]`. Cost: one product of R I O per image and per coordinates.

    With `joint` the bias is one more input that is always 1, and P is `[E, I + 1, O]`.
    """

    X: Tensor | Patches
    joint: bool = False

    @cached_property
    def matrix(self) -> Tensor:
        """X, with its column of ones if `joint`."""
        X = layers.matrix(self.X)
        return torch.cat([X, X.new_ones(*X.shape[:-1], 1)], -1) if self.joint else X

    def coordinates(self, D: Tensor) -> Tensor:
        return self.matrix.mT @ D

    def image(self, P: Tensor) -> Tensor:
        return self.matrix @ P

    def inner(self, P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        return P * Q

    def displacement(self, P: Tensor) -> tuple[Tensor, Tensor | None]:
        return (P[:, :-1].mT.contiguous(), P[:, -1:]) if self.joint else (P.mT.contiguous(), None)

    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        if self.joint:
            b += P[:, -1:]
            P = P[:, :-1]
        W += P.mT


class BatchSpace:
    """Displacements D = X^T S by their coordinates S `[E, R, O]`. Cost: K = X X^T once, then one product of R^2 O per image.

    With `joint`, K = X X^T + 1 and the bias moves by the sum of S over the rows.
    """

    def __init__(self, X: Tensor | Patches, joint: bool = False) -> None:
        self.X = X
        self.joint = joint

    @cached_property
    def K(self) -> Tensor:
        K = layers.gram(self.X)
        return K.add_(1) if self.joint else K

    def coordinates(self, D: Tensor) -> Tensor:
        return D

    def image(self, P: Tensor) -> Tensor:
        return self.K @ P

    def inner(self, P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        return P * image_Q

    def displacement(self, P: Tensor) -> tuple[Tensor, Tensor | None]:
        return layers.cross(P, self.X), P.sum(1, keepdim=True) if self.joint else None

    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        layers.add_cross(W, P, self.X)  # without a buffer of W's size
        if self.joint:
            b += P.sum(1, keepdim=True)


class BiasSpace:
    """Displacements of the bias, P `[E, 1, O]`: X is a column of ones, and no product is needed."""

    def coordinates(self, D: Tensor) -> Tensor:
        return D.sum(1, keepdim=True)

    def image(self, P: Tensor) -> Tensor:
        return P

    def inner(self, P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        return P * Q

    def displacement(self, P: Tensor) -> tuple[None, Tensor]:
        return None, P

    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        b += P


THIN, MINI_BATCH = 4, 128  # see choose_space


def choose_space(name: str, X: Tensor | Patches, fan_out: int, products: int, joint: bool = False) -> Space:
    """Return the space that `name` asks for; ``auto`` takes the one with fewer multiply-adds.

    Over a solve with n products each way, weight space costs 2 n R I O multiply-adds and batch space R^2 I + n R^2 O + R I O. Batch
    space is taken up to THIN times the multiply-adds of weight space, whose products with few neurons run far below the full rate, and
    always up to MINI_BATCH rows, where K is too small to matter.

    Args:
        name: ``auto``, ``batch`` or ``weight``.
        X: the layer's rows `[E, R, I]`.
        fan_out: O.
        products: n, about the number of conjugate gradient iterations.
        joint: whether the bias is part of the problem.
    """
    if name == "auto":
        _, R, I = X.shape
        batch = R * I + products * R * fan_out + I * fan_out
        name = "batch" if R <= MINI_BATCH or batch <= THIN * 2 * products * I * fan_out else "weight"
    return BatchSpace(X, joint) if name == "batch" else WeightSpace(X, joint)


@dataclass(frozen=True)
class Subproblem:
    """f(D) = ||sigma(Z + image(D)) - T||^2 + 1/(2 lam) ||D||^2, summed over the mini-batch (J 4.1).

    Attributes:
        space: where displacements live.
        activation: sigma.
        Z: pre-activation at D = 0, `[E, R, O]`.
        T: target of sigma's output, `[E, R, O]`.
        lam: proximal weight, > 0, `[E, 1, 1]`; a large lam allows a large step.
        per_neuron: whether the numbers of a solve (objective, slope, step) are kept per neuron `[E, 1, O]`, the problem
            being separable, or per member `[E, 1, 1]`, as the papers have it.
    """

    space: Space
    activation: Activation
    Z: Tensor
    T: Tensor
    lam: Tensor
    per_neuron: bool = False

    def total(self, terms: Tensor) -> Tensor:
        """Sum elementwise terms to `[E, 1, 1]`, or to `[E, 1, O]` per neuron."""
        return terms.sum(-2, keepdim=True) if self.per_neuron else terms.sum((-2, -1), keepdim=True)

    def data_term(self, Z: Tensor) -> Tensor:
        """Return ||sigma(Z) - T||^2."""
        return self.total((self.activation.value(Z) - self.T).square_())

    def gamma(self, Z: Tensor) -> Tensor:
        """Return 2 sigma'(Z) (sigma(Z) - T), whose X^T is the data term's gradient."""
        F = self.activation.value(Z)
        if self.activation.name == "identity":
            return 2 * (F - self.T)
        return (F - self.T).mul_(self.activation.slope(Z, F)).mul_(2)

    def gradient(self, Z: Tensor, P: Tensor) -> Tensor:
        """Return the coordinates of grad f at pre-activation Z and displacement P."""
        return self.space.coordinates(self.gamma(Z)) + P / self.lam

    def inner(self, P: Tensor, image_P: Tensor, Q: Tensor, image_Q: Tensor) -> Tensor:
        """Return <P, Q>, per member or per neuron."""
        return self.total(self.space.inner(P, image_P, Q, image_Q))
