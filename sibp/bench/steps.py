"""What is timed: one training step of a method on one network, as a user would call it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import sibp.optim as optim
from sibp.bench import labels
from sibp.bench.baselines import BASELINES
from sibp.bench.floor import Solves
from sibp.bench.released import released_step
from sibp.bench.timed import BATCHES, Call, Case, Step
from sibp.kernels import native
from sibp.methods import registry
from sibp.training import cuda_graph

__all__ = ["STEPS"]


@dataclass(frozen=True)
class Closure:
    """A step of `sibp.SIBP` or `sibp.ProxBP` on a module.

    Attributes:
        optimizer: its class.
        options: of the optimizer.
        eager: without the kernels.
    """

    optimizer: type[optim.SIBP] | type[optim.ProxBP]
    options: Mapping[str, Any]
    eager: bool = False

    def __call__(self, case: Case, device: torch.device) -> Call:
        """Set the step up.

        Args:
            case: the network and its mini-batches.
            device: where it runs.

        Returns:
            The step.
        """
        model, batches = case.module(device), case.endless(device)
        optimizer = self.optimizer(model.parameters(), **self.options)

        def step() -> None:
            x, y = next(batches)
            optimizer.step(lambda: nn.functional.cross_entropy(model(x), y))

        def eager_step() -> None:
            with native.off():
                step()

        return eager_step if self.eager else step


@dataclass(frozen=True)
class Engine:
    """A step of a method as the exhibits run it, on one network.

    Attributes:
        method: its name.
        options: of the method.
        captured: as a CUDA graph, see `sibp.training.cuda_graph`.
    """

    method: str
    options: Mapping[str, Any]
    captured: bool = False

    def __call__(self, case: Case, device: torch.device) -> Call:
        """Set the step up.

        Args:
            case: the network and its mini-batches.
            device: where it runs.

        Returns:
            The step.

        Raises:
            RuntimeError: if the step cannot be captured, with the reason.
        """
        given = [registry.options(self.method)(**self.options)]
        method, parameters, state = case.started(self.method, given, device)
        batches = ((x[None], y[None]) for x, y in case.endless(device))
        if not self.captured:
            return lambda: method.step(parameters, state, *next(batches))
        step = cuda_graph.captured(method, parameters, state, *next(batches))
        if step.reason is not None:
            raise RuntimeError(step.reason)
        return lambda: step(*next(batches))


def _proxprop(case: Case, device: torch.device) -> Call:
    model, batches = case.module(device), case.endless(device)
    oracle = optim.Oracle(model.parameters(), "proxprop", tau_prox=0.05, cg_steps=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        x, y = next(batches)
        optimizer.zero_grad()
        with oracle:
            nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


def _bcd(case: Case, device: torch.device) -> Call:
    x, y = (torch.cat(parts) for parts in zip(*case.batches(device), strict=True))
    return optim.BCD(case.module(device), x, y).step


def _program(case: Case, device: torch.device) -> Call:
    layers = [module for module in case.module(device) if isinstance(module, nn.Linear)]
    batches = case.endless(device)
    return lambda: released_step(layers, *next(batches), eta=0.1, lam=0.5, cg_steps=5)


def _sibp(steps: int, **options: object) -> Step:
    eager = bool(options.pop("eager", False))
    build = Closure(optim.SIBP, {"eta": 0.1, "lam": 0.5, "cg_steps": steps, **options}, eager)
    return Step(build, Solves(steps, str(options.get("space", "auto"))))


STEPS: dict[str, Step] = {
    **{label: step for forms in BASELINES.values() for label, step in forms.items()},
    labels.SIBP: _sibp(5),
    labels.SIBP20: _sibp(20),
    labels.ARMIJO: _sibp(5, variant="armijo"),
    labels.ARMIJO20: _sibp(20, variant="armijo"),
    labels.RELEASED: Step(Engine("sibp", {"eta": 0.1, "lam": 0.5, "variant": "released"}), Solves(5)),
    labels.ENGINE: Step(Engine("sibp", {"eta": 0.1, "lam": 0.5}), Solves(5)),
    labels.AUTHORS: Step(_program, counted=False),
    labels.EAGER: _sibp(5, eager=True),
    labels.WEIGHT_SPACE: _sibp(5, space="weight"),
    labels.GRAPH: Step(Engine("sibp", {"eta": 0.1, "lam": 0.5}, captured=True), Solves(5), counted=False, captured=True),
    labels.PROXBP: Step(Closure(optim.ProxBP, {"eta": 0.1, "lam": 1.0}), Solves(5, linear=True)),
    labels.PROXPROP: Step(_proxprop, Solves(5, linear=True, last=False)),
    labels.BCD: Step(_bcd, per=BATCHES),
}
