"""Many networks at once against the same networks one after another: seconds of one member's step."""

from collections.abc import Callable

import torch
from torch import Tensor

from sibp.bench.labels import ENSEMBLE, LOOP, PLAIN_LOOP, SGD
from sibp.bench.steps import STEPS
from sibp.bench.timed import Call, Case
from sibp.kernels import native
from sibp.methods import sequential

__all__ = ["steps"]


def steps(case: Case, members: int, device: torch.device) -> dict[str, Call]:
    """Return what is timed on an ensemble, whose members have mini-batches of their own.

    Args:
        case: the network.
        members: how many.
        device: where they run.

    Returns:
        Calls by label; each steps every member once.
    """
    steps = [STEPS[SGD].build(case, device) for _ in range(members)]
    loop = _loop(case, members, device)

    def without_kernels() -> None:
        with native.off():
            loop()

    return {
        ENSEMBLE: _ensemble("sibp", case, members, device),
        LOOP: loop,
        PLAIN_LOOP: without_kernels,
        "SGD, an ensemble": _ensemble("sgd", case, members, device),
        f"{SGD}, one at a time": lambda: [step() for step in steps],
    }


def _method(name: str, case: Case, members: int, device: torch.device, first_seed: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    options = [sequential.read_options(name, {"eta": 0.1})] * members
    method, parameters, state = case.started(name, options, device, first_seed=first_seed)
    return lambda x, y: method.step(parameters, state, x, y)


def _ensemble(name: str, case: Case, members: int, device: torch.device) -> Call:
    step = _method(name, case, members, device)
    x, y = case.stacked(device, members)
    return lambda: step(x, y)


def _loop(case: Case, members: int, device: torch.device) -> Call:
    steps = [_method("sibp", case, 1, device, seed) for seed in range(members)]
    batches = [(x[None], y[None]) for x, y in case.batches(device, members)]
    return lambda: [step(x, y) for step, (x, y) in zip(steps, batches, strict=True)]
