"""Proximal back propagation as a complete method (J 3.2, after Frerix et al. 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor
from typing_extensions import override

from sibp.core.options import Count, Options, Positive
from sibp.methods.base import BackpropMethod, State
from sibp.nets import layers, propagation
from sibp.nets.layers import Affine, Patches
from sibp.nets.propagation import Trace
from sibp.solvers import conjugate_gradient, dispatch
from sibp.solvers.subproblem import choose_space

__all__ = ["ProxBP", "ProxBPOptions", "ProxBPSolver"]


class ProxBPOptions(Options):
    """Hyper-parameters of ProxBP.

    Attributes:
        eta: step on the pre-activations, G - eta dJ/dG, > 0; J sums over the mini-batch.
        lam: proximal weight 1/(2 lam), > 0.
        solver: ``cg`` runs `cg_steps` linear conjugate gradient iterations, ``exact`` solves by Cholesky.
        cg_steps: 5 in the papers' tables.
        space: where the conjugate gradient works, see `sibp.solvers.subproblem`.
    """

    eta: Positive = 0.1
    lam: Positive = 1.0
    solver: Literal["cg", "exact"] = "cg"
    cg_steps: Count = 5
    space: Literal["auto", "batch", "weight"] = "auto"


class ProxBPSolver:
    """ProxBP's proximal step at one layer (J 3.2), for both drivers.

    Args:
        column: ``eta`` and ``lam`` as `[E, 1, 1]`.
        shared: ``solver``, ``cg_steps`` and ``space``.
    """

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, Any]) -> None:
        self.column = column
        self.shared = shared

    def solve(self, X: Tensor | Patches, D: Tensor, W: Tensor, b: Tensor | None) -> None:
        """Add the proximal step of one layer to its parameters, in place; they are not read.

        Args:
            X: rows `[E, R, I]`.
            D: dJ/dG `[E, R, O]`.
            W: weights `[E, O, I]`.
            b: bias `[E, 1, O]`, part of the problem; None without one.
        """
        R, lam, joint = self.column["eta"] * D, self.column["lam"], b is not None
        if self.shared["solver"] == "exact":
            P = conjugate_gradient.solve_exactly(X, R, lam, joint=joint)
            W += P[:, : W.shape[2]].mT
            if b is not None:
                b += P[:, -1:]
            return
        steps = self.shared["cg_steps"]
        space = choose_space(self.shared["space"], X, W.shape[1], steps, joint=joint)
        space.move(W, b, dispatch.solve_linear(space, R, lam, steps))


class ProxBP(BackpropMethod[ProxBPOptions]):
    """Proximal back propagation: for every layer, with dJ/dG by back propagation through the **old** weights (J 3.2).

    (W+, b+) = argmin ||X W^T + b - (Z - eta dJ/dG)||^2 + 1/(2 lam) (||W - W_k||^2 + ||b - b_k||^2).

    J leaves the bias out; it is folded in as one more input that is always 1, as P does (docs/deviations.md).
    Cost per layer: as SGD, plus R^2 (I + cg_steps O) in batch space, or a Cholesky factor of min(R, I)^3 / 3.
    """

    name = "proxbp"
    options = ProxBPOptions

    @override
    def prepare(self) -> None:
        self.solver = ProxBPSolver(self.column, self.shared)

    @override
    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            D = propagation.through_activation(layer, seen, delta)
            if i > 0:
                delta = propagation.through_bridge(seen, layers.adjoint(D, W, seen.X))
            self.solver.solve(seen.X.expand(W.shape[0], -1, -1), D, W, b)
