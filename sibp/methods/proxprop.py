"""ProxProp (P, Frerix et al. 2018): proximal steps on the hidden layers as directions for any first-order optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from typing_extensions import override

from sibp.core.options import Count, NonNegative, OptionError, Options, Positive, Share, plain
from sibp.methods.adam import AdamRule
from sibp.methods.first_order import FirstOrder, Rule
from sibp.methods.rmsprop import RMSpropRule
from sibp.methods.sgd import Momentum
from sibp.nets import layers, propagation
from sibp.nets.layers import Affine, Patches
from sibp.nets.network import Layer
from sibp.nets.propagation import Trace
from sibp.solvers import conjugate_gradient, dispatch
from sibp.solvers.subproblem import Space, Vector, choose_space

__all__ = ["OracleOptions", "ProxProp", "ProxPropOptions", "ProxPropSolver", "released_conjugate_gradient"]

RULES: dict[str, type[Rule]] = {"sgd": Momentum, "adam": AdamRule, "rmsprop": RMSpropRule}


class OracleOptions(Options):
    """What decides a ProxProp direction.

    Attributes:
        tau_prox: weight of the proximal term 1/(2 tau_prox), > 0 (P's tau_theta).
        solver: ``cg`` runs `cg_steps` conjugate gradient iterations, ``exact`` solves by Cholesky, ``gradient`` takes one explicit
            step on the data term, which is back propagation.
        cg_steps: 3, 5 or 10 in P.
        variant: ``paper`` is a correct conjugate gradient; ``released`` the one of the authors' program, faults included.
        tolerance: ``paper`` stops a neuron whose relative residual is below it; P names none.
        reduction: ``mean`` or ``sum`` of the loss over the mini-batch; P's program has the mean.
        space: where the conjugate gradient works, see `sibp.solvers.subproblem`.
    """

    tau_prox: Positive = 1.0
    solver: Literal["cg", "exact", "gradient"] = "cg"
    cg_steps: Count = 3
    variant: Literal["paper", "released"] = "paper"
    tolerance: NonNegative = 0.0
    reduction: Literal["mean", "sum"] = "mean"
    space: Literal["auto", "batch", "weight"] = "auto"


class ProxPropOptions(OracleOptions):
    """Hyper-parameters of ProxProp with an optimizer (P 5.1, 5.3).

    Attributes:
        optimizer: ``sgd``, ``adam`` or ``rmsprop``, fed with the directions.
        eta: its step size (P's tau), > 0; P uses 1 with ``sgd`` and 1e-3 with ``adam``, the defaults.
        momentum: of ``sgd`` (0.95 in P) and ``rmsprop``, in [0, 1).
        nesterov: of ``sgd``, true in P; by default where there is a momentum.
        beta1: of ``adam``.
        beta2: of ``adam``.
        alpha: of ``rmsprop``.
        eps: of ``adam`` and ``rmsprop``.
    """

    optimizer: Literal["sgd", "adam", "rmsprop"] = "sgd"
    eta: Positive = 1.0
    momentum: Share = 0.95
    nesterov: bool = True
    beta1: Share = 0.9
    beta2: Share = 0.999
    alpha: Share = 0.99
    eps: Positive = 1e-8

    @classmethod
    @override
    def defaults_for(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        if given.get("optimizer", "sgd") != "sgd":
            return {"eta": 1e-3, "momentum": 0.0, "nesterov": False}
        momentum = plain(given.get("momentum"))
        return {"nesterov": False} if isinstance(momentum, int | float) and momentum == 0 else {}

    @override
    def check(self) -> None:
        if self.nesterov and self.optimizer != "sgd":
            raise OptionError(f"nesterov: got true with optimizer {self.optimizer}, need sgd")
        if self.nesterov and self.momentum == 0:
            raise OptionError("nesterov: got true with momentum 0, need a momentum > 0")


class ProxPropSolver:
    """ProxProp's direction at one layer, for both drivers.

    Args:
        column: ``tau_prox`` and ``tolerance`` as `[E, 1, 1]`.
        shared: ``solver``, ``cg_steps``, ``variant`` and ``space``.
    """

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, Any]) -> None:
        self.column = column
        self.shared = shared

    def direction(self, layer: Layer, X: Tensor | Patches, g: Tensor, *, last: bool) -> Affine:
        """Return theta_k - theta+ (P eq. 11); the gradient (P eq. 12) for the last layer, and for the solver ``gradient``.

        Args:
            layer: the layer.
            X: its rows `[E, R, I]`.
            g: dJ/dZ `[E, R, O]`.
            last: whether it is the network's last one.

        Returns:
            W `[E, O, I]` and b `[E, 1, O]`, or None for a layer without a bias.
        """
        if last or self.shared["solver"] == "gradient":
            return Affine(layers.cross(g, X), g.sum(1, keepdim=True) if layer.bias else None)
        tau, joint = self.column["tau_prox"], layer.bias
        if self.shared["solver"] == "exact":
            D = conjugate_gradient.solve_exactly(X, g, tau / 2, joint=joint)
            return Affine(-D[:, : layer.fan_in].mT, -D[:, -1:] if joint else None)
        steps = self.shared["cg_steps"]
        space = choose_space(self.shared["space"], X, layer.fan_out, steps, joint=joint)
        if self.shared["variant"] == "released":
            P = released_conjugate_gradient(space, g, tau, steps, one_problem=layer.is_convolution)
        else:
            P = dispatch.solve_linear(space, g, tau / 2, steps, self.column["tolerance"])
        return Affine(*space.displacement(P.neg_()))


class ProxProp(FirstOrder[ProxPropOptions]):
    """ProxProp (P Algorithm 2): proximal directions, which go to an optimizer as gradients would.

    For the hidden layers, with g = dJ/dZ by back propagation through the **old** weights (P eq. 11),
        theta+ = argmin 1/2 ||X W^T + b - (Z - g)||^2 + 1/(2 tau_prox) ||theta - theta_k||^2,   direction = theta_k - theta+;
    for the last layer, the gradient (P eq. 12).

    The data term sums over the mini-batch (and positions); J is the mean or sum as `reduction` says. Twice the objective is the
    problem of J 3.2 with lam = tau_prox / 2. The bias is one more input that is always 1 and is proximal too.

    Cost per hidden layer: as SGD, plus R^2 (I + cg_steps O) in batch space, or a Cholesky factor of min(R, I)^3 / 3.
    """

    name = "proxprop"
    options = ProxPropOptions
    buffers = 2

    @override
    def prepare(self) -> None:
        self.solver = ProxPropSolver(self.column, self.shared)
        self.rule = RULES[self.shared["optimizer"]](self.column, self.shared)

    @classmethod
    @override
    def group_key(cls, options: ProxPropOptions) -> tuple[tuple[str, object], ...]:
        return (*super().group_key(options), ("momentum > 0", options.momentum > 0))

    @override
    def directions(self, parameters: Sequence[Affine], trace: Trace, delta: Tensor) -> list[Affine]:
        """Return theta_k - theta+ for the hidden layers and the gradient for the last.

        Args:
            parameters: one `Affine` per layer.
            trace: a forward pass of them.
            delta: dL/dF_N of the mini-batch's **sum**, `[E, B, K]`.

        Returns:
            One `Affine` per layer, each shaped as its parameter.
        """
        if self.shared["reduction"] == "mean":
            delta = delta / delta.shape[1]
        last = len(self.network.layers) - 1
        result = [
            self.solver.direction(self.network.layers[i], X, g, last=i == last)
            for i, X, g in propagation.backward(self.network, parameters, trace, delta)
        ]
        return result[::-1]


def released_conjugate_gradient(space: Space, g: Tensor, tau: Tensor, iterations: int, *, one_problem: bool) -> Tensor:
    """Minimise 1/2 ||image(D) + g||^2 + 1/(2 tau) ||D||^2 from D = 0 as the authors' program does.

    Its first pass keeps residual and direction in one array, so the second direction is (1 + beta) r instead of r + beta d; 1e-6
    is added to <d, A d> and to the denominator of beta; it stops all columns at once, when the largest ||r||^2 is below 1e-4
    of the first ones' mean, tested after D has moved (docs/deviations.md).

    Args:
        space: where D lives.
        g: residual at D = 0, `[E, R, O]`.
        tau: proximal weight, > 0, `[E, 1, 1]`.
        iterations: how many at most, >= 1.
        one_problem: all of D is one column, as for a convolution, instead of one column per neuron.

    Returns:
        Coordinates of D. Cost per iteration: one product in batch space, two in weight space.
    """
    axes = (-2, -1) if one_problem else (-2,)

    def square(p: Vector) -> Tensor:
        return space.inner(p, p).sum(axes, keepdim=True).clamp(min=0)

    r = space.vector(-space.coordinates(g))
    d, D = r, torch.zeros_like(r.P)
    rr = square(r)
    enough = 1e-4 * rr.mean(-1, keepdim=True)
    going = torch.ones_like(enough, dtype=torch.bool)
    for k in range(iterations):
        bend = d.image.square().sum(axes, keepdim=True) + square(d) / tau
        t = torch.where(going, rr / (bend + 1e-6), 0)
        D = D + t * d.P
        if k + 1 == iterations:
            break
        r = space.vector(r.P - t * (space.coordinates(d.image) + d.P / tau))
        rr_old, rr = rr, square(r)
        going = going & (rr.amax(-1, keepdim=True) >= enough)
        beta = rr / (rr_old + 1e-6)
        if k == 0:
            d = Vector((1 + beta) * r.P, (1 + beta) * r.image)
        else:
            d = Vector(r.P + beta * d.P, r.image + beta * d.image)
    return D
