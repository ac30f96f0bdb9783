"""Picking settings and curves out of runs and summaries; each choice is a rule that a caption can state."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from workflow.figures import papers
from workflow.figures.layout import number

SYMBOLS = {"eta": "η", "lam": "λ"}
BCD_SYMBOLS = {"alpha": "α", "rho": "ρ", "gamma": "γ"}


def select(frame: pd.DataFrame, algorithm: str, second: bool = False, **settings: float) -> pd.DataFrame:
    """Return the rows of a method at these values of its hyper-parameters, whatever label they were trained under.

    `second` asks for those of the labels that show Armijo's rule beside the main ones, which are else left out.
    """
    mask = (frame["algorithm"] == algorithm) & (frame["method"].str.endswith(papers.SECOND) == second)
    for name, value in settings.items():
        mask &= np.isclose(frame[name].astype(float), value) if name in frame else False
    return frame[mask]


def choose(final: pd.DataFrame, method: str, by: str, largest: bool = True) -> pd.Series:
    """Return the row of the setting of one label with the best mean, among those whose seeds diverged least often.

    Args:
        final: a summary's last evaluations.
        method: the label.
        by: the column to compare, `..._mean`.
        largest: False takes the smallest instead.
    """
    rows = final[final["method"] == method]
    rows = rows[rows["diverged"] == rows["diverged"].min()]
    return rows.sort_values(by, ascending=not largest, kind="stable", na_position="last").iloc[0]


def members(runs: pd.DataFrame, chosen: pd.Series, names: list[str]) -> pd.DataFrame:
    """Return the rows of all seeds of the chosen setting; `names` are its hyper-parameters."""
    mask = runs["method"] == chosen["method"]
    for name in names:
        mask &= (runs[name] == chosen[name]) | (runs[name].isna() & pd.isna(chosen[name]))
    return runs[mask]


def band(rows: pd.DataFrame, axis: str, metric: str) -> pd.DataFrame:
    """Return mean, min and max over the seeds that have not diverged, by their place on `axis`.

    Seeds share their steps but not their seconds. Against seconds they are therefore compared at the same moments (the mean one of
    each step), read off the line between a seed's evaluations; the curve ends where the first seed that has not diverged does.
    """
    alive = rows[rows["status"] != "diverged"].dropna(subset=metric)
    steps = alive.groupby("step")
    if axis != "seconds":
        return steps[metric].agg(["mean", "min", "max"]).set_axis(steps[axis].mean())
    seeds = alive.sort_values("step").groupby("member")
    ends = seeds[axis].max()[rows.groupby("member")["status"].last() != "diverged"]
    moments = np.unique(steps[axis].mean().clip(upper=ends.min() if len(ends) else np.inf))
    read = {member: np.interp(moments, seed[axis], seed[metric], right=np.nan) for member, seed in seeds}
    return pd.DataFrame(pd.DataFrame(read, index=moments).agg(["mean", "min", "max"], axis="columns"))


def in_words(row: pd.Series, symbols: Mapping[str, str] = SYMBOLS) -> str:
    """Return a setting's step sizes and penalties in the papers' letters: η = 0.1, λ = 1."""
    symbols = BCD_SYMBOLS if row["algorithm"] == "bcd" else symbols
    return ", ".join(f"{sign} = {number(row[name])}" for name, sign in symbols.items() if pd.notna(row.get(name)))
