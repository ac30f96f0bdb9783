"""Steps on a module of one's own by the public optimizers: captured as a CUDA graph against eager, to the bit, and their time."""

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from sibp.bench.check.report import Report
from sibp.bench.check.speed import seconds_of
from sibp.optim import SIBP, ProxBP
from sibp.training import cuda_graph

__all__ = ["METHODS", "modules", "network", "rest"]

METHODS: dict[str, type[SIBP | ProxBP]] = {"SIBP": SIBP, "ProxBP": ProxBP}
BATCH, BATCHES, TIMED = 32, 3, 20


def network() -> nn.Module:
    """Return a small network with what the exhibits' have not: a norm, which `rest` trains, between convolution and activation.

    Returns:
        A module that takes images `[B, 2, 4, 4]` to 5 classes.
    """
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))


def rest(params: list[Tensor]) -> torch.optim.Optimizer:
    """Return an optimizer for the norm whose step can be captured where its parameters can.

    Args:
        params: the parameters.

    Returns:
        AdamW.
    """
    return torch.optim.AdamW(params, capturable=params[0].is_cuda, foreach=False)


class Steps:
    """A copy of a module, its optimizer, and the arrays that its steps read.

    Args:
        model: copied.
        method: a key of `METHODS`.
        device: where the copy goes.
    """

    def __init__(self, model: nn.Module, method: str, device: str) -> None:
        self.model = deepcopy(model).to(device)
        self.optimizer = METHODS[method](self.model.parameters(), eta=0.1, lam=0.1, rest=rest)
        self.x, self.y = next(_batches(device))

    def __call__(self) -> Tensor:
        """Make one step on what the arrays hold.

        Returns:
            The loss before it.
        """
        return self.optimizer.step(lambda: functional.cross_entropy(self.model(self.x), self.y))

    def run(self, step: Callable[[], object]) -> None:
        """Make a step on each batch.

        Args:
            step: makes one on what the arrays hold.
        """
        for x, y in _batches(self.x.device):
            self.x.copy_(x)
            self.y.copy_(y)
            step()

    def state(self) -> list[Tensor]:
        """Return copies of the module's parameters and buffers."""
        return [value.detach().clone() for value in self.model.state_dict().values()]


def _batches(device: str | torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, the same numbers on every device."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(BATCHES):
        x, y = torch.randn(BATCH, 2, 4, 4, generator=draw), torch.randint(5, (BATCH,), generator=draw)
        yield x.to(device), y.to(device)


def modules(report: Report) -> None:
    """Compare captured steps on a module of one's own with eager ones to the bit, and time both; on a CPU the eager ones, made twice.

    Args:
        report: gets the verdict.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network()
    faults, words = [], []
    report.data["modules"] = {}
    for method in METHODS:
        eager, other = (Steps(model, method, report.device) for _ in range(2))
        for _ in range(cuda_graph.WARM_UP):
            eager()
        step = _warmed_up(other, report.device)
        eager.run(eager)
        other.run(step)
        if not all(torch.equal(a, b) for a, b in zip(eager.state(), other.state(), strict=True)):
            faults.append(f"{method}: {'captured' if report.device == 'cuda' else 'repeated'} steps have other bits")
        times = {"eager": seconds_of(eager, report.device, TIMED)}
        if report.device == "cuda":
            times["captured"] = seconds_of(step, report.device, TIMED)
        report.data["modules"][method] = times
        words.append(f"{method} " + ", ".join(f"{seconds * 1e6:.0f} us {how}" for how, seconds in times.items()))
    words_if_equal = "captured steps equal eager ones to the bit" if report.device == "cuda" else "nothing is captured on a CPU"
    report.say("modules", "; ".join([*(faults or [words_if_equal]), *words]), passed=not faults)


def _warmed_up(steps: Steps, device: str) -> Callable[[], object]:
    """Make the first steps.

    Returns:
        What makes another: a graph's replay on a CUDA device.
    """
    if device == "cuda":
        replay, _ = cuda_graph.record(steps)
        return replay
    for _ in range(cuda_graph.WARM_UP):
        steps()
    return steps
