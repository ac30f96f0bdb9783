"""Timing functions side by side: warmed up, interleaved, and told as medians with their spread."""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import torch

__all__ = ["Timing", "ceiling", "exponent", "interleaved", "wait"]

LEAST = 9  # rounds
MOST = 51
WARM_UP = 3  # untimed steps before the first round
LONG = 0.1  # seconds; what the caches hold does not matter to a step that takes longer


@dataclass(frozen=True)
class Timing:
    """Seconds of one step in each round.

    Attributes:
        wall: on the wall's clock.
        cpu: of processor time, which other processes disturb less.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median on the wall's clock."""
        return median(self.wall)

    def summary(self) -> dict[str, float | int]:
        """Return the numbers that are reported.

        Returns:
            Median, least and quartiles in seconds, and the number of rounds.
        """
        lower, _, upper = quantiles(self.wall, n=4)
        return {
            "median_seconds": self.seconds,
            "min_seconds": min(self.wall),
            "lower_quartile_seconds": lower,
            "upper_quartile_seconds": upper,
            "median_cpu_seconds": median(self.cpu),
            "min_cpu_seconds": min(self.cpu),
            "rounds": len(self.wall),
        }


def interleaved(
    steps: Mapping[str, Callable[[], object]], device: torch.device, budget: float, calls: int = 1
) -> dict[str, Timing]:
    """Time functions in turns, in a new order each round, so that a slow moment of the machine hits all of them.

    A turn is one untimed call, which brings the function's data back into the caches, and `calls` timed ones. A call that takes
    more than a tenth of a second is warmed up once, and needs no untimed one.

    Args:
        steps: what to time, by label.
        device: waited for before and after.
        budget: seconds that all rounds may take; there are at least 9 and at most 51 rounds.
        calls: timed calls in a turn; a turn counts as their mean.

    Returns:
        One `Timing` per label.
    """
    costs = {label: _warm_up(step, device) for label, step in steps.items()}
    untimed = {label: int(cost <= LONG) for label, cost in costs.items()}
    rounds = max(LEAST, min(MOST, int(budget / sum(cost * (untimed[label] + calls) for label, cost in costs.items()))))
    turns: dict[str, list[tuple[float, float]]] = {label: [] for label in steps}
    order = list(steps)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for label in order:
            turns[label].append(_turn(steps[label], device, untimed[label], calls))
    return {label: Timing(*map(tuple, zip(*taken, strict=True))) for label, taken in turns.items()}


def _warm_up(step: Callable[[], object], device: torch.device) -> float:
    """Call a step until it is warm.

    Returns:
        The seconds of the last call.
    """
    spent = 0.0
    for _ in range(WARM_UP):
        begin = time.perf_counter()
        step()
        wait(device)
        if (spent := time.perf_counter() - begin) > LONG:
            break
    return spent


def _turn(step: Callable[[], object], device: torch.device, untimed: int, calls: int) -> tuple[float, float]:
    for _ in range(untimed):
        step()
    wait(device)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        step()
    wait(device)
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def wait(device: torch.device | str) -> None:
    """Wait until a device has done what it was given.

    Args:
        device: a CUDA device, or a CPU, which always has.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def ceiling(device: torch.device, sizes: Sequence[int] = (512, 1024, 2048)) -> float:
    """Return the highest rate of a square float32 matrix product here.

    Args:
        device: where it is measured.
        sizes: of the matrices.

    Returns:
        Floating point operations per second.
    """
    best = math.inf
    for size in sizes:
        A, B = torch.rand(2, size, size, device=device)
        timing = interleaved({"product": lambda A=A, B=B: A @ B}, device, 0.0, 2)["product"]
        best = min(best, min(timing.wall) / (2 * size**3))
    return 1 / best


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return p of the best fit seconds ~ size^p: the slope of the least-squares line through the logarithms.

    Args:
        sizes: > 0, at least two.
        seconds: of each, > 0.

    Returns:
        p.
    """
    x, y = ([math.log(value) for value in values] for values in (sizes, seconds))
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    rise = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return rise / sum((a - x_mean) ** 2 for a in x)
