"""SIBP and ProxBP as torch optimizers that take a closure."""

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from functools import wraps
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, distributed, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from typing_extensions import override

from sibp.core.messages import first_line
from sibp.modules.parameters import Parameters, check_terms
from sibp.modules.problems import Terms
from sibp.modules.report import nothing_solved, reasons, report_lines, report_model
from sibp.modules.watch import Watch

__all__ = ["SIBP", "ProxBP"]

AS_IT_IS = nullcontext()
CAN_BE_DISTRIBUTED = distributed.is_available()
Rest = Callable[[Any], torch.optim.Optimizer]


class Implicit(Parameters):
    """An optimizer whose layers are solved while the loss goes backward. Not for direct use.

    Args:
        params: as for every torch optimizer.
        options: the method's, the defaults of all groups.
        rest: builds the optimizer of the parameters with ordinary gradients.
        terms: over how many terms the loss is a mean.
    """

    name: ClassVar[str]
    _step_supports_amp_scaling = True  # so that a GradScaler hands over what `step` refuses

    def __init__(self, params: Iterable[Any], options: Mapping[str, Any], rest: Rest | None, terms: Terms) -> None:
        self.rest: torch.optim.Optimizer | None = None
        self.terms = check_terms(terms)
        self._last: Watch | None = None
        super().__init__(params, self.name, options)
        if rest is not None:
            self.rest = _build(rest, [self._for_rest(group) for group in self.param_groups])

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        if self.rest is not None:
            self.rest.add_param_group(self._for_rest(self.param_groups[-1]))

    def _for_rest(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return a group as `rest` has it: with the keys that its owner gave it, if it is not implicit."""
        return {"params": list(group["params"]), **group.get("rest", {})}

    @staticmethod
    @override
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `step` as torch does, for hooks and the profiler; without any of them the wrapper does nothing, and costs nothing.

        Args:
            func: the `step` of a class.

        Returns:
            What takes its place.
        """
        whole = torch.optim.Optimizer.profile_hook_step(func)

        @wraps(func)
        def step(self: Implicit, *args: Any, **kwargs: Any) -> Any:
            own = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
            if own or _global_optimizer_pre_hooks or _global_optimizer_post_hooks or torch.autograd._profiler_enabled():
                return whole(self, *args, **kwargs)
            return func(self, *args, **kwargs)

        return step

    @override
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step.

        Gradients are cleared first. Layers move while the loss goes backward; `rest` steps at the end. A loss that is NaN or infinite
        changes nothing.

        Args:
            closure: computes the loss and returns it; it may call `backward()` itself, as torch's closures do.

        Returns:
            What the closure returned, detached: the loss before the step.

        Raises:
            ValueError: naming what cannot be trained and what to do; nothing is changed then.
        """
        closure = self._check_call(closure)
        watch = self._last = self.watch(self.terms, self._allow, in_place=True)
        self.clear_gradients()
        try:
            with _gradients_on():
                with watch:
                    loss = closure()
                if not watch.has_gone_back:
                    watch.go_back(_checked(loss))
        finally:
            watch.forget()
            torch.clear_autocast_cache()  # of weights as they were before the step
        if watch.is_finite(may_wait=self.rest is not None):  # layers without a loss stay where they are, `rest` would not
            if not watch.solved:
                self.clear_gradients()
                raise ValueError(f"{type(self).__name__}: {nothing_solved(watch)}")
            if self.rest is not None:
                self.rest.step()
        return loss.detach() if isinstance(loss, Tensor) else loss

    def clear_gradients(self) -> None:
        """Set every gradient to None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _check_call(self, closure: Callable[[], Any] | None) -> Callable[[], Any]:
        if "grad_scale" in vars(self):
            raise ValueError("GradScaler: passes no closure and scales the error, need autocast to torch.bfloat16 without one")
        if closure is None or not callable(closure):
            raise ValueError("step: needs a closure that returns the loss; for forward, backward, step there is sibp.Oracle")
        if CAN_BE_DISTRIBUTED and distributed.is_initialized() and distributed.get_world_size() > 1:
            name = type(self).__name__
            raise ValueError(f"{name}: each process would move its own weights, need sibp.Oracle under DistributedDataParallel")
        return closure

    def _allow(self, left: Mapping[int, str]) -> None:
        if left and self.rest is None:
            names, why = reasons(self.names(), left)
            need = "need rest=, such as rest=torch.optim.AdamW"
            raise ValueError(f"{type(self).__name__}: {names} would have ordinary gradients ({why}), {need}")

    def report(self, model: nn.Module) -> dict[str, str]:
        """Return how the last step trained every parameter of a model.

        Args:
            model: whose parameters these are.

        Returns:
            ``implicit with relu``, ``implicit``, ``implicit, joint over 28 uses``, ``first order, because ...``, ``frozen`` or
            ``no error: ...``, by the parameter's name in the model.
        """
        return report_model(model, self._last)

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *report_lines(self.all_named(), self._last)])

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return options, `terms` and the state of `rest`, for `torch.save`; the weights are the model's.

        Returns:
            Plain types and tensors.
        """
        rest = None if self.rest is None else self.rest.state_dict()
        return {**super().state_dict(), "method": self.name, "terms": self.terms, "rest": rest}

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned; a resumed run gives the bits of one that never stopped.

        Args:
            state_dict: from `state_dict`.

        Raises:
            ValueError: if it is not this method's, does not fit the parameters, or is damaged; nothing is changed then.
        """
        self._check_state(state_dict)
        before = copy.deepcopy(self.state_dict())
        try:
            self._load(state_dict)
        except Exception as error:
            self._load(before)
            raise ValueError(f"state_dict: is damaged: {first_line(error)}") from None

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        self.terms = state_dict["terms"]
        if self.rest is not None:
            self.rest.load_state_dict(state_dict["rest"])
            _check_fit(self.rest)

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        if not isinstance(state_dict, Mapping):
            raise ValueError(f"state_dict: got a {type(state_dict).__name__}, need a dict")
        missing = {"method", "param_groups", "rest", "state", "terms"} - set(state_dict)
        if missing:
            raise ValueError(f"state_dict: has no {', '.join(sorted(missing))}")
        if state_dict["method"] != self.name:
            raise ValueError(f"state_dict: is of method {state_dict['method']!r}, need {self.name!r}")
        if (state_dict["rest"] is None) != (self.rest is None):
            has, need = ("has a", "none") if self.rest is None else ("has no", "one")
            raise ValueError(f"state_dict: {has} state of rest, need {need}, as this optimizer")
        check_terms(state_dict["terms"])
        self.check_groups(state_dict["param_groups"])

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "rest": self.rest, "terms": self.terms, "_last": None}


