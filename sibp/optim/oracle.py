"""Implicit steps as gradients, for any torch optimizer."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from torch import nn

from sibp.core import messages
from sibp.core.options import describe
from sibp.modules.groups import METHODS
from sibp.modules.parameters import Parameters, check_terms
from sibp.modules.problems import Terms
from sibp.modules.report import nothing_solved, report_lines, report_model
from sibp.modules.watch import Watch

__all__ = ["Oracle"]


class Oracle:
    """Lets `backward()` write W_k - W_{k+1} into every layer's ``.grad`` (P 5.3), so that any torch optimizer steps.

        oracle, adam = sibp.Oracle(model.parameters(), "proxprop", tau_prox=1.0), torch.optim.Adam(model.parameters())
        for x, y in loader:
            adam.zero_grad()
            with oracle:
                loss = criterion(model(x), y)
                loss.backward()
            adam.step()

    With SGD at lr = 1, ``"sibp"`` and ``"proxbp"`` make the very step of `sibp.SIBP` and `sibp.ProxBP`. Parameters that no layer is
    solved for get autograd's gradients. As in torch, gradients are added to what is there. Clipping, hooks and
    DistributedDataParallel work as ever. One object may be used for all steps, which is faster than a new one each time.

    Args:
        params: as for `sibp.SIBP`; groups may have their own options.
        method: ``proxprop``, whose output layer gets the gradient (P eq. 12), ``sibp`` or ``proxbp``.
        eta: step of ``sibp`` and ``proxbp``, >= 0.
        lam: proximal weight of ``sibp`` and ``proxbp``, > 0.
        tau_prox: of ``proxprop``, the weight of its proximal term 1/(2 tau_prox), > 0.
        solver: ``cg`` or ``exact``, of ``proxprop`` also ``gradient``.
        cg_steps: conjugate gradient iterations, >= 1.
        variant: of ``sibp``: ``newton`` or ``armijo``; of ``proxprop``: ``paper`` or ``released``.
        space: ``auto``, ``batch`` or ``weight``.
        l1: of ``sibp``, >= 0.
        tolerance: of ``proxprop``: a neuron stops below this relative residual, >= 0.
        reduction: of ``proxprop``: whether the error is that of the loss's ``mean`` or ``sum``.
        terms: as for `sibp.SIBP`.
        max_change: as for `sibp.SIBP`.

    Options that are None are the method's defaults.

    Raises:
        ValueError: for an option or a parameter that is not allowed, naming it and what is.
    """

    def __init__(
        self,
        params: Iterable[Any],
        method: Literal["sibp", "proxbp", "proxprop"],
        *,
        eta: float | None = None,
        lam: float | None = None,
        tau_prox: float | None = None,
        solver: Literal["cg", "exact", "gradient"] | None = None,
        cg_steps: int | None = None,
        variant: Literal["newton", "armijo", "paper", "released"] | None = None,
        space: Literal["auto", "batch", "weight"] | None = None,
        l1: float | None = None,
        tolerance: float | None = None,
        reduction: Literal["mean", "sum"] | None = None,
        terms: Terms = None,
        max_change: float | None = None,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method: {messages.need(method, METHODS)}")
        options: dict[str, object] = {"eta": eta, "lam": lam, "tau_prox": tau_prox, "solver": solver, "cg_steps": cg_steps}
        options |= {"variant": variant, "space": space, "l1": l1, "tolerance": tolerance, "reduction": reduction}
        given = {name: value for name, value in options.items() if value is not None}
        allowed = describe(METHODS[method][0])
        for name in given:
            if name not in allowed:
                raise ValueError(f"Oracle: {name}: is no option of {method}, need one of {', '.join(allowed)}")
        self.terms = check_terms(terms)
        self.parameters = Parameters(params, method, {**given, "max_change": max_change})
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        self._watch = self.parameters.watch(self.terms, lambda _left: None, in_place=False)
        self._watch.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        watch = self._watch
        assert watch is not None  # `__enter__` has made it
        watch.__exit__(kind, error, trace)
        watch.forget()
        if kind is not None:
            return
        if not watch.has_gone_back:
            raise ValueError("Oracle: no loss went backward, need loss.backward() inside the `with` block")
        if not watch.solved:
            raise ValueError(f"Oracle: {nothing_solved(watch)}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watch": None}

    def report(self, model: nn.Module) -> Mapping[str, str]:
        """Return how the last backward pass treated every parameter of a model, as `sibp.SIBP.report`.

        Args:
            model: whose parameters these are.

        Returns:
            Words by the parameter's name in the model.
        """
        return report_model(model, self._watch)

    def __repr__(self) -> str:
        return "\n".join(["Oracle", *report_lines(self.parameters.all_named(), self._watch)])
