"""Semi-implicit back propagation (J 4.1-4.2, Algorithm 1), in the papers' form, the authors' programs' form and ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor

from sibp.core.options import Count, NonNegative, Options, Positive
from sibp.methods.base import Method, State
from sibp.nets import activations, layers, propagation
from sibp.nets.layers import Affine, Patches
from sibp.nets.network import Layer
from sibp.nets.propagation import Trace
from sibp.solvers import conjugate_gradient, dispatch, linesearch, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.subproblem import BiasSpace, Space, Subproblem, WeightSpace, choose_space

__all__ = ["SIBP", "SIBPOptions", "SIBPSolver"]


class SIBPOptions(Options):
    """Hyper-parameters of SIBP.

    Attributes:
        eta: step on the activations, F' = F - eta delta, > 0; delta sums over the mini-batch (J 4.1).
        lam: proximal weight 1/(2 lam), > 0; A and I write lambda/2 with lambda = 1/lam, the authors' program lambda = 1/(2 lam).
        cg_steps: nonlinear conjugate gradient iterations per subproblem; 5 in the papers.
        variant: ``newton`` takes a curvature step along each direction (ours); ``armijo`` backtracks as the papers say;
            ``released`` and ``released-rowwise`` follow the authors' later and first program to the last quirk.
        space: where the conjugate gradient works, see `sibp.solvers.subproblem`; ``auto`` takes the cheaper one.
        l1: weight gamma of an l1 term in every subproblem (J Remark 4.1, 5.5), >= 0. Above 0 the subproblems are solved by `cg_steps`
            iterations of proximal gradient in weight space, whatever the variant; at 0 nothing changes, to the bit.
    """

    eta: Positive = 0.1
    lam: Positive = 0.5
    cg_steps: Count = 5
    variant: Literal["newton", "armijo", "released", "released-rowwise"] = "newton"
    space: Literal["auto", "batch", "weight"] = "auto"
    l1: NonNegative = 0.0


@dataclass(frozen=True)
class Variant:
    """What distinguishes the variants: rules for hidden and last layer, numbers per neuron or joint, and the wrong first
    gradient of the released program's last layer."""

    hidden: Rules
    last: Rules
    per_neuron: bool = False
    first_gradient_without_offset: bool = False
    period_over_inputs: bool = False


_armijo = Rules(linesearch.Armijo())
_newton = Rules(linesearch.Curvature())
_rowwise = Rules(partial(linesearch.released_armijo, sigma=0.4, trials=100), tolerance=1e-4)

VARIANTS = {
    "newton": Variant(_newton, _newton),
    "armijo": Variant(_armijo, _armijo),
    "released": Variant(
        hidden=Rules(linesearch.released_jump, restart=False),
        last=Rules(partial(linesearch.released_armijo, sigma=0.1, trials=50), restart=False),
        first_gradient_without_offset=True,
    ),
    "released-rowwise": Variant(_rowwise, _rowwise, per_neuron=True, period_over_inputs=True),
}


@dataclass(frozen=True)
class Plan:
    """How one layer's subproblems are solved: the space of the iterates, the search, and whether kernels do it."""

    space: Space
    rules: Rules
    kernels: bool


