"""Numbers read off the curves of the seeds: where they end, their best, their value at an epoch, how long they take to a level."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow.figures.layout import MISSING, decimal, number, spread

TITLES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
    "validation_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "first_gradient_norm": "norm of ∂J/∂W₁",
}


@dataclass(frozen=True)
class Quantity:
    """One number for each seed.

    Args:
        metric: the column it is read off.
        when: `last`, `best`, the epoch, or the level that is reached: what tells apart the numbers of one metric.
        head: its name in a table.
        read: takes one seed's rows in the order of steps; NaN where there is no such number.
        better: `higher`, `lower`, or empty where neither is.
        duration: whether it counts epochs or seconds, for which infinity is `never` and the median stands for the seeds.
        missing: what a table says where living seeds have no such number.
    """

    metric: str
    when: str | float
    head: str
    read: Callable[[pd.DataFrame], float]
    better: str = "higher"
    duration: bool = False
    missing: str = "not run"


def last(metric: str) -> Quantity:
    """Return the value at the last evaluation; none if the seed was lost."""
    return Quantity(metric, "last", TITLES[metric], lambda rows: rows[metric].iloc[-1], _better(metric))


def best(metric: str) -> Quantity:
    """Return the highest value over all evaluations; none if the seed was lost."""
    return Quantity(metric, "best", f"best {TITLES[metric]}", lambda rows: np.nan if is_lost(rows) else rows[metric].max())


def after(metric: str, epoch: float) -> Quantity:
    """Return the value after that many epochs; none if the run is shorter or is not evaluated there."""

    def read(rows: pd.DataFrame) -> float:
        found = rows[metric][np.isclose(rows["epoch"], epoch)]
        return found.iloc[0] if len(found) else np.nan

    return Quantity(metric, epoch, f"{TITLES[metric]}, epoch {number(epoch)}", read, _better(metric))


def within(metric: str, seconds: float) -> Quantity:
    """Return the value of the last evaluation within that many seconds of training."""
    head = f"{TITLES[metric]}, {number(float(f'{seconds:.2g}'))} s"
    return Quantity(metric, seconds, head, lambda rows: rows[metric][rows["seconds"] <= seconds * (1 + 1e-9)].iloc[-1])


def until(metric: str, level: float, axis: str = "epoch") -> Quantity:
    """Return how many epochs (or seconds) pass until an accuracy is at least `level`; inf if it never is."""

    def read(rows: pd.DataFrame) -> float:
        reached = rows[axis][rows[metric] >= level]
        return reached.iloc[0] if len(reached) else np.inf

    unit = {"epoch": "epochs", "seconds": "seconds"}[axis]
    return Quantity(metric, level, f"{unit} to {number(level)} {TITLES[metric]}", read, "lower", duration=True)


def _better(metric: str) -> str:
    return "higher" if metric.endswith("accuracy") else "lower"


def is_lost(rows: pd.DataFrame) -> bool:
    """Tell whether a seed diverged."""
    return bool((rows["status"] == "diverged").any())


def readings(rows: pd.DataFrame, quantity: Quantity) -> pd.Series:
    """Return the number of every seed, by seed."""
    members = rows.sort_values("step", kind="stable").groupby("seed")
    return pd.Series({seed: quantity.read(part) for seed, part in members}, dtype=float)


def statistics(values: pd.Series, duration: bool = False) -> dict[str, float]:
    """Return mean (for a duration the median), standard deviation, range and number of the seeds that have a value."""
    kept = values.dropna()
    middle = (kept.median() if duration else kept.mean()) if len(kept) else np.nan
    std = kept.std() if len(kept) > 1 and np.isfinite(kept).all() else np.nan
    return {"value": middle, "std": std, "least": kept.min(), "most": kept.max(), "n": len(kept)}


def in_words(facts: dict[str, float], metric: str, duration: bool = False) -> str:
    """Return statistics as a table shows them: mean ± standard deviation, or median (range)."""
    if not facts["n"]:
        return MISSING
    if duration:
        middle, least, most = ("never" if np.isinf(facts[name]) else f"{facts[name]:.3g}" for name in ("value", "least", "most"))
        return middle if least == most else f"{middle} ({least} to {most})"
    if not metric.endswith("accuracy"):
        return f"{facts['value']:.3g}" + ("" if np.isnan(facts["std"]) else f" ± {facts['std']:.1g}")
    return f"{decimal(facts['value'])} {spread(facts['std'])}".strip()
