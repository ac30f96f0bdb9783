"""A quantity as the column of a table: its head, and its numbers over the seeds in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sibp.results.quantities import FAILED, Quantity
from sibp.results.statistics import Statistics, over_seeds
from workflow.figures.layout import MISSING, decimal, number, spread

TITLES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "first_gradient_norm": "norm of ∂J/∂W₁",
}
PHRASES = {  # of quantities, by what they take
    "first": "first {metric}",
    "last": "{metric}",
    "best": "best {metric}",
    "highest": "highest {metric}",
    "epoch": "{metric} at epoch {at}",
    "within": "{metric} after {at} s",
    "pruned": "{metric} with {share} of the weights cut",
    "epochs_to": "epochs to {at} {metric}",
    "steps_to": "steps to {at} {metric}",
    "seconds_to": "seconds to {at} {metric}",
    "falls_to": "steps until the {metric} is {share} of its start",
    "epochs_to_highest": "epochs to the highest {metric}",
    "epochs_to_settle": "epochs until the {metric} settles",
    FAILED: "",
}
HEADS = PHRASES | {"epoch": "{metric}, epoch {at}", "within": "{metric}, {at} s"}  # the shorter form that a column has room for


def share(at: float) -> str:
    """Return a share in percent, as phrases say it."""
    return f"{100 * at:g} %"


@dataclass(frozen=True)
class Column:
    """A quantity and how a table shows it.

    Args:
        quantity: what it shows.
        head: its name.
        better: of two labels; empty where there is no contest.
        missing: what stands where seeds that did not diverge have no such number.
    """

    quantity: Quantity
    head: str
    better: Literal["higher", "lower", ""]
    missing: str = "none"

    def per_seed(self, rows: pd.DataFrame) -> pd.Series:
        """Return its number for each seed of a label, see `Quantity.per_seed`."""
        return self.quantity.per_seed(rows)

    def in_words(self, facts: Mapping[str, float]) -> str:
        """Return numbers over the seeds as a table shows them: mean ± standard deviation, or median (range) of a duration.

        Args:
            facts: from `statistics`.
        """
        if not facts["n"]:
            return MISSING
        if self.quantity.is_duration:
            middle, least, most = (
                "never" if np.isinf(facts[name]) else f"{facts[name]:.3g}" for name in ("value", "least", "most")
            )
            return middle if least == most else f"{middle} ({least} to {most})"
        if self.quantity.metric.endswith(("accuracy", "sparsity")):
            return f"{decimal(facts['value'])} {spread(facts['std'])}".strip()
        return f"{facts['value']:.3g}" + ("" if np.isnan(facts["std"]) else f" ± {facts['std']:.1g}")

    def statistics(self, values: pd.Series) -> dict[str, float]:
        """Return its numbers over the seeds: mean (of a duration the median), standard deviation, range and count.

        Args:
            values: from `per_seed`.
        """
        facts: Statistics = over_seeds(values)
        middle = facts.median if self.quantity.is_duration else facts.mean
        return {"value": middle, "std": facts.std, "least": facts.least, "most": facts.most, "n": facts.n}


def column(
    metric: str,
    take: str = "last",
    at: float = 0.0,
    head: str | None = None,
    better: Literal["higher", "lower", ""] | None = None,
) -> Column:
    """Return a quantity as a column.

    Args:
        metric: see `Quantity`, as the next two.
        take: what is taken of each seed's curve.
        at: the number that `take` needs.
        head: its name; by default what `HEADS` says.
        better: by default what the quantity says.
    """
    quantity = Quantity(metric, take, at)
    if head is None:
        shown = number(float(f"{at:.2g}")) if take == "within" else number(at)
        head = HEADS[take].format(metric=TITLES[metric], at=shown, share=share(at))
    return Column(quantity, head, ("higher" if quantity.is_higher_better else "lower") if better is None else better)
