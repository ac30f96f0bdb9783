"""Semi-implicit back propagation (J 4.1-4.2, Algorithm 1), in the papers' form, the authors' programs' form and ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import Tensor
from typing_extensions import override

from sibp.core.options import Count, NonNegative, Options, Positive
from sibp.methods.base import BackpropMethod, State
from sibp.nets import activations, layers, propagation
from sibp.nets.layers import Affine, Patches
from sibp.nets.network import Layer
from sibp.nets.propagation import Trace
from sibp.solvers import conjugate_gradient, dispatch, linesearch, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.dispatch import Seen
from sibp.solvers.subproblem import BiasSpace, LayerSpace, Space, Subproblem, WeightSpace, choose_space

__all__ = ["SIBP", "SIBPOptions", "SIBPSolver"]


class SIBPOptions(Options):
    """Hyper-parameters of SIBP.

    Attributes:
        eta: step on the activations, F' = F - eta delta, > 0; delta sums over the mini-batch (J 4.1).
        lam: proximal weight 1/(2 lam), > 0; A and I write lambda/2 with lambda = 1/lam, the authors' program lambda = 1/(2 lam).
        cg_steps: nonlinear conjugate gradient iterations per subproblem; 5 in the papers.
        variant: ``newton`` takes a curvature step along each direction (ours); ``armijo`` backtracks by the rule of the authors' program;
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
    """What distinguishes the variants.

    Attributes:
        hidden: rules of the hidden layers' conjugate gradient.
        last: rules of the last layer's.
        per_neuron: whether the numbers of a solve are kept per neuron, not per member.
        first_gradient_without_offset: whether the last layer's first gradient leaves the bias out, as the released program's does.
        period_over_inputs: whether the conjugate gradient restarts every I + 1 iterations.
    """

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
    """How one layer's subproblems are solved.

    Attributes:
        layer: the layer.
        space: of the weights' iterates, over the layer's rows.
        rules: of the conjugate gradient.
        kernels: whether kernels solve them.
    """

    layer: Layer
    space: LayerSpace
    rules: Rules
    kernels: bool


