"""What is said of a number over the seeds. The only interval of the project is here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

__all__ = ["CONFIDENCE", "Statistics", "interval", "over_seeds"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Statistics:
    """A number over the seeds that have one; all but `n` are NaN where no seed has.

    Args:
        n: how many seeds have the number.
        mean: over them; infinite if any is.
        median: over them; the middle of a duration, which may be infinite.
        std: standard deviation (ddof 1); NaN for one seed, or where a number is infinite.
        low: left end of the interval of the mean, see `interval`.
        high: its right end.
        least: the smallest.
        most: the largest.
    """

    n: int
    mean: float
    median: float
    std: float
    low: float
    high: float
    least: float
    most: float


def interval(values: ArrayLike) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the mean by Student's t: mean ± t(0.975, n - 1) std / sqrt(n).

    Args:
        values: one number for each seed, [n].

    Returns:
        The two ends, equal where all seeds agree; NaN and NaN where there is no interval: fewer than two seeds, or a number that is
        infinite or missing.
    """
    numbers = np.asarray(values, float)
    n = len(numbers)
    if n < 2:
        return np.nan, np.nan
    with np.errstate(over="ignore", invalid="ignore"):  # losses that have exploded may have an infinite spread
        mean, half = numbers.mean(), stdtrit(n - 1, (1 + CONFIDENCE) / 2) * numbers.std(ddof=1) / np.sqrt(n)
        return mean - half, mean + half


def over_seeds(values: ArrayLike | Sequence[float]) -> Statistics:
    """Return the statistics of one number for each seed; NaN stands for a seed that has none.

    Args:
        values: [seeds].
    """
    numbers = np.asarray(values, float)
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return Statistics(0, *[np.nan] * 7)
    with np.errstate(over="ignore", invalid="ignore"):
        std = numbers.std(ddof=1) if len(numbers) > 1 else np.nan
        return Statistics(len(numbers), numbers.mean(), np.median(numbers), std, *interval(numbers), numbers.min(), numbers.max())
