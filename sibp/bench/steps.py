"""What is timed: one training step of a method on one network, as a user would call it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import sibp.optim as optim
from sibp.bench.released import released_step
from sibp.core import seeding
from sibp.kernels import native
from sibp.methods import registry
from sibp.nets import initialisation, losses, zoo
from sibp.nets.network import Network
from sibp.training import cuda_graph

__all__ = ["EAGER", "STEPS", "Case", "Step", "count_operations"]

Call = Callable[[], object]
BATCHES = 8  # different mini-batches, so that nothing converges on a single one
EAGER = ", no kernels"


@dataclass(frozen=True)
class Case:
    """A network and a batch size, and the labels of the steps that are timed on it."""

    name: str
    network: Network
    batch: int = 100
    std: float = 0.03
    steps: tuple[str, ...] = ()

    def module(self, device: torch.device, seed: int = 0) -> nn.Sequential:
        return zoo.to_module(self.network, seed, self.std, device=device)

    def batches(self, device: torch.device, count: int = BATCHES) -> list[tuple[Tensor, Tensor]]:
        """Return random inputs in [0, 1), as pixels are, with random classes."""
        generator, classes = seeding.generator("bench", self.name), self.network.layers[-1].fan_out
        shape = (count, self.batch, *self.network.input_shape)
        x = torch.rand(shape, generator=generator).to(device)
        y = torch.randint(classes, shape[:2], generator=generator).to(device)
        return list(zip(x, y, strict=True))

    def endless(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        return itertools.cycle(self.batches(device))


@dataclass(frozen=True)
class Step:
    """How to set a step up on a case and a device.

    Attributes:
        build: gives the step, a function without arguments.
        per: how many mini-batches a call handles; its time is divided by that.
        counted: whether matrix products can be counted in it.
    """

    build: Callable[[Case, torch.device], Call]
    per: int = 1
    counted: bool = True


@dataclass(frozen=True)
class Torch:
    """zero_grad, forward, backward, step with an optimizer of torch; compiled or not."""

    optimizer: type[torch.optim.Optimizer]
    options: Mapping[str, object] = field(default_factory=dict)
    compiled: bool = False

    def __call__(self, case: Case, device: torch.device) -> Call:
        model, batches = case.module(device), case.endless(device)
        optimizer = self.optimizer(model.parameters(), **self.options)
        run = torch.compile(model) if self.compiled else model

        def step() -> None:
            x, y = next(batches)
            optimizer.zero_grad()
            nn.functional.cross_entropy(run(x), y).backward()
            optimizer.step()

        return step


@dataclass(frozen=True)
class Closure:
    """A step of `sibp.SIBP` or `sibp.ProxBP` on a module; `eager` without the kernels."""

    optimizer: type[optim.SIBP] | type[optim.ProxBP]
    options: Mapping[str, object]
    eager: bool = False

    def __call__(self, case: Case, device: torch.device) -> Call:
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
    """A step of a method as the exhibits run it, on one network; `recorded` as a CUDA graph, see `sibp.training.cuda_graph`."""

    method: str
    options: Mapping[str, object]
    recorded: bool = False

    def __call__(self, case: Case, device: torch.device) -> Call:
        given = [registry.options(self.method)(**self.options)]
        method = registry.build(self.method, case.network, losses.get("cross-entropy"), given, device=device)
        parameters = initialisation.initialise(case.network, [0], std=case.std, device=str(device))
        state, batches = method.start(parameters), ((x[None], y[None]) for x, y in case.endless(device))
        if not self.recorded:
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
    return Step(Closure(optim.SIBP, {"eta": 0.1, "lam": 0.5, "cg_steps": steps, **options}, eager))


STEPS: dict[str, Step] = {
    "torch SGD": Step(Torch(torch.optim.SGD, {"lr": 0.01})),
    "torch SGD, compiled and fused": Step(Torch(torch.optim.SGD, {"lr": 0.01, "fused": True}, compiled=True), counted=False),
    "torch Adam": Step(Torch(torch.optim.Adam, {"lr": 1e-4})),
    "SIBP, 5 CG steps": _sibp(5),
    "SIBP, 20 CG steps": _sibp(20),
    "SIBP armijo, 5 CG steps": _sibp(5, variant="armijo"),
    "SIBP armijo, 20 CG steps": _sibp(20, variant="armijo"),
    "SIBP released, 5 CG steps": Step(Engine("sibp", {"eta": 0.1, "lam": 0.5, "variant": "released"})),
    "SIBP, 5 CG steps, engine": Step(Engine("sibp", {"eta": 0.1, "lam": 0.5})),
    "SIBP as the authors' program computes it": Step(_program, counted=False),
    f"SIBP, 5 CG steps{EAGER}": _sibp(5, eager=True),
    "SIBP, 5 CG steps, weight space": _sibp(5, space="weight"),
    "SIBP, 5 CG steps, graph": Step(Engine("sibp", {"eta": 0.1, "lam": 0.5}, recorded=True), counted=False),
    "ProxBP, 5 CG steps": Step(Closure(optim.ProxBP, {"eta": 0.1, "lam": 1.0})),
    "ProxProp, 5 CG steps": Step(_proxprop),
    "BCD": Step(_bcd, per=BATCHES),
}


def count_operations(step: Call) -> int:
    """Return the floating point operations of all matrix products in one call, with the eager twins in the kernels' place."""
    in_place = {torch.ops.aten.addmm_: _product, torch.ops.aten.baddbmm_: _product}  # torch counts only those that return
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    with native.off(), counter:
        step()
    return counter.get_total_flops()


def _product(into: torch.Size, left: torch.Size, right: torch.Size, **rest: object) -> int:
    return 2 * left.numel() * right[-1]
