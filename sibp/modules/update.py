"""One layer's update in a backward pass: its subproblem is put together and solved.

The solution goes into the parameters or, as W_k - W_{k+1}, to autograd as if it were their gradient. Displacements are formed as such:
W - W_new would lose the digits of a small step.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from sibp.kernels import native
from sibp.kernels.switch import is_off
from sibp.methods.proxbp import ProxBPSolver
from sibp.methods.proxprop import ProxPropSolver
from sibp.methods.sibp import SIBPSolver
from sibp.modules.affine import DENSE, AffineMap, pointwise
from sibp.modules.groups import Group, Solver
from sibp.modules.problems import Moved, Problem, Target, Terms
from sibp.nets import activations
from sibp.nets.layers import Patches
from sibp.nets.network import Layer
from sibp.solvers import dispatch
from sibp.solvers.dispatch import Seen
from sibp.solvers.subproblem import MINI_BATCH, WeightSpace, choose_space

__all__ = ["Update", "quiet", "through"]


class Update:
    """How layers are solved by one method.

    Args:
        method: ``sibp``, ``proxbp`` or ``proxprop``.
        groups: the options of every weight, and its group as torch keeps it, by the weight's id.
        in_place: whether the parameters move, or autograd is told by how much they would.
    """

    def __init__(self, method: str, groups: Mapping[int, tuple[Group, Mapping[str, Any]]], *, in_place: bool) -> None:
        self.groups = groups
        self.in_place = in_place
        self.is_sibp = method == "sibp"
        self.terms: float | None = None
        self.to_mean = 1.0

    def set_terms(self, given: Terms, terms: int | None) -> None:
        """Set the loss's scale: `terms` times its error is that of a sum, `to_mean` times its error that of a mean.

        Args:
            given: over how many terms the loss is a mean, ``"sum"`` for a sum, None if unknown.
            terms: what its graph says.
        """
        is_sum = given == "sum"
        self.terms = 1.0 if is_sum else terms if given is None else float(given)
        self.to_mean = 1 / terms if is_sum and terms else 1.0

    def solver(self, W: Tensor, members: int) -> Solver:
        """Return the solver of a weight.

        Args:
            W: torch's weight.
            members: E, of its form `[E, O, I]`.

        Returns:
            One of the method's layer solvers, with the group's options as they are now.
        """
        group, values = self.groups[id(W)]
        assert self.terms is not None  # `set_terms` has said so
        return group.solver(members, W, float(values["lr"]) * self.terms if "lr" in values else 0.0)

    def target(self, map_: AffineMap, W: Tensor, activation: str, Z: Tensor, delta: Tensor, *, joint: bool) -> Target:
        """Return a layer's target from the error at its activation's output (J 4.2).

        Args:
            map_: the layer's affine map.
            W: its weight.
            activation: the activation's name.
            Z: its input, as torch has it.
            delta: the error at its output.
            joint: whether the weight has other uses.

        Returns:
            The target, with the error at Z to be sent on.
        """
        z, d = map_.to_rows(typed(Z, W.dtype)).contiguous(), map_.to_rows(typed(delta, W.dtype))
        if not joint and self.has_kernel_of_update(activation, map_, z, W):
            D = typed(map_.from_rows(through(activation, z, d), Z.shape), delta.dtype)
            return Target(activation, z, d.contiguous(), is_own=False, error=D, is_made=False)
        solver = self.solver(W, map_.members)
        has_kernel = dispatch.has_targets(activation, z)
        if has_kernel and shares_memory(d, delta):
            d = d.clone()  # the kernel writes T there
        F = z if has_kernel else activations.get(activation).value(z)
        assert isinstance(solver, SIBPSolver)  # the only method whose activations are watched
        T, D = solver.targets(activation, z, F, d, kernels=has_kernel)
        assert D is not None
        return Target(activation, z, T, not shares_memory(z, Z), typed(map_.from_rows(D, Z.shape), delta.dtype))

    def has_kernel_of_update(self, activation: str, map_: AffineMap, Z: Tensor, W: Tensor) -> bool:
        """Return whether one kernel makes a layer's whole update from the error at its output; looked up once for each kind of call.

        Args:
            activation: of the subproblem.
            map_: the layer's affine map.
            Z: rows `[E, R, O]`, or their error.
            W: torch's weight.

        Returns:
            Whether `SIBPSolver.update` may be called.
        """
        if map_ is not DENSE or not W.is_contiguous():
            return False
        known = self.groups[id(W)][0].known
        key = (activation, Z.shape, W.shape, Z.dtype, Z.device, is_off())
        if key not in known:
            solver = self.solver(W, 1)
            assert isinstance(solver, SIBPSolver)
            rows = Z.new_empty(1, Z.shape[1], W.shape[1], device="meta")  # for their shape
            plan = solver.plan(_layer(W.shape[1], W.shape[0], activation, bias=True), rows, Z)
            known[key] = solver.has_update(plan, Z)
        return known[key]

    def move(self, problem: Problem, *, needs_new: bool = True) -> Moved:
        """Solve a layer, and move its parameters or say by how much they would move.

        Args:
            problem: its subproblem.
            needs_new: whether the error goes on through the new weight.

        Returns:
            The new weight, and autograd's gradients where the parameters stay.
        """
        map_, W, b = problem.map, problem.W, problem.b
        group, _ = self.groups[id(W)]
        members = map_.members
        w, beta = map_.weight(W), None if b is None else b.view(members, 1, -1)
        solver = self.solver(W, members)
        if self.in_place and group.max_change is None and not isinstance(solver, ProxPropSolver):
            self.solve(solver, problem, w, beta)
            if w._base is not W and not shares_memory(w, W):
                W.copy_(map_.from_weight(w, W.shape))
            increment_version(W if b is None else (W, b))  # which autograd does not see where a kernel writes
            return Moved(W)
        dw, db = self.displacement(solver, problem, w, beta)
        if group.max_change is not None:
            shorten(group.max_change, w, dw, db)
        dW = map_.from_weight(dw, W.shape)
        if self.in_place:
            W += dW
            if b is not None and db is not None:
                b += db.view(-1)
            return Moved(W)
        new = W + dW if needs_new else W
        return Moved(new, dW.neg(), None if db is None else db.neg().view(-1))

    def stay(self, problem: Problem) -> Moved:
        """Return a layer that has no rows, and so does not move.

        Args:
            problem: its subproblem.

        Returns:
            Its weight, and zeros for autograd where moves are told as gradients.
        """
        W, b = problem.W, problem.b
        if self.in_place:
            return Moved(W)
        return Moved(W, torch.zeros_like(W), None if b is None else torch.zeros_like(b))

    def displacement(self, solver: Solver, problem: Problem, W: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Solve a layer, leaving its parameters as they are.

        Args:
            solver: the layer's.
            problem: its subproblem.
            W: its weight `[E, O, I]`.
            b: its bias `[E, 1, O]`, or None.

        Returns:
            W+ - W `[E, O, I]` and b+ - b `[E, 1, O]`, or None.
        """
        if isinstance(solver, ProxPropSolver):
            dW, db = self.direction(solver, problem)
            return dW.neg(), None if db is None else db.neg()
        if isinstance(solver, SIBPSolver) and solver.sparse:  # the only one that reads the parameters
            new, beta = W.clone(), None if b is None else b.clone()
            self.solve(solver, problem, new, beta)
            return new - W, None if b is None or beta is None else beta - b
        dW, db = torch.zeros_like(W), None if b is None else torch.zeros_like(b)
        self.solve(solver, problem, dW, db)
        return dW, db

    def solve(self, solver: SIBPSolver | ProxBPSolver, problem: Problem, W: Tensor, b: Tensor | None) -> None:
        """Solve a layer, and add the solution in place.

        Args:
            solver: the layer's.
            problem: its subproblem.
            W: its weight `[E, O, I]`, or zeros for the displacement alone.
            b: its bias `[E, 1, O]`, likewise, or None.
        """
        if isinstance(solver, ProxBPSolver):
            solver.solve(self.fast_rows(solver, problem, W, joint=b is not None), problem.D, W, b)
            return
        target, rows = problem.target, problem.rows
        if target is None:
            if self.has_kernel_of_update("identity", problem.map, problem.D, problem.W):
                assert isinstance(rows, Tensor)  # as those of all dense layers
                solver.update("identity", Seen(rows, None, problem.D), W, b)
                return
        elif not target.is_made:
            assert isinstance(rows, Tensor)
            solver.update(target.activation, Seen(rows, target.Z, target.T), W, b)
            return
        if target is None:  # under the identity only T - Z matters
            name, Z, T, is_own = "identity", torch.zeros_like(problem.D), solver.column["eta"] * -problem.D, True
        else:
            name, Z, T, is_own = target[:4]
        rows = self.fast_rows(solver, problem, W, joint=False, activation=name)
        layer = _layer(W.shape[2], W.shape[1], name, bias=b is not None)
        plan = solver.plan(layer, rows, Z)
        if plan.kernels and not is_own and not isinstance(plan.space, WeightSpace):
            Z = Z.clone()  # which the kernel overwrites
        solver.solve(plan, Z, T.contiguous(), W, b)

    def direction(self, solver: ProxPropSolver, problem: Problem) -> tuple[Tensor, Tensor | None]:
        """Return ProxProp's direction at a layer (P eq. 11).

        Args:
            solver: the layer's.
            problem: its subproblem.

        Returns:
            theta_k - theta+: of W `[E, O, I]`, and of b `[E, 1, O]` or None.
        """
        O, I = problem.D.shape[2], problem.rows.shape[2]
        shape = tuple(problem.W.shape)
        layer = Layer(I, O, bias=problem.b is not None, weight_shape=shape if len(shape) != 3 else (*shape[:2], 1, shape[2]))
        rows = self.fast_rows(solver, problem, problem.map.weight(problem.W), joint=layer.bias)
        assert self.terms is not None  # `set_terms` has said so
        scale = self.terms if solver.shared["reduction"] == "sum" else self.to_mean
        return solver.direction(layer, rows, problem.D if scale == 1 else problem.D * scale, last=problem.is_output)

    @staticmethod
    def fast_rows(solver: Solver, problem: Problem, W: Tensor, *, joint: bool, activation: str = "identity") -> Tensor | Patches:
        """Return the rows in the form for which there is a kernel: in weight space, the patches of a convolution.

        Args:
            solver: the layer's.
            problem: its subproblem.
            W: its weight `[E, O, I]`, for its shape.
            joint: whether the bias is part of the linear problem.
            activation: of the subproblem.

        Returns:
            `[E, R, I]`.
        """
        rows, shared = problem.rows, solver.shared
        if isinstance(rows, Patches) or rows.shape[1] <= MINI_BATCH:
            return rows
        if shared.get("solver", "cg") != "cg" or not native.supports(activation, rows):
            return rows
        space = choose_space(shared["space"], rows, W.shape[1], shared["cg_steps"], joint=joint)
        return pointwise(rows.contiguous()) if isinstance(space, WeightSpace) else rows