class SIBPSolver:
    """SIBP at one layer: the target of its output rows, then the two subproblems (J 4.1).

    Both drivers call it, the exhibits' engine and the watch over a torch module.

    Args:
        column: ``eta``, ``lam`` and ``l1`` as `[E, 1, 1]`.
        shared: ``cg_steps``, ``variant`` and ``space``, and ``zero``, see `sibp.methods.base.columns`.
    """

    def __init__(self, column: Mapping[str, Tensor], shared: Mapping[str, Any]) -> None:
        self.column = column
        self.shared = shared
        self.variant = VARIANTS[shared["variant"]]
        self.sparse = "l1" not in shared["zero"]
        self.update_arguments: dict[str, tuple[float, ...]] = {}  # by the activation, see `update`

    def plan(self, layer: Layer, X: Tensor | Patches, Z: Tensor) -> Plan:
        """Return how to solve a layer.

        Args:
            layer: the layer.
            X: its rows `[E, R, I]`.
            Z: its pre-activation `[E, R, O]`, for dtype and device.

        Returns:
            The plan, which `solve` takes.
        """
        rules = self.rules(layer.activation)
        space = choose_space(self.shared["space"], X, layer.fan_out, self.shared["cg_steps"])
        kernels = dispatch.applies(space, layer.activation, rules, Z, per_neuron=self.variant.per_neuron)
        return Plan(layer, space, rules, kernels)

    def rules(self, activation: str) -> Rules:
        """Return the rules of the conjugate gradient.

        Args:
            activation: of the layer.

        Returns:
            Those of the last layer for the identity, else those of hidden layers.
        """
        return self.variant.last if activation == "identity" else self.variant.hidden

    def targets(
        self, activation: str, Z: Tensor, F: Tensor, delta: Tensor, *, kernels: bool, with_error: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Return T = F - eta delta (J 4.2) and the error at the pre-activation, D = sigma'(Z) * delta.

        Args:
            activation: of the layer.
            Z: pre-activation `[E, R, O]`.
            F: sigma(Z); not read by kernels.
            delta: dL/dF of the mini-batch's sum, `[E, R, O]`; kernels overwrite it.
            kernels: whether a kernel does it.
            with_error: whether to compute D.

        Returns:
            T and D, both `[E, R, O]`; None for D without `with_error`.
        """
        if kernels:
            return dispatch.targets(activation, Z, delta, self.column["eta"], with_error=with_error)
        T = F - self.column["eta"] * delta
        if not with_error or activation == "identity":
            return T, delta if with_error else None
        return T, delta * activations.get(activation).slope(Z, F)

    def solve(self, plan: Plan, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> None:
        """Add the solutions of the W-problem and of the b-problem after it to the parameters, in place.

        With l1 = 0 nothing is read from W and b, so that zeros in their place receive the displacement.

        Args:
            plan: how, and over which rows.
            Z: pre-activation `[E, R, O]`; may be overwritten.
            T: target of the output rows, `[E, R, O]`.
            W: weights `[E, O, I]`.
            b: bias `[E, 1, O]`, or None.
        """
        if self.sparse:
            self.solve_sparse(plan, Z, T, W, b)
            return
        problem = self.problem(plan, plan.space, Z, T)
        if plan.kernels:
            plan.space.move(W, b, dispatch.minimise(problem, self.shared["cg_steps"], plan.rules, b))
            return
        P, Z = self.descend(problem, plan, offset=b, inputs=plan.layer.fan_in)
        plan.space.move(W, b, P)
        if b is not None:
            b += self.descend(self.problem(plan, BiasSpace(), Z, T), plan, offset=Z - b, inputs=1)[0]

    def update(self, activation: str, seen: Seen, W: Tensor, b: Tensor | None) -> None:
        """Do what `targets` and `solve` do, in one kernel, where `has_update` holds.

        Args:
            activation: of the layer.
            seen: what the layer's pass has left, with delta of the mini-batch's sum; Z and delta contiguous.
            W: weights `[E, O, I]`, contiguous.
            b: bias `[E, 1, O]`, contiguous, or None.
        """
        how = self.update_arguments.get(activation)
        if how is None:
            how = dispatch.update_arguments(activation, self.shared["cg_steps"], self.rules(activation))
            self.update_arguments[activation] = how
        dispatch.update(seen, (self.column["eta"], self.column["lam"]), W, b, how)

    def has_update(self, plan: Plan, Z: Tensor) -> bool:
        """Return whether one kernel makes a layer's whole update.

        Args:
            plan: how.
            Z: pre-activation `[E, R, O]`, for dtype and device.

        Returns:
            Whether `update` may take the place of `targets` and `solve`.
        """
        return plan.kernels and not self.sparse and dispatch.applies_update(plan.space, plan.layer.activation, Z)

    def solve_sparse(self, plan: Plan, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> None:
        """Do what `solve` says with the l1 term in both subproblems: the same solution without it, then proximal gradient.

        Kernels solve them where there are some.

        Args:
            plan: how, and over which rows.
            Z: pre-activation `[E, R, O]`.
            T: target of the output rows, `[E, R, O]`.
            W: weights `[E, O, I]`, changed in place.
            b: bias `[E, 1, O]`, changed in place, or None.
        """
        steps, gamma, X = self.shared["cg_steps"], self.column["l1"], plan.space.X
        smooth = self.solve_smooth(plan, Z, T, W, b)
        problem = Subproblem(WeightSpace(X), activations.get(plan.layer.activation), Z, T, self.column["lam"])
        if plan.kernels and dispatch.applies_l1(X, plan.layer.activation, Z):
            W += dispatch.minimise_l1(problem, W.mT, gamma, steps, smooth, rules=plan.rules, b=b).mT
            return
        D, Z = proximal_gradient.minimise_l1(problem, W.mT, gamma, steps, smooth)
        # an entry that was thresholded to zero is V + (0 - V): exactly zero again
        W += D.mT
        if b is not None:
            smooth = self.solve_smooth_bias(plan, Z, T, b)
            b += proximal_gradient.minimise_l1(replace(problem, space=BiasSpace(), Z=Z), b, gamma, steps, smooth)[0]

    def solve_smooth(self, plan: Plan, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Solve the W-problem without the l1 term.

        Args:
            plan: how, and over which rows.
            Z: pre-activation `[E, R, O]`.
            T: target of the output rows, `[E, R, O]`.
            W: weights `[E, O, I]`, for shape and dtype.
            b: bias `[E, 1, O]`, or None.

        Returns:
            The displacement `[E, I, O]`.
        """
        if plan.kernels:
            P = dispatch.minimise(self.problem(plan, plan.space, Z.clone(), T), self.shared["cg_steps"], plan.rules)
        else:
            P, _ = self.descend(self.problem(plan, plan.space, Z, T), plan, offset=b, inputs=plan.layer.fan_in)
        moved = W.new_zeros(W.shape)
        plan.space.move(moved, None, P)
        return moved.mT

    def solve_smooth_bias(self, plan: Plan, Z: Tensor, T: Tensor, b: Tensor) -> Tensor:
        """Solve the bias problem without the l1 term.

        Args:
            plan: how.
            Z: pre-activation with the new weights, `[E, R, O]`.
            T: target of the output rows, `[E, R, O]`.
            b: bias `[E, 1, O]`.

        Returns:
            The displacement `[E, 1, O]`.
        """
        problem = self.problem(plan, BiasSpace(), Z, T)
        if dispatch.applies(problem.space, plan.layer.activation, plan.rules, Z, per_neuron=self.variant.per_neuron):
            return dispatch.minimise(problem, self.shared["cg_steps"], plan.rules)
        return self.descend(problem, plan, offset=Z - b, inputs=1)[0]

    def problem(self, plan: Plan, space: Space, Z: Tensor, T: Tensor) -> Subproblem:
        """Return a layer's subproblem.

        Args:
            plan: of the layer.
            space: of the weights or of the bias.
            Z: pre-activation `[E, R, O]`.
            T: target of the output rows, `[E, R, O]`.

        Returns:
            f, with numbers per member or per neuron as the variant has them.
        """
        sigma = activations.get(plan.layer.activation)
        return Subproblem(space, sigma, Z, T, self.column["lam"], per_neuron=self.variant.per_neuron)

    def descend(self, problem: Subproblem, plan: Plan, *, offset: Tensor | None, inputs: int) -> tuple[Tensor, Tensor]:
        """Minimise f by the eager conjugate gradient.

        Args:
            problem: f.
            plan: of the layer.
            offset: the part of Z that the unknown does not make, for the released program's first gradient.
            inputs: I, or 1 for the bias: the released row-wise program restarts every I + 1 iterations.

        Returns:
            The displacement's coordinates and the new Z `[E, R, O]`.
        """
        variant, rules = self.variant, plan.rules
        if variant.period_over_inputs:
            rules = replace(rules, period=inputs + 1)
        gamma = None
        if plan.layer.activation == "identity" and variant.first_gradient_without_offset and offset is not None:
            gamma = problem.gamma(problem.Z - offset)
        return conjugate_gradient.minimise(problem, self.shared["cg_steps"], rules, gamma)


class SIBP(BackpropMethod[SIBPOptions]):
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

    @override
    def prepare(self) -> None:
        self.solver = SIBPSolver(self.column, self.shared)

    @classmethod
    @override
    def group_key(cls, options: SIBPOptions) -> tuple[tuple[str, object], ...]:
        return (*super().group_key(options), ("sparse", options.l1 > 0))

    @override
    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            plan = self.solver.plan(layer, seen.X.expand(W.shape[0], -1, -1), seen.Z)
            kernels = plan.kernels and not self.solver.sparse
            T, D = self.solver.targets(layer.activation, seen.Z, seen.F, delta, kernels=kernels, with_error=i > 0)
            self.solver.solve(plan, seen.Z, T, W, b)
            if D is not None:
                delta = propagation.through_bridge(seen, layers.adjoint(D, W, seen.X))
