"""Semi-implicit back propagation (J 4.1-4.2, Algorithm 1), in the papers' form, the authors' programs' form and ours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor

from sibp.methods.base import Method, NonNegative, Options, Positive, State, Steps
from sibp.nets import activations, layers, propagation
from sibp.nets.layers import Affine, Patches
from sibp.nets.network import Layer
from sibp.nets.propagation import LayerTrace, Trace
from sibp.solvers import conjugate_gradient, dispatch, linesearch, proximal_gradient
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.subproblem import BiasSpace, Space, Subproblem, WeightSpace, choose_space

__all__ = ["SIBP", "SIBPOptions"]


class SIBPOptions(Options):
    """Hyper-parameters of SIBP.

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
    cg_steps: Steps = 5
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
        self.variant = VARIANTS[self.shared["variant"]]
        self.sparse = bool((self.column["l1"] > 0).any())

    @property
    def capture_obstacle(self) -> str | None:
        return "the l1 search looks at the device" if self.sparse else None

    @classmethod
    def group_key(cls, options: Options) -> tuple[tuple[str, object], ...]:
        return (*super().group_key(options), ("sparse", options.l1 > 0))

    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            D = self.update_layer(layer, seen, W, b, delta, with_error=i > 0)
            if i > 0:
                delta = propagation.through_bridge(layer, seen, layers.adjoint(D, W, seen.X))

    def update_layer(
        self, layer: Layer, seen: LayerTrace, W: Tensor, b: Tensor | None, delta: Tensor, with_error: bool = True
    ) -> Tensor | None:
        """Solve the layer's two subproblems (J 4.1), W first, in place; delta and Z are used up.

        Returns:
            sigma'(Z) * delta `[E, R, O]` with the old Z; None where no layer below needs it.
        """
        X = seen.X.expand(W.shape[0], -1, -1)
        if self.sparse:
            return self.solve_sparse(layer, seen, X, W, b, delta, with_error)
        space = choose_space(self.shared["space"], X, layer.fan_out, self.shared["cg_steps"])
        rules = self.rules(layer)
        if dispatch.applies(space, layer.activation, rules, self.variant.per_neuron, seen.Z):
            return self.solve_fused(layer, space, rules, seen.Z, delta, W, b, with_error)
        D = propagation.through_activation(layer, seen, delta) if with_error else None
        T = seen.F - self.column["eta"] * delta
        P, Z = self.solve(layer, space, rules, seen.Z, T, offset=b, inputs=layer.fan_in)
        space.move(W, b, P)
        if b is not None:
            p, _ = self.solve(layer, BiasSpace(), rules, Z, T, offset=Z - b, inputs=1)
            b += p
        return D

    def solve_fused(
        self,
        layer: Layer,
        space: Space,
        rules: Rules,
        Z: Tensor,
        delta: Tensor,
        W: Tensor,
        b: Tensor | None,
        with_error: bool,
    ) -> Tensor | None:
        """Do what `update_layer` says through the kernels."""
        steps, lam = self.shared["cg_steps"], self.column["lam"]
        T, D = dispatch.targets(layer.activation, Z, delta, self.column["eta"], with_error)
        space.move(W, b, dispatch.minimise(space, layer.activation, Z, T, lam, steps, rules, b))
        return D

    def solve_sparse(
        self,
        layer: Layer,
        seen: LayerTrace,
        X: Tensor | Patches,
        W: Tensor,
        b: Tensor | None,
        delta: Tensor,
        with_error: bool,
    ) -> Tensor | None:
        """Do what `update_layer` says with the l1 term in both subproblems: the same solution without it, then proximal gradient."""
        steps, gamma, lam = self.shared["cg_steps"], self.column["l1"], self.column["lam"]
        T = seen.F - self.column["eta"] * delta
        problem = Subproblem(WeightSpace(X), activations.get(layer.activation), seen.Z, T, lam)
        smooth = self.solve_smooth(layer, X, seen.Z, T, W, b)
        D, Z = proximal_gradient.minimise_l1(problem, W.mT, gamma, steps, smooth)
        # an entry that was thresholded to zero is V + (0 - V): exactly zero again
        W += D.mT
        if b is not None:
            rules = self.rules(layer)
            smooth, _ = self.solve(layer, BiasSpace(), rules, Z, T, offset=Z - b, inputs=1)
            b += proximal_gradient.minimise_l1(replace(problem, space=BiasSpace(), Z=Z), b, gamma, steps, smooth)[0]
        return propagation.through_activation(layer, seen, delta) if with_error else None

    def solve_smooth(self, layer: Layer, X: Tensor | Patches, Z: Tensor, T: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        """Return the displacement `[E, I, O]` that solves the W-problem without the l1 term."""
        steps, rules = self.shared["cg_steps"], self.rules(layer)
        space = choose_space(self.shared["space"], X, layer.fan_out, steps)
        if dispatch.applies(space, layer.activation, rules, self.variant.per_neuron, Z):
            P = dispatch.minimise(space, layer.activation, Z.clone(), T, self.column["lam"], steps, rules)
        else:
            P, _ = self.solve(layer, space, rules, Z, T, offset=b, inputs=layer.fan_in)
        moved = W.new_zeros(W.shape)
        space.move(moved, None, P)
        return moved.mT

    def rules(self, layer: Layer) -> Rules:
        """Return how conjugate gradients search at this layer."""
        return self.variant.last if layer.activation == "identity" else self.variant.hidden

    def solve(
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