def _gradients_on() -> Any:
    """Return a context in which gradients are computed, whatever the caller's mode is."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode(mode=False)
    return AS_IT_IS if torch.is_grad_enabled() else torch.enable_grad()


def _build(rest: Rest, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if not callable(rest) or isinstance(rest, torch.optim.Optimizer):
        raise ValueError(f"rest: got {type(rest).__name__}, need what builds an optimizer, such as torch.optim.AdamW")
    plain = all(group.keys() == {"params"} for group in groups) and len(groups) == 1
    optimizer = rest(groups[0]["params"] if plain else groups)
    name = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"rest: built a {name}, need a torch.optim.Optimizer")
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if isinstance(optimizer, Implicit) or (closure is not None and closure.default is closure.empty):
        raise ValueError(f"rest: built a {name}, whose step needs a closure, need one for gradients, such as torch.optim.AdamW")
    return optimizer


def _checked(loss: object) -> Tensor:
    if not isinstance(loss, Tensor):
        raise ValueError(f"closure: returned {type(loss).__name__}, need the loss, a torch.Tensor")
    if loss.numel() != 1:
        raise ValueError(f"closure: returned a tensor of shape {tuple(loss.shape)}, need a scalar loss")
    if loss.is_complex():
        raise ValueError(f"closure: returned a loss of {loss.dtype}, need a real one")
    if not loss.requires_grad:
        raise ValueError("closure: the loss does not depend on a parameter that requires a gradient; frozen, or under no_grad?")
    return loss


def _check_fit(optimizer: torch.optim.Optimizer) -> None:
    """Refuse state that does not belong to its parameter or optimizer.

    Raises:
        ValueError: naming the first that has another shape, or the options that a group lacks.
    """
    for group in optimizer.param_groups:
        if missing := optimizer.defaults.keys() - group.keys():
            raise ValueError(f"rest's group has no {', '.join(sorted(missing))}")
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim == parameter.ndim:
                if any(a not in (1, b) for a, b in zip(value.shape, parameter.shape, strict=True)):
                    raise ValueError(f"{name} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")


class SIBP(Implicit):
    """Semi-implicit back propagation (J 4.1-4.2, Algorithm 1) on any module; see `sibp.methods.sibp.SIBP` for the formulas.

    With D the error at a layer's output, T = sigma(Z) - eta delta, W and then b move to the (approximate) minimisers of
        ||sigma(X W^T + b) - T||^2 + 1/(2 lam) ||. - old||^2,
    and the error goes on through the new W. sigma is the activation that follows the layer directly (ReLU, LeakyReLU, Sigmoid, Tanh or
    Softplus), or the identity.

    Args:
        params: parameters, (name, parameter) pairs, or groups with their own options; ``{"params": ..., "implicit": False}`` is for
            parameters that `rest` shall train.
        eta: step on the activations, >= 0; kept as ``lr`` in the groups, where schedulers find it. The error is that of the loss's sum.
        lam: proximal weight 1/(2 lam), > 0; a large one allows large steps.
        cg_steps: conjugate gradient iterations per subproblem, >= 1.
        variant: ``newton``, a curvature step along each direction (ours), or ``armijo``, backtracking.
        space: where the conjugate gradient works: ``auto`` takes the cheaper of ``batch`` and ``weight``.
        l1: weight of an l1 term in every subproblem, >= 0 (J Remark 4.1).
        rest: builds the optimizer of the parameters with ordinary gradients, such as ``torch.optim.AdamW`` or
            ``lambda params: torch.optim.AdamW(params, lr=1e-4)``; None where there are none.
        terms: over how many terms the loss is a mean, > 0, or ``"sum"``; None takes the output layer's rows, and the number of
            outputs for losses that are means over all of them (MSELoss and its kind).
        max_change: bound on ||W+ - W|| / ||W|| per layer and step, > 0; None for no bound (docs/deviations.md).

    Raises:
        ValueError: for an option or a parameter that is not allowed, naming it and what is.

    Cost: see docs/own-network.md.
    """

    name = "sibp"

    def __init__(
        self,
        params: Iterable[Any],
        eta: float = 0.1,
        lam: float = 0.5,
        *,
        cg_steps: int = 5,
        variant: Literal["newton", "armijo"] = "newton",
        space: Literal["auto", "batch", "weight"] = "auto",
        l1: float = 0.0,
        rest: Rest | None = None,
        terms: Terms = None,
        max_change: float | None = None,
    ) -> None:
        options = {"eta": eta, "lam": lam, "cg_steps": cg_steps, "variant": variant, "space": space, "l1": l1}
        super().__init__(params, {**options, "max_change": max_change}, rest, terms)


class ProxBP(Implicit):
    """Proximal back propagation (J 3.2) on any module; see `sibp.methods.proxbp.ProxBP` for the formulas.

    With D the error at a layer's output by back propagation through the old weights, (W, b) moves to the (approximate) minimiser of
        ||X W^T + b - (Z - eta D)||^2 + 1/(2 lam) (||W - W_k||^2 + ||b - b_k||^2).

    Args:
        params: as for `SIBP`.
        eta: step on the pre-activations, >= 0; kept as ``lr`` in the groups. The error is that of the loss's sum.
        lam: proximal weight 1/(2 lam), > 0.
        solver: ``cg`` runs `cg_steps` linear conjugate gradient iterations, ``exact`` solves by Cholesky.
        cg_steps: iterations, >= 1.
        space: where the conjugate gradient works: ``auto`` takes the cheaper of ``batch`` and ``weight``.
        rest: as for `SIBP`.
        terms: as for `SIBP`.
        max_change: as for `SIBP`.

    Raises:
        ValueError: for an option or a parameter that is not allowed, naming it and what is.
    """

    name = "proxbp"

    def __init__(
        self,
        params: Iterable[Any],
        eta: float = 0.1,
        lam: float = 1.0,
        *,
        solver: Literal["cg", "exact"] = "cg",
        cg_steps: int = 5,
        space: Literal["auto", "batch", "weight"] = "auto",
        rest: Rest | None = None,
        terms: Terms = None,
        max_change: float | None = None,
    ) -> None:
        options = {"eta": eta, "lam": lam, "solver": solver, "cg_steps": cg_steps, "space": space}
        super().__init__(params, {**options, "max_change": max_change}, rest, terms)