class SIBPSolver:
    """SIBP at one layer: the target of its output rows, then the two subproblems (J 4.1). Both drivers call it, the exhibits'
    engine and the watch over a torch module.

    Args:
        column: ``eta``, ``lam`` and ``l1`` as `[E, 1, 1]`.
        shared: ``cg_steps``, ``variant`` and ``space``, and ``zero``, see `sibp.methods.base.columns`.
    """

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, Any]) -> None:
        self.column = column
        self.shared = shared
        self.variant = VARIANTS[shared["variant"]]
        self.sparse = "l1" not in shared["zero"]

    def plan(self, layer: Layer, X: Tensor | Patches, Z: Tensor) -> Plan:
        """Return how to solve a layer with rows X `[E, R, I]` and pre-activation Z `[E, R, O]`."""
        rules = self.variant.last if layer.activation == "identity" else self.variant.hidden
        space = choose_space(self.shared["space"], X, layer.fan_out, self.shared["cg_steps"])
        kernels = dispatch.applies(space, layer.activation, rules, self.variant.per_neuron, Z)
        return Plan(space, rules, kernels)

    def targets(
        self, layer: Layer, Z: Tensor, F: Tensor, delta: Tensor, kernels: bool, with_error: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Return T = F - eta delta (J 4.2) and, if asked for, D = sigma'(Z) * delta, both `[E, R, O]`; delta is used up."""
        if kernels:
            return dispatch.targets(layer.activation, Z, delta, self.column["eta"], with_error)
        T = F - self.column["eta"] * delta
        if not with_error or layer.activation == "identity":
            return T, delta if with_error else None
        return T, delta * activations.get(layer.activation).slope(Z, F)

    def solve(self, layer: Layer, plan: Plan, X: Tensor | Patches, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> None:
        """Add the solutions of the W-problem and of the b-problem after it to W `[E, O, I]` and b `[E, 1, O]`; Z is used up.

        With l1 = 0 nothing is read from W and b, so that zeros in their place receive the displacement.
        """
        if self.sparse:
            self.solve_sparse(layer, plan, X, Z, T, W, b)
        elif plan.kernels:
            lam, steps = self.column["lam"], self.shared["cg_steps"]
            plan.space.move(W, b, dispatch.minimise(plan.space, layer.activation, Z, T, lam, steps, plan.rules, b))
        else:
            P, Z = self.descend(layer, plan.space, plan.rules, Z, T, offset=b, inputs=layer.fan_in)
            plan.space.move(W, b, P)
            if b is not None:
                p, _ = self.descend(layer, BiasSpace(), plan.rules, Z, T, offset=Z - b, inputs=1)
                b += p

    def solve_sparse(
        self, layer: Layer, plan: Plan, X: Tensor | Patches, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None
    ) -> None:
        """Do what `solve` says with the l1 term in both subproblems: the same solution without it, then proximal gradient.

        Kernels solve them where there are some.
        """
        steps, gamma, lam = self.shared["cg_steps"], self.column["l1"], self.column["lam"]
        smooth = self.solve_smooth(layer, plan, Z, T, W, b)
        if plan.kernels and dispatch.applies_l1(X, layer.activation, Z):
            given = (layer.activation, Z, T, W.mT, lam, gamma, steps, plan.rules, smooth, b)
            W += dispatch.minimise_l1(X, *given).mT
            return
        problem = Subproblem(WeightSpace(X), activations.get(layer.activation), Z, T, lam)
        D, Z = proximal_gradient.minimise_l1(problem, W.mT, gamma, steps, smooth)
        # an entry that was thresholded to zero is V + (0 - V): exactly zero again
        W += D.mT
        if b is not None:
            smooth = self.solve_smooth_bias(layer, plan, Z, T, b)
            b += proximal_gradient.minimise_l1(replace(problem, space=BiasSpace(), Z=Z), b, gamma, steps, smooth)[0]

    def solve_smooth(self, layer: Layer, plan: Plan, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Return the displacement `[E, I, O]` that solves the W-problem without the l1 term."""
        if plan.kernels:
            steps = self.shared["cg_steps"]
            P = dispatch.minimise(plan.space, layer.activation, Z.clone(), T, self.column["lam"], steps, plan.rules)
        else:
            P, _ = self.descend(layer, plan.space, plan.rules, Z, T, offset=b, inputs=layer.fan_in)
        moved = W.new_zeros(W.shape)
        plan.space.move(moved, None, P)
        return moved.mT

    def solve_smooth_bias(self, layer: Layer, plan: Plan, Z: Tensor, T: Tensor, b: Tensor) -> Tensor:
        """Return the displacement `[E, 1, O]` that solves the bias problem without the l1 term."""
        space = BiasSpace()
        if dispatch.applies(space, layer.activation, plan.rules, self.variant.per_neuron, Z):
            steps = self.shared["cg_steps"]
            return dispatch.minimise(space, layer.activation, Z, T, self.column["lam"], steps, plan.rules)
        return self.descend(layer, space, plan.rules, Z, T, offset=Z - b, inputs=1)[0]

    def descend(
        self, layer: Layer, space: Space, rules: Rules, Z: Tensor, T: Tensor, offset: Tensor | None, inputs: int
    ) -> tuple[Tensor, Tensor]:
        """Return the displacement's coordinates and the new Z; `offset` is the part of Z that the unknown does not make."""
        variant = self.variant
        sigma = activations.get(layer.activation)
        problem = Subproblem(space, sigma, Z, T, self.column["lam"], per_neuron=variant.per_neuron)
        if variant.period_over_inputs:
            rules = replace(rules, period=inputs + 1)
        gamma = None
        if layer.activation == "identity" and variant.first_gradient_without_offset and offset is not None:
            gamma = problem.gamma(Z - offset)
        return conjugate_gradient.minimise(problem, self.shared["cg_steps"], rules, gamma)


class SIBP(Method):
    """Semi-implicit back propagation.

    From the last layer to the first, with T = F - eta delta (J 4.1, 4.2; our rows are the papers' columns):
        W+ = argmin_W ||sigma(X W^T + b) - T||^2 + 1/(2 lam) ||W - W_k||^2,
        b+ = argmin_b ||sigma(X W+^T + b) - T||^2 + 1/(2 lam) ||b - b_k||^2,
        delta_i = (sigma'(Z) * delta_{i+1}) W+, the **new** W with the **old** Z.
    Both argmins are approximated by `cg_steps` iterations from the current parameters.

    Cost per layer: as SGD, plus R^2 (I + cg_steps O) multiply-adds in batch space (R rows, I inputs, O outputs).
    """

    name = "sibp"
    options = SIBPOptions

    def prepare(self) -> None:
        self.solver = SIBPSolver(self.column, self.shared)

    @classmethod
    def group_key(cls, options: Options) -> tuple[tuple[str, object], ...]:
        return (*super().group_key(options), ("sparse", options.l1 > 0))

    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            X = seen.X.expand(W.shape[0], -1, -1)
            plan = self.solver.plan(layer, X, seen.Z)
            kernels = plan.kernels and not self.solver.sparse
            T, D = self.solver.targets(layer, seen.Z, seen.F, delta, kernels, with_error=i > 0)
            self.solver.solve(layer, plan, X, seen.Z, T, W, b)
            if i > 0:
                delta = propagation.through_bridge(seen, layers.adjoint(D, W, seen.X))
