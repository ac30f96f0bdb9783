"""Our numbers in words, as a claim's row shows them: what was measured, of which method, against which others.

test accuracy, best setting: SIBP 0.9847 [0.9840, 0.9854] against SGD 0.9828 [0.9815, 0.9840] and ProxBP 0.9814 [0.9801, 0.9826]
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sibp.results.quantities import FAILED, Quantity
from sibp.results.statistics import interval
from workflow.figures.columns import PHRASES, share
from workflow.figures.layout import decimal


@dataclass(frozen=True)
class Measured:
    """A quantity of a label, one number for each seed."""

    label: str
    quantity: Quantity
    values: np.ndarray

    @property
    def name(self) -> str:
        """What was measured."""
        quantity, metric = self.quantity, self.quantity.metric.replace("_", " ")
        name = PHRASES[quantity.take].format(metric=metric, at=f"{quantity.at:g}", share=share(quantity.at))
        if quantity.over == "mean" or not name:
            return name
        if quantity.over == "range":
            return f"range of {name} over the settings"
        return f"{name}, {'best' if (quantity.over == 'max') == quantity.is_higher_better else 'worst'} setting"

    @property
    def setting(self) -> str:
        """Of which settings it is, where not of all."""
        parts = [f" at {name} {', '.join(f'{value:g}' for value in values)}" for name, values in self.quantity.where.items()]
        return "".join(parts)

    @property
    def numbers(self) -> str:
        """Mean and interval over the seeds, or how many seeds have no number."""
        values = self.values
        if self.quantity.take == FAILED:
            return f"fails in {(values == 1).sum()} of {len(values)} seeds"
        for name, those in (("diverged", np.isnan(values)), ("never", np.isinf(values))):
            if those.any():
                return name if those.all() else f"{name} in {those.sum()} of {len(values)} seeds"
        middle, (low, high) = float(np.mean(values)), interval(values)
        shown = self._form(middle)
        ends = shown if math.isnan(low) else f"{self._form(low)}, {self._form(high)}"
        return shown if set(ends.split(", ")) == {shown} else f"{shown} [{ends}]"

    def _form(self, value: float) -> str:
        if self.quantity.metric.endswith("accuracy") and not self.quantity.is_duration:
            return decimal(value)
        return f"{value:.0f}" if self.quantity.is_duration and abs(value) >= 100 else f"{value:.3g}"


Pair = tuple[Measured, Measured | None]  # what a test asks of, and what it is held against


def sentence(pairs: Sequence[Pair], names: Mapping[str, str]) -> str:
    """Return what the tests of a claim measured: each quantity once, with the methods that it is of and their rivals.

    Args:
        pairs: of each test, in their order.
        names: of the labels; a claim of one label alone does without. A label that is asked at several settings has these beside it.
    """
    every = [measured for pair in pairs for measured in pair if measured]
    settings = Counter(label for label, _ in {(measured.label, measured.setting) for measured in every})
    alone = len(settings) == 1

    def called(measured: Measured) -> str:
        return names[measured.label] + (measured.setting if settings[measured.label] > 1 else "")

    rivals: dict[str, dict[str, list[str]]] = {}  # by quantity and by what stands before "against"
    for ours, other in pairs:
        first, *others = (each.numbers if alone else f"{called(each)} {each.numbers}" for each in (ours, other) if each)
        rivals.setdefault(ours.name, {}).setdefault(first, []).extend(others)
    parts = []
    for quantity, lines in rivals.items():
        texts: dict[str, list[str]] = {}  # what has the same rivals stands before them together
        for first, others in lines.items():
            texts.setdefault(_listed(others), []).append(first)
        text = ", ".join(
            f"{', '.join(firsts)} against {others}" if others else ", ".join(firsts) for others, firsts in texts.items()
        )
        parts.append(f"{quantity}{' ' if alone else ': '}{text}" if quantity else text)
    return "; ".join(parts)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
