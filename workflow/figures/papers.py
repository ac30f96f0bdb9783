"""The papers' numbers, which stand once, in workflow/papers.yaml: read, and looked up for exhibits and claims."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sibp.core import messages
from sibp.results.quantities import Quantity

SECOND = "-armijo"  # ends the labels that show Armijo's rule beside the main ones, see docs/deviations.md
ORDER = "jaip"  # of the papers
CELL = ("exhibit", "row", "column", "metric", "over")  # keys of a reference to a table's cells
FILE = Path(__file__).resolve().parents[1] / "papers.yaml"


@dataclass(frozen=True)
class Value:
    """A number that a paper's text states of a figure.

    Args:
        label: whose it is.
        quantity: what it is of.
        value: the number.
    """

    label: str
    quantity: Quantity
    value: float


def read(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Return what the papers say, by exhibit; nothing is said of an exhibit beyond the papers."""
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def place(exhibit: str) -> tuple[int, bool, int, str]:
    """Return what exhibits are sorted by, given an id: their paper, its tables before its figures, by number; what is beyond comes last."""
    name = re.fullmatch(rf"([{ORDER}])-(table|fig)(\d+)", exhibit)
    if name is None:
        return len(ORDER), False, 0, exhibit
    paper, kind, number = name.groups()
    return ORDER.index(paper), kind == "fig", int(number), exhibit


def values(paper: Mapping[str, Any]) -> list[Value]:
    """Return the numbers that the text states of a figure: the entry's `values`."""
    return [value for stated in paper.get("values", []) for value in _values(stated)]


def number(paper: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """Return the number that a reference points to.

    Args:
        paper: an exhibit's entry.
        reference: a cell of the table, ``{row, column, metric}``, where `row` and `column` may be lists, or `column` be left out for all,
            if `over: min` or `over: max` says which of the cells; or a value of a figure, ``{label, metric, ...}`` with what is taken
            as in `Quantity.parse`; or ``{entry: key}``, ``{entry: [key, key]}``.

    Raises:
        LookupError: in one line, if there is no such number, or there are several and no `over`.
    """
    if "entry" in reference:
        return _descend(paper, reference["entry"])
    values = _cells(paper, reference) if "row" in reference else _stated(paper, reference)
    if not values or (len(values) > 1 and "over" not in reference):
        raise LookupError(
            f"papers.yaml: {dict(reference)}: got {len(values)} numbers, need 1{' or over: min or max' if values else ''}"
        )
    return {"min": min, "max": max}[reference.get("over", "min")](values)


def _descend(paper: Mapping[str, Any], keys: str | list[str]) -> float:
    place: Any = paper
    for key in [keys] if isinstance(keys, str) else keys:
        if key not in place:
            raise LookupError(f"papers.yaml: entry: got {key!r}, need one of {', '.join(map(str, place))}")
        place = place[key]
    return place


def _cells(paper: Mapping[str, Any], reference: Mapping[str, Any]) -> list[float]:
    if unknown := sorted(reference.keys() - CELL):
        raise LookupError(f"papers.yaml: {messages.need(unknown[0], CELL)}")
    rows, columns = (_listed(reference.get(key, every)) for key, every in (("row", []), ("column", paper["columns"])))
    if reference["metric"] not in paper["metrics"]:
        raise LookupError(f"papers.yaml: metric: {messages.need(reference['metric'], paper['metrics'])}")
    metric = paper["metrics"].index(reference["metric"])
    cells = [
        cell[metric]
        for row in paper["rows"]
        for column, cell in zip(paper["columns"], row["values"], strict=True)
        if row["name"] in rows and column in columns
    ]
    return [cell for cell in cells if cell is not None]  # null is the papers' dash


def _stated(paper: Mapping[str, Any], reference: Mapping[str, Any]) -> list[float]:
    (sought,) = _values({**reference, "value": 0.0})
    return [stated.value for stated in values(paper) if (stated.label, stated.quantity) == (sought.label, sought.quantity)]


def _values(stated: Mapping[str, Any]) -> list[Value]:
    """Return a number that a text states, once for each label that it may be of."""
    quantity = Quantity.parse({key: content for key, content in stated.items() if key not in ("label", "value")})
    return [Value(label, quantity, stated["value"]) for label in _listed(stated["label"])]


def _listed(names: Any) -> list[Any]:
    return names if isinstance(names, list) else [names]
