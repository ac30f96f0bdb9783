"""The step-size tables of J, A and I: the paper's accuracies and ours, setting by setting."""

from typing import Any

import numpy as np
import pandas as pd

from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import select
from workflow.figures.layout import MISSING, Cell, Table, Text, cell, decimal, number

NEAR = 0.05  # both accuracies within this of a paper's count as the same result


def long_form(exhibit: Exhibit) -> pd.DataFrame:
    """Return one row per cell of the paper's table and metric: the paper's value, our mean, spread, n and diverged members."""
    paper, rows = exhibit.paper, []
    for row in paper["rows"]:
        for column, values in zip(paper["columns"], row["values"], strict=True):
            settings = {**row.get("fixed", {}), row["varies"]: column}
            rows_of_cell = select(exhibit.final, row["algorithm"], **settings)
            ours = rows_of_cell.iloc[0] if len(rows_of_cell) else None
            second = select(exhibit.final, row["algorithm"], second=True, **settings)
            for metric, value in zip(paper["metrics"], values, strict=True):
                head = {"row": row["name"], "column": column, "algorithm": row["algorithm"], **settings}
                armijo = {"armijo": second.iloc[0][f"{metric}_mean"]} if len(second) else {}
                rows.append(head | {"metric": metric, "paper": value} | _ours(ours, metric) | armijo)
    return pd.DataFrame(rows).assign(exhibit=exhibit.id, scale=exhibit.scale)


def _ours(row: pd.Series | None, metric: str) -> dict[str, Any]:
    if row is None:
        return {"members": 0, "n": 0, "diverged": 0}
    statistics = {name: row[f"{metric}_{name}"] for name in ("mean", "std", "low", "high")}
    return statistics | {name: int(row[name]) for name in ("members", "n", "diverged")}


def table(exhibit: Exhibit, data: pd.DataFrame, caption: str) -> Table:
    """Return the table in the paper's layout, three lines for each of its rows: the paper's, ours, our spread.

    A fourth one shows Armijo's rule where a second label has it.
    """
    metrics, columns = exhibit.paper["metrics"], exhibit.paper["columns"]
    groups: list[list[list[Cell]]] = []
    for name, rows in data.groupby("row", sort=False):
        cells = [{m: row for m, row in rows[rows["column"] == c].set_index("metric").iterrows()} for c in columns]
        best = [_best(data, c, exhibit.paper["bold"]) for c in columns]
        ours = [_mean(by_metric, metrics, top) for by_metric, top in zip(cells, best, strict=True)]
        groups.append(
            [
                [
                    cell(name),
                    cell("paper"),
                    *(cell(_pair([_form(by_metric[m]["paper"], m) for m in metrics])) for by_metric in cells),
                ],
                [cell(""), cell("ours"), *ours],
            ]
        )
        if data["members"].max() > 1:
            groups[-1].append([cell(""), cell("s.d."), *(cell(_spread(by_metric, metrics)) for by_metric in cells)])
        if "armijo" in rows and rows["armijo"].notna().any():
            texts = (_pair([_form(by_metric[m]["armijo"], m) for m in metrics]) for by_metric in cells)
            groups[-1].append([cell(""), cell("ours, Armijo's rule"), *map(cell, texts)])
    return Table(["", "", *map(number, columns)], caption, groups)


def _form(value: float | None, metric: str) -> str:
    """Return an accuracy with four decimals, a loss with four digits."""
    is_number = value is not None and not np.isnan(value)
    return f"{value:.4g}" if is_number and metric.endswith("_loss") else decimal(value)


def _pair(texts: list[str]) -> str:
    return MISSING if set(texts) == {MISSING} else " / ".join(texts)


def _best(data: pd.DataFrame, column: float, metrics: list[str]) -> dict[str, float]:
    ours = {m: data[(data["column"] == column) & (data["metric"] == m)]["mean"] for m in metrics}
    return {m: means.min() if m.endswith("_loss") else means.max() for m, means in ours.items()}


def _mean(by_metric: dict[str, pd.Series], metrics: list[str], best: dict[str, float]) -> Cell:
    if not by_metric[metrics[0]]["members"]:
        return cell("not run")
    if not by_metric[metrics[0]]["n"]:
        return cell(MISSING)
    texts = [Text(_form(by_metric[m]["mean"], m), bold=bool(by_metric[m]["mean"] == best.get(m))) for m in metrics]
    return tuple(part for text in texts for part in (Text(" / "), text))[1:]


def _spread(by_metric: dict[str, pd.Series], metrics: list[str]) -> str:
    first = by_metric[metrics[0]]
    diverged = f"{first['diverged']:.0f} of {first['members']:.0f} {MISSING}" if first["diverged"] else ""
    spreads = "± " + " / ".join(_form(by_metric[m]["std"], m) for m in metrics) if first["n"] > 1 else ""
    return ", ".join(filter(None, [spreads, diverged]))


def settle(exhibit: Exhibit) -> str:
    """Return which of the papers' two contradicting cells the runs support, in a sentence that gives the rule and the numbers.

    Seed by seed: a version is supported if both accuracies lie within 0.05 of its numbers. A diverged member counts for I,
    whose numbers are those of a network that answers one class.
    """
    case, metrics = exhibit.paper["contradiction"], exhibit.paper["metrics"]
    rows = select(exhibit.runs, case["algorithm"], eta=case["eta"])
    last = rows.sort_values("step").groupby("member").tail(1)
    votes = [_vote(row, case, metrics) for _, row in last.iterrows()]
    version = {v: _pair([decimal(value) for value in case[v]]) for v in "AI"}
    conflict = f"The versions contradict each other for SGD at step size {case['eta']}: A has {version['A']}, I has {version['I']}."
    if not votes:
        return f"{conflict} This setting was not run, so nothing is settled."
    if len(set(votes)) > 1:
        verdict = f"is undecided: of {len(votes)} seeds {votes.count('A')} support A, {votes.count('I')} support I"
    else:
        seeds = f"all {len(votes)} seeds" if len(votes) > 1 else "its one seed"
        verdict = f"supports {votes[0] or 'neither'} in {seeds}"
    scale = "" if exhibit.scale == "full" else f" at {exhibit.scale} scale"
    means = _pair([decimal(value) for value in last[metrics].mean()])
    return (
        f"{conflict} Our run{scale} has {means} on average and {verdict} "
        f"(supported: both accuracies within {NEAR} of it; a diverged seed counts for I, whose numbers are chance)."
    )


def _vote(row: pd.Series, case: dict[str, Any], metrics: list[str]) -> str:
    if row["status"] == "diverged":
        return "I"
    near = [v for v in "AI" if np.all(np.abs(row[metrics].to_numpy(float) - case[v]) <= NEAR)]
    return near[0] if near else ""
