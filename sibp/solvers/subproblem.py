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

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from sibp.nets import layers
from sibp.nets.activations import Activation
from sibp.nets.layers import Patches

__all__ = ["BatchSpace", "BiasSpace", "LayerSpace", "Space", "Subproblem", "Vector", "WeightSpace", "choose_space"]


class Vector(NamedTuple):
    """A displacement D as solvers carry it.

    Attributes:
        P: its coordinates in a space.
        image: X D, in a shape that broadcasts to `[E, R, O]`.
    """

    P: Tensor
    image: Tensor


class Space(ABC):
    """Coordinates for the displacement of a layer's parameters.

    The last axis is always the neuron, so sums over all other axes but E are per neuron.
    """

    @abstractmethod
    def coordinates(self, D: Tensor) -> Tensor:
        """Return the coordinates of X^T D.

        Args:
            D: `[E, R, O]`.

        Returns:
            P, in the space's shape.
        """

    @abstractmethod
    def image(self, P: Tensor) -> Tensor:
        """Return X times the displacement with coordinates P.

        Args:
            P: in the space's shape.

        Returns:
            X D, in a shape that broadcasts to `[E, R, O]`.
        """

    @abstractmethod
    def inner(self, p: Vector, q: Vector) -> Tensor:
        """Return the elementwise terms whose sum is the inner product of two displacements.

        Args:
            p: one of them.
            q: the other.

        Returns:
            Terms in the space's shape; sum over axis -2 for one number per neuron, over both last axes for one per member.
        """

    def vector(self, P: Tensor) -> Vector:
        """Return a displacement with its image.

        Args:
            P: its coordinates.

        Returns:
            P and X D. Cost: that of `image`.
        """
        return Vector(P, self.image(P))


@dataclass(frozen=True, eq=False)
class LayerSpace(Space):
    """A space of a layer's weights, with the bias as one more input that is always 1 if `joint`.

    Attributes:
        X: the layer's rows `[E, R, I]`.
        joint: whether the bias moves with the weights.
    """

    X: Tensor | Patches
    joint: bool = False

    @abstractmethod
    def displacement(self, P: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the displacements of the parameters.

        Args:
            P: coordinates.

        Returns:
            Those of W `[E, O, I]` and, if `joint`, of b `[E, 1, O]`, else None.
        """

    @abstractmethod
    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        """Add a displacement to the parameters, in place.

        Args:
            W: weights `[E, O, I]`.
            b: bias `[E, 1, O]`, which `joint` needs and which stays without it.
            P: coordinates of the displacement.
        """


class WeightSpace(LayerSpace):
    """Displacements as they are: P = D `[E, I, O]`, or `[E, I + 1, O]` with `joint`.

    Cost: one product of R I O per image and per coordinates.
    """

    @cached_property
    def matrix(self) -> Tensor:
        """X, with its column of ones if `joint`."""
        X = layers.matrix(self.X)
        return torch.cat([X, X.new_ones(*X.shape[:-1], 1)], -1) if self.joint else X

    @override
    def coordinates(self, D: Tensor) -> Tensor:
        return self.matrix.mT @ D

    @override
    def image(self, P: Tensor) -> Tensor:
        return self.matrix @ P

    @override
    def inner(self, p: Vector, q: Vector) -> Tensor:
        return p.P * q.P

    @override
    def displacement(self, P: Tensor) -> tuple[Tensor, Tensor | None]:
        return (P[:, :-1].mT.contiguous(), P[:, -1:]) if self.joint else (P.mT.contiguous(), None)

    @override
    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        if self.joint:
            assert b is not None
            b += P[:, -1:]
            P = P[:, :-1]
        W += P.mT


class BatchSpace(LayerSpace):
    """Displacements D = X^T S by their coordinates S `[E, R, O]`. Cost: K = X X^T once, then one product of R^2 O per image.

    With `joint`, K = X X^T + 1 and the bias moves by the sum of S over the rows.
    """

    @cached_property
    def K(self) -> Tensor:
        """X X^T `[E, R, R]`, or X X^T + 1 if `joint`."""
        K = layers.gram(self.X)
        return K.add_(1) if self.joint else K

    @override
    def coordinates(self, D: Tensor) -> Tensor:
        return D

    @override
    def image(self, P: Tensor) -> Tensor:
        return self.K @ P

    @override
    def inner(self, p: Vector, q: Vector) -> Tensor:
        return p.P * q.image

    @override
    def displacement(self, P: Tensor) -> tuple[Tensor, Tensor | None]:
        return layers.cross(P, self.X), P.sum(1, keepdim=True) if self.joint else None

    @override
    def move(self, W: Tensor, b: Tensor | None, P: Tensor) -> None:
        layers.add_cross(W, P, self.X)  # without a buffer of W's size
        if self.joint:
            assert b is not None
            b += P.sum(1, keepdim=True)


class BiasSpace(Space):
    """Displacements of the bias, P `[E, 1, O]`: X is a column of ones, and no product is needed."""

    @override
    def coordinates(self, D: Tensor) -> Tensor:
        return D.sum(1, keepdim=True)

    @override
    def image(self, P: Tensor) -> Tensor:
        return P

    @override
    def inner(self, p: Vector, q: Vector) -> Tensor:
        return p.P * q.P


THIN, MINI_BATCH = 4, 128  # see choose_space


def choose_space(name: str, X: Tensor | Patches, fan_out: int, products: int, *, joint: bool = False) -> LayerSpace:
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

    Returns:
        A `BatchSpace` or a `WeightSpace` over X.
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
        """Sum elementwise terms, per member or per neuron.

        Args:
            terms: `[E, n, O]`.

        Returns:
            `[E, 1, 1]`, or `[E, 1, O]` with `per_neuron`.
        """
        return terms.sum(-2, keepdim=True) if self.per_neuron else terms.sum((-2, -1), keepdim=True)

    def data_term(self, Z: Tensor) -> Tensor:
        """Return ||sigma(Z) - T||^2.

        Args:
            Z: pre-activation `[E, R, O]`.

        Returns:
            `[E, 1, 1]`, or `[E, 1, O]` with `per_neuron`. Cost: elementwise.
        """
        return self.total((self.activation.value(Z) - self.T).square_())

    def gamma(self, Z: Tensor) -> Tensor:
        """Return 2 sigma'(Z) (sigma(Z) - T), whose X^T is the data term's gradient.

        Args:
            Z: pre-activation `[E, R, O]`.

        Returns:
            2 Gamma `[E, R, O]`. Cost: elementwise.
        """
        F = self.activation.value(Z)
        if self.activation.name == "identity":
            return 2 * (F - self.T)
        return (F - self.T).mul_(self.activation.slope(Z, F)).mul_(2)

    def gradient(self, Z: Tensor, P: Tensor) -> Tensor:
        """Return the coordinates of grad f.

        Args:
            Z: pre-activation at the displacement, `[E, R, O]`.
            P: the displacement's coordinates.

        Returns:
            Coordinates, in the space's shape. Cost: that of the space's `coordinates`.
        """
        return self.space.coordinates(self.gamma(Z)) + P / self.lam

    def inner(self, p: Vector, q: Vector) -> Tensor:
        """Return the inner product of two displacements.

        Args:
            p: one of them.
            q: the other.

        Returns:
            <p, q>, `[E, 1, 1]`, or `[E, 1, O]` with `per_neuron`. Cost: elementwise.
        """
        return self.total(self.space.inner(p, q))
