"""Semi-implicit back propagation (J 4.1-4.2, Algorithm 1), in the papers' form, the authors' programs' form and ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from sibp import activations, conjugate_gradient, layers, linesearch, models
from sibp.conjugate_gradient import Rules
from sibp.layers import Affine
from sibp.methods.base import Method, Options, Positive, State, Steps
from sibp.models import Layer, LayerTrace, Trace
from sibp.subproblem import BiasSpace, Space, Subproblem, choose_space

__all__ = ["SIBP", "SIBPOptions"]


class SIBPOptions(Options):
    """Hyper-parameters of SIBP.

    eta: step on the activations, F' = F - eta delta, > 0; delta sums over the mini-batch (J 4.1).
    lam: proximal weight 1/(2 lam), > 0; A and I write lambda/2 with lambda = 1/lam, the authors' program lambda = 1/(2 lam).
    cg_steps: nonlinear conjugate gradient iterations per subproblem; 5 in the papers.
    variant: ``newton`` takes a curvature step along each direction (ours); ``armijo`` backtracks as the papers say;
        ``released`` and ``released-rowwise`` follow the authors' later and first program to the last quirk.
    space: where the conjugate gradient works, see `sibp.subproblem`; ``auto`` takes the cheaper one.
    """

    eta: Positive = 0.1
    lam: Positive = 0.5
    cg_steps: Steps = 5
    variant: Literal["newton", "armijo", "released", "released-rowwise"] = "newton"
    space: Literal["auto", "batch", "weight"] = "auto"


@dataclass(frozen=True)
class Variant:
    """What distinguishes the variants: rules for hidden and last layer, numbers per neuron or joint, and the wrong first
    gradient of the released program's last layer."""

    hidden: Rules
    last: Rules
    per_neuron: bool = False
    first_gradient_without_offset: bool = False
    period_over_inputs: bool = False


_armijo = Rules(linesearch.armijo)
_newton = Rules(linesearch.curvature)
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

    def update(self, parameters: Sequence[Affine], state: State, trace: Trace, delta: Tensor) -> None:
        for i in reversed(range(len(self.network.layers))):
            layer, seen, (W, b) = self.network.layers[i], trace.layers[i], parameters[i]
            D = models.through_activation(layer, seen, delta)
            self.update_layer(layer, seen, W, b, seen.F - self.column["eta"] * delta)
            if i > 0:
                delta = models.through_bridge(layer, seen, layers.adjoint(D, W))

    def update_layer(self, layer: Layer, seen: LayerTrace, W: Tensor, b: Tensor | None, T: Tensor) -> None:
        """Solve the layer's two subproblems (J 4.1) towards the target rows T `[E, R, O]`, W first, in place."""
        X = seen.X.expand(W.shape[0], -1, -1)
        space = choose_space(self.shared["space"], X, layer.fan_out, self.shared["cg_steps"])
        P = self.solve(layer, space, seen.Z, T, offset=b, inputs=layer.fan_in)
        space.move(W, b, P)
        if b is None:
            return
        Z = seen.Z + space.image(P)
        bias_space = BiasSpace()
        p = self.solve(layer, bias_space, Z, T, offset=Z - b, inputs=1)
        bias_space.move(W, b, p)

    def solve(self, layer: Layer, space: Space, Z: Tensor, T: Tensor, offset: Tensor | None, inputs: int) -> Tensor:
        """Return the displacement's coordinates; `offset` is the part of Z that the unknown does not make."""
        variant = self.variant
        problem = Subproblem(space, activations.get(layer.activation), Z, T, self.column["lam"], per_neuron=variant.per_neuron)
        linear = layer.activation == "identity"
        rules = variant.last if linear else variant.hidden
        if variant.period_over_inputs:
            rules = Rules(rules.search, period=inputs + 1, tolerance=rules.tolerance)
        gamma = None
        if linear and variant.first_gradient_without_offset and offset is not None:
            gamma = problem.gamma(Z - offset)
        return conjugate_gradient.minimise(problem, self.shared["cg_steps"], rules, gamma)
