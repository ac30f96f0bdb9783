"""The table behind a figure of curves: a line for each label, the paper's numbers below it, differences of labels at the end."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from workflow.figures.layout import MISSING, Cell, Table, cell, number
from workflow.figures.quantities import Quantity, in_words, is_lost, readings, statistics


class Line(Protocol):
    """A label's name, its setting in words, and all its rows."""

    name: str
    setting: str
    rows: pd.DataFrame


def numbers(lines: Mapping[str, Line], asked: Sequence[Quantity], said: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """Return one row per label and quantity: ours over the seeds, and the paper's number where it states one.

    Args:
        lines: by label.
        asked: the quantities.
        said: the paper's numbers, as workflow/papers.yaml lists them under `values`.
    """
    paper = {(one["label"], one["metric"], one["when"]): one["value"] for one in said}
    rows = []
    for label, line in lines.items():
        lost = sum(is_lost(member) for _, member in line.rows.groupby("member"))
        head = {"method": label, "name": line.name, "setting": line.setting}
        head |= {"members": line.rows["member"].nunique(), "diverged": lost}
        for one in asked:
            facts = statistics(readings(line.rows, one), one.duration)
            rows.append(head | {"quantity": one.head} | facts | {"paper": paper.get((label, one.metric, one.when), np.nan)})
    return pd.DataFrame(rows)


def differences(lines: Mapping[str, Line], pairs: Mapping[str, str], asked: Sequence[Quantity]) -> pd.DataFrame:
    """Return the same for differences seed by seed, the first label of each pair minus the second; durations have none."""
    rows = []
    for first, second in pairs.items():
        head = {"method": f"{first} - {second}", "name": f"{lines[first].name} − {lines[second].name}", "setting": "difference"}
        for one in asked:
            facts = statistics(readings(lines[first].rows, one) - readings(lines[second].rows, one))
            facts = facts if not one.duration else dict.fromkeys(facts, np.nan) | {"n": 0}
            rows.append(head | {"members": facts["n"], "diverged": 0, "quantity": one.head} | facts | {"paper": np.nan})
    return pd.DataFrame(rows)


def table(data: pd.DataFrame, asked: Sequence[Quantity], claims: Sequence[str] = ()) -> Table:
    """Return the numbers as a table; a column's best is bold.

    Args:
        data: from `numbers`, and perhaps `differences` below it.
        asked: the columns.
        claims: what the paper says of the figure.
    """
    own = data["setting"] != "difference"
    best = {one.head: _best(data[own & (data["quantity"] == one.head)], one) for one in asked}
    groups = [
        [line for _, rows in part.groupby("method", sort=False) for line in _lines(rows, asked, best)]
        for part in (data[own], data[~own])
    ]
    durations = "; how long: median (range), up to the evaluation that finds it" if any(one.duration for one in asked) else ""
    seeds = "mean ± standard deviation over the seeds that did not diverge" if data["members"].max() > 1 else "one seed"
    text = f"After training unless said otherwise; {seeds}{durations}."
    caption = f"{text} The paper: {'; '.join(claims)}." if claims else text
    return Table(["method", "setting", *(one.head for one in asked), "seeds"], caption, [group for group in groups if group])


def _lines(rows: pd.DataFrame, asked: Sequence[Quantity], best: Mapping[str, str]) -> list[list[Cell]]:
    rows, first = rows.set_index("quantity"), rows.iloc[0]
    is_difference = first["setting"] == "difference"
    texts = [_words(rows.loc[one.head], one) for one in asked]
    cells = [cell(text, bold=not is_difference and text == best[one.head]) for text, one in zip(texts, asked, strict=True)]
    alive = first["members"] - first["diverged"]
    seeds = f"{alive} of {first['members']}" if first["diverged"] else f"{alive}"
    lines = [[cell(first["name"]), cell(first["setting"]), *cells, cell(seeds)]]
    if rows["paper"].notna().any():
        paper = rows["paper"][[one.head for one in asked]]
        lines.append([cell(""), cell("paper"), *(cell("" if pd.isna(value) else number(value)) for value in paper), cell("")])
    return lines


def _best(rows: pd.DataFrame, quantity: Quantity) -> str:
    """Return the best cell's text; nothing if there is no contest."""
    values = rows["value"].replace(np.inf, np.nan).dropna()
    if len(rows) < 2 or values.empty or not quantity.better:
        return ""
    return _words(rows.loc[values.idxmin() if quantity.better == "lower" else values.idxmax()], quantity)


def _words(row: pd.Series, quantity: Quantity) -> str:
    """Return a cell's text; a number that no living seed has was not run."""
    if row["n"]:
        return in_words(row, quantity.metric, quantity.duration)
    return "" if row["setting"] == "difference" else quantity.missing if row["diverged"] < row["members"] else MISSING
