"""The table behind a figure of curves: a line for each label, the paper's numbers below it, differences of labels at the end."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from sibp.results.quantities import diverged
from workflow.figures.columns import Column
from workflow.figures.layout import MISSING, Cell, Table, cell, number
from workflow.figures.papers import Value


class Line(Protocol):
    """A label's name, its setting in words, and all its rows."""

    @property
    def name(self) -> str: ...

    @property
    def setting(self) -> str: ...

    @property
    def rows(self) -> pd.DataFrame: ...


def numbers(lines: Mapping[Any, Line], columns: Sequence[Column], stated: Sequence[Value] = ()) -> pd.DataFrame:
    """Return one row per label and column: ours over the seeds, and the paper's number where it states one.

    Args:
        lines: by label.
        columns: of the table.
        stated: the paper's numbers.
    """
    rows = []
    for label, line in lines.items():
        has_diverged = diverged(line.rows)
        head: dict[str, Any] = {"method": label, "name": line.name, "setting": line.setting}
        head |= {"members": len(has_diverged), "diverged": int(has_diverged.sum())}
        for column in columns:
            paper = next((v.value for v in stated if (v.label, v.quantity) == (label, column.quantity)), np.nan)
            facts = column.statistics(column.per_seed(line.rows))
            rows.append(head | {"quantity": column.head} | facts | {"paper": paper})
    return pd.DataFrame(rows)


def differences(lines: Mapping[str, Line], pairs: Mapping[str, str], columns: Sequence[Column]) -> pd.DataFrame:
    """Return the same for differences seed by seed, the first label of each pair minus the second; durations have none."""
    rows = []
    for first, second in pairs.items():
        head = {"method": f"{first} - {second}", "name": f"{lines[first].name} − {lines[second].name}", "setting": "difference"}
        for column in columns:
            gaps = column.per_seed(lines[first].rows) - column.per_seed(lines[second].rows)
            facts = column.statistics(gaps if not column.quantity.is_duration else gaps[:0])
            rows.append(head | {"members": facts["n"], "diverged": 0, "quantity": column.head} | facts | {"paper": np.nan})
    return pd.DataFrame(rows)


def table(data: pd.DataFrame, columns: Sequence[Column], claims: Sequence[str] = ()) -> Table:
    """Return the numbers as a table; a column's best is bold.

    Args:
        data: from `numbers`, and perhaps `differences` below it.
        columns: of the table.
        claims: what the paper says of the figure.
    """
    own = data["setting"] != "difference"
    best = {column.head: _best(data[own & (data["quantity"] == column.head)], column) for column in columns}
    groups = [
        [line for _, rows in part.groupby("method", sort=False) for line in _lines(rows, columns, best)]
        for part in (data[own], data[~own])
    ]
    notes = {
        "; how long: median (range), up to the evaluation that finds it": any(c.quantity.is_duration for c in columns),
        "; at an epoch: the evaluation there, or the last before it": any(c.quantity.take == "epoch" for c in columns),
    }
    seeds = "mean ± standard deviation over the seeds that did not diverge" if data["members"].max() > 1 else "one seed"
    text = f"After training unless said otherwise; {seeds}{''.join(note for note, holds in notes.items() if holds)}."
    caption = f"{text} The paper: {'; '.join(claims)}." if claims else text
    return Table(
        ["method", "setting", *(column.head for column in columns), "seeds"], caption, [group for group in groups if group]
    )


def _lines(rows: pd.DataFrame, columns: Sequence[Column], best: Mapping[str, str]) -> list[list[Cell]]:
    rows, first = rows.set_index("quantity"), rows.iloc[0]
    is_difference = first["setting"] == "difference"
    texts = [_words(rows.loc[column.head], column) for column in columns]
    bold = [not is_difference and text == best[column.head] for text, column in zip(texts, columns, strict=True)]
    alive = first["members"] - first["diverged"]
    seeds = f"{alive} of {first['members']}" if first["diverged"] else f"{alive}"
    lines = [[cell(first["name"]), cell(first["setting"]), *map(cell, texts, bold), cell(seeds)]]
    if rows["paper"].notna().any():
        paper = rows["paper"][[column.head for column in columns]]
        lines.append([cell(""), cell("paper"), *(cell("" if pd.isna(value) else number(value)) for value in paper), cell("")])
    return lines


def _best(rows: pd.DataFrame, column: Column) -> str:
    """Return the best cell's text; nothing if there is no contest."""
    values = rows["value"].replace(np.inf, np.nan).dropna()
    if len(rows) < 2 or values.empty or not column.better:
        return ""
    return _words(rows.loc[values.idxmin() if column.better == "lower" else values.idxmax()], column)


def _words(row: pd.Series, column: Column) -> str:
    """Return a cell's text; where seeds did not diverge and yet have no number, the column says what that is."""
    if row["n"]:
        return column.in_words(row.to_dict())
    return "" if row["setting"] == "difference" else column.missing if row["diverged"] < row["members"] else MISSING