def shares_memory(a: Tensor, b: Tensor) -> bool:
    """Return whether one of two tensors is a view of the other's memory; also of tensors that hold nothing."""
    return a.untyped_storage()._cdata == b.untyped_storage()._cdata


def typed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in a dtype; asking first is several times as fast as `to` where it already is."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


def through(activation: str, Z: Tensor, delta: Tensor) -> Tensor:
    """Return sigma'(Z) * delta, what autograd sends on.

    Args:
        activation: its name.
        Z: pre-activation.
        delta: error at the activation's output.

    Returns:
        The error at Z.
    """
    if activation == "relu":
        return torch.ops.aten.threshold_backward(delta, Z, 0)
    if activation == "leaky_relu":
        return torch.ops.aten.leaky_relu_backward(delta, Z, activations.LEAK, self_is_result=False)
    sigma = activations.get(activation)
    return delta * sigma.slope(Z, sigma.value(Z))


@cache
def _layer(fan_in: int, fan_out: int, activation: str, *, bias: bool) -> Layer:
    return Layer(fan_in, fan_out, activation, bias)


def shorten(most: float, W: Tensor, dW: Tensor, db: Tensor | None) -> None:
    """Shorten a layer's move in place so that ||W+ - W|| <= most ||W||; a weight that is zero moves freely.

    Not in the papers; see docs/deviations.md.

    Args:
        most: the bound, > 0.
        W: the weight.
        dW: its move, changed in place.
        db: the bias' move, likewise, or None.
    """
    size, step = torch.linalg.vector_norm(W), torch.linalg.vector_norm(dW)
    factor = torch.where((size > 0) & (step > most * size), most * size / step, 1.0)
    dW *= factor
    if db is not None:
        db *= factor


def quiet(tensor: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which no mode sees torch's functions and nothing is cast: the solvers' dtype is the parameters'.

    It is entered for every layer and activation of a step, and mostly without autocast.

    Args:
        tensor: on the device that is meant.
    """
    return _uncast(tensor) if torch._C._is_any_autocast_enabled() else torch._C.DisableTorchFunction()


@contextmanager
def _uncast(tensor: Tensor) -> Generator[None]:
    with torch._C.DisableTorchFunction(), torch.autocast(tensor.device.type, enabled=False):  # a mode would see even `device`
        yield
