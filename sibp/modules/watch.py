"""Watching a module's forward pass, and solving its affine layers in the backward pass.

A `Watch` is a mode in which torch hands it every function that is called, wherever that is. `linear`, `conv1d`, `conv2d` and `addmm`
with one of its weights run as `AffineFunction`, an activation that follows one of them directly as `ActivationFunction`; all else
runs as it is. Nothing is installed on the model. When a loss goes backward, its graph is read first (`graph`), then:

- `ActivationFunction` turns the error delta at its output into the layer's target and the error D at its input;
- `AffineFunction` solves the layer's subproblem and sends the error on. If what arrives is that very D, nothing else reads the
  pre-activation, and the activation belongs to the subproblem; otherwise the layer is solved without it, from the error at Z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction
from typing_extensions import override

from sibp.modules import calls
from sibp.modules.affine import Gradients, Needs
from sibp.modules.fates import Fate, check_uses, decide
from sibp.modules.functions import ActivationFunction, AffineFunction
from sibp.modules.graph import Node, Roots, read_graph
from sibp.modules.groups import check_dtype
from sibp.modules.interceptions import INTERCEPTIONS
from sibp.modules.problems import Problem, Target, Terms, Use, join
from sibp.modules.update import Update, quiet, through

__all__ = ["Watch"]


class Watch(TorchFunctionMode):
    """A mode that watches one forward pass and solves layers in its backward pass, see the module's docstring.

    Args:
        names: of all parameters, by id.
        weights: the ids of those that may be solved for.
        update: how a layer is solved, and where the solution goes.
        terms: over how many terms the loss is a mean; ``"sum"`` for a sum; None to take it from the graph.
        allow: called before a graph runs backward with the parameters that get ordinary gradients, by id, and why; raises to refuse.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        weights: Set[int],
        update: Update,
        terms: Terms,
        allow: Callable[[Mapping[int, str]], None],
    ) -> None:
        super().__init__()
        self.names, self.weights, self.update, self.terms, self.allow = names, weights, update, terms, allow
        self.means: dict[object, int] = {}  # see `Roots`
        self.rows: dict[object, int] = {}
        self.nodes: list[Node] | None = None  # while a checkpoint is looked into: what it would run backward
        self.fates: dict[int, Fate] | None = None  # while a graph runs backward
        self.output: Tensor | None = None  # the output layer's weight
        self.waiting: dict[int, list[Problem]] = {}  # uses that have come backward, of weights with more to come
        self.solved: dict[int, str] = {}  # how, by the parameter's id
        self.left: dict[int, str] = {}  # ordinary gradients: why, by the parameter's id
        self.losses: list[Tensor] = []  # what has gone backward
        self.values: list[float] = []  # of those, as far as they have been looked at
        self.has_gone_back = self.is_plain = False
        update.terms = None

    # forward

    @override
    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        handler = HANDLERS.get(func)
        return func(*args, **(kwargs or {})) if handler is None else handler(self, func, args, kwargs or {})

    def affine(self, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
        """Run an affine function, as `AffineFunction` if its weight is watched.

        Args:
            function: torch's.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            Its value.
        """
        call = calls.AFFINE[function](*args, **kwargs) if torch.is_grad_enabled() else None
        if call is None:
            return function(*args, **kwargs)
        X, W, b, map_ = call
        watched = id(W) in self.weights and W.requires_grad and (b is None or b.ndim == 1)
        watched = watched and X.layout is torch.strided and not X.is_nested  # others have no rows
        if not watched or torch._C._are_functorch_transforms_active():  # a transform would want to differentiate what runs here
            Z = function(*args, **kwargs)
            if Z.grad_fn is not None:
                self.rows[Z.grad_fn] = Z.numel() // max(map_.outputs(W), 1)
            return Z
        check_dtype(self.names[id(W)], W)
        use = Use(self, map_, W, b, W._version)
        Z = AffineFunction.apply(X, W, b, use)
        use.numbers = Z.numel()
        Z._sibp_use = use, Z._version
        return Z

    def activation(self, function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> Tensor:
        """Run an activation, as `ActivationFunction` if it is applied to a watched affine call's output as it is.

        Args:
            function: torch's.
            args: its positional arguments.
            kwargs: its keyword arguments.

        Returns:
            Its value.
        """
        Z = args[0] if args else kwargs["input"]
        use, version = getattr(Z, "_sibp_use", (None, 0))
        if use is None or use.watch is not self or Z._version != version:
            return function(*args, **kwargs)
        known = calls.ACTIVATIONS[function](*args, **kwargs) if self.update.is_sibp and torch.is_grad_enabled() else None
        if known is None:
            return function(*args, **kwargs)
        use.activations += 1
        name, inplace = known
        rest = {key: value for key, value in kwargs.items() if key != "input"} if kwargs else {}
        return ActivationFunction.apply(Z, name, use, inplace, function, args[1:], rest)

    # backward

    def go_back(self, tensors: Tensor | Sequence[Tensor], gradients: Any = None, *, retain_graph: bool | None = None) -> None:
        """Read the graph of some tensors, decide what becomes of every weight, and run backward with the mode on.

        The mode stays on so that what a checkpoint computes anew is seen as it was the first time. A checkpoint with
        ``use_reentrant=True`` comes here itself while the graph that holds it runs backward; by then all is decided.

        Args:
            tensors: what goes backward, as `torch.autograd.backward` takes it.
            gradients: their errors; None for scalars.
            retain_graph: as torch has it.

        Raises:
            RuntimeError: if a weight moved since it was used, or if not all of its uses have received an error.
        """
        tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        nodes = [tensor.grad_fn or get_gradient_edge(tensor).node for tensor in tensors]
        if self.nodes is not None:
            self.nodes += nodes
            return
        outer, is_outermost = self.fates, self.fates is None
        graph = read_graph(Roots(nodes, self.means, self.rows), self.look_into if is_outermost else None)
        check_uses(graph, self)
        fates, left = decide(graph, self.names, self.weights)
        self.allow(left)
        self.has_gone_back = True
        if is_outermost:
            self.losses += [tensor.detach() for tensor in tensors]
            if self.update.in_place and tensors[0].is_cpu and not self.is_finite():
                return  # a loss without a value moves nothing
        if is_outermost or self.update.terms is None:
            self.update.set_terms(self.terms, graph.terms)
            self.output = None if graph.output is None else graph.output.W
        self.left = left | self.left
        self.fates = fates | (outer or {})  # a checkpoint of somebody else's has not been looked into
        try:
            self.run_back(tensors, gradients, retain_graph=retain_graph)
        finally:
            self.fates = outer
        if is_outermost and self.waiting:
            name = self.names[next(iter(self.waiting))]
            raise RuntimeError(f"{name}: not all of its uses have received an error")

    def look_into(self, checkpoint: Node) -> Roots:
        """Run what a checkpoint with ``use_reentrant=True`` holds as its backward does, up to where it would go backward itself.

        Its graph says nothing of the weights inside, which have to be known before any moves.

        Args:
            checkpoint: its node, the context of torch's function.

        Returns:
            The roots of the graph inside.
        """
        outer = self.nodes, self.means, self.rows
        self.nodes, self.means, self.rows = [], {}, {}
        try:
            with torch.random.fork_rng(devices=[]), self:  # as if it had not run
                CheckpointFunction.backward(checkpoint, *[None] * len(checkpoint._input_metadata))
            return Roots(self.nodes, self.means, self.rows)
        finally:
            self.nodes, self.means, self.rows = outer

    def run_back(self, tensors: Sequence[Tensor], gradients: Any, *, retain_graph: bool | None) -> None:
        """Run backward with the mode on.

        Args:
            tensors: what goes backward.
            gradients: their errors; None for scalars.
            retain_graph: as torch has it.
        """
        if len(tensors) == 1 and gradients is None and tensors[0].numel() == 1 and tensors[0].is_floating_point():
            ones = torch.ones_like(tensors[0])
            with self:  # torch.autograd.backward would look for a mode, and then at everything that it might be given
                _engine_run_backward(
                    tuple(tensors),
                    (ones,),
                    keep_graph=bool(retain_graph),
                    create_graph=False,
                    inputs=(),
                    allow_unreachable=True,
                    accumulate_grad=True,
                )
            return
        edges = [get_gradient_edge(tensor) for tensor in tensors]
        with self:
            torch.autograd.backward(edges, gradients, retain_graph=retain_graph)

    def forget(self) -> None:
        """Let go of the graph, which would otherwise hold itself through the watch until Python looks for circles."""
        self.means.clear()
        self.rows.clear()

    def is_finite(self, *, may_wait: bool = True) -> bool:
        """Return whether every loss that went backward had a value.

        Args:
            may_wait: whether a device may be waited for, a host sync for each loss.

        Returns:
            False if one is NaN or infinite. On a device taken for granted unless `may_wait`, and while a graph is captured.
        """
        if self.losses and self.losses[0].is_cuda and not (may_wait and not torch.cuda.is_current_stream_capturing()):
            return True
        self.values += [(loss if loss.numel() == 1 else loss.sum()).item() for loss in self.losses[len(self.values) :]]
        return all(map(math.isfinite, self.values))

    def activation_backward(self, use: Use, name: str, Z: Tensor, delta: Tensor) -> Tensor:
        """Leave the layer its target, and send the error on.

        Args:
            use: the affine call before the activation.
            name: the activation's.
            Z: its input.
            delta: the error at its output.

        Returns:
            D = sigma'(Z) * delta, the error at Z.
        """
        with quiet(delta):
            fate = None if self.is_plain or self.fates is None else self.fates.get(id(use.W))
            if fate is None or fate.uses == 0 or Z.numel() == 0:
                return through(name, Z, delta)
            use.target = self.update.target(use.map, use.W, name, Z, delta, joint=fate.uses > 1)
        return use.target.error

    def affine_backward(self, use: Use, X: Tensor, error: Tensor, needs: Needs) -> Gradients:
        """Solve a layer, now or with the last of its weight's uses.

        Args:
            use: the call.
            X: its input.
            error: on its output.
            needs: which of X, W and b need a gradient.

        Returns:
            What autograd gets for X, W and b.
        """
        target, use.target = use.target, None
        with quiet(error):
            if target is not None and (use.activations > 1 or error is not target.error):
                target = None  # something else reads Z, too
            dtype, fate = use.W.dtype, self.fate(use)
            x, error = X if X.dtype is dtype else X.to(dtype), error if error.dtype is dtype else error.to(dtype)
            if fate.uses == 0:
                gX, gW, gb = use.map.gradients(error, x, use.W, needs)
            else:
                gX, gW, gb = self.implicit(use, fate, x, error, target=target, needs=needs)
            return gX if gX is None or dtype is X.dtype else gX.to(X.dtype), gW, gb

    def fate(self, use: Use) -> Fate:
        """Return what becomes of a use.

        Args:
            use: the call.

        Returns:
            Its weight's fate.

        Raises:
            RuntimeError: if nothing has been decided about it, since it runs backward in a way that the watch does not see.
        """
        if self.is_plain:
            return Fate(0)
        if self.fates is None or id(use.W) not in self.fates:
            raise RuntimeError(
                f"{self.names[id(use.W)]}: runs backward where it is not watched, need backward() in the closure or `with`"
            )
        return self.fates[id(use.W)]

    def implicit(self, use: Use, fate: Fate, X: Tensor, error: Tensor, *, target: Target | None, needs: Needs) -> Gradients:
        """Do what `affine_backward` says for a weight that is solved for.

        Args:
            use: the call.
            fate: its weight's.
            X: its input, in the weight's dtype.
            error: on its output, likewise.
            target: what the activation has left; None without one.
            needs: which of X, W and b need a gradient.

        Returns:
            What autograd gets for X, W and b.
        """
        map_, W, update = use.map, use.W, self.update
        problem = Problem(
            map_, W, use.b if fate.with_bias else None, map_.rows(X), map_.to_rows(error).contiguous(), target, use.W is self.output
        )
        gb = problem.D.sum(1).view(-1) if needs[2] and not fate.with_bias else None
        through_new = update.is_sibp and fate.uses == 1
        gX = map_.adjoint(error, X, W) if needs[0] and not through_new else None
        if fate.uses > 1:
            problems = self.waiting.setdefault(id(W), [])
            problems.append(problem)
            if len(problems) < fate.uses:
                return gX, None, gb
            problem = join(self.waiting.pop(id(W)))
        if problem.D.shape[1] == 0:  # such as an expert's that no token went to: nothing to solve, nothing moves
            moved = update.stay(problem)
        else:
            moved = update.move(problem, needs_new=needs[0] and through_new)
        if needs[0] and through_new:
            gX = map_.adjoint(error, X, moved.W)
        self.note(problem, fate)
        return gX, moved.grad_of_weight, moved.grad_of_bias if fate.with_bias else gb

    def note(self, problem: Problem, fate: Fate) -> None:
        """Keep how a weight was solved for, for the report.

        Args:
            problem: its subproblem.
            fate: its fate.
        """
        how = "implicit" if problem.target is None else f"implicit with {problem.target.activation}"
        if fate.uses > 1:
            how += f", joint over {fate.uses} uses"
        self.solved[id(problem.W)] = how
        if problem.b is not None:
            self.solved[id(problem.b)] = how


HANDLERS: dict[Callable, Callable[[Watch, Callable, tuple, Mapping[str, Any]], Any]] = {
    **dict.fromkeys(calls.AFFINE, Watch.affine),
    **dict.fromkeys(calls.ACTIVATIONS, Watch.activation),
    **INTERCEPTIONS,
}
