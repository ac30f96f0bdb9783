"""What the fits of networks beyond the papers' kinds say: at which size they ran, and how each method fared."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sibp.experiments.schema import Computed, Experiment

__all__ = ["final_runs", "reductions", "spread", "within"]


def reductions(experiment: Experiment, fits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return in words what the fits leave out of the experiment file; nothing where it has none."""
    if not isinstance(experiment, Computed) or experiment.fits is None:
        return []
    study, parts = experiment.fits, []
    if missing := [label for label in experiment.fitted if label not in fits]:
        parts.append(f"{len(experiment.fitted) - len(missing)} of {len(experiment.fitted)} networks")
    for label, fit in fits.items():
        ran, full = fit["settings"], study.networks[label]
        if ran["steps"] < full.steps:
            parts.append(f"{label} {ran['steps']} of {full.steps} steps")
        if ran["seeds"] < study.seeds:
            parts.append(f"{ran['seeds']} of {study.seeds} seeds")
        if ran["data"]["train"] < full.data.train:
            parts.append(
                f"{ran['data']['train']} of {full.data.train} images" if not ran["data"]["generated"] else "generated images"
            )
        if (points := _points(ran)) < (all_points := _points(study.model_dump())):
            parts.append(f"{points} of {all_points} points")
    return list(dict.fromkeys(parts))


def _points(settings: Mapping[str, Any]) -> int:
    """Return the most points that a method has."""
    grids = [method.get("grid", {}).values() for method in settings["methods"].values()]
    return max(pd.Series([len(values) for values in grid], dtype=int).prod() for grid in grids)


def final_runs(fit: Mapping[str, Any]) -> pd.DataFrame:
    """Return the curves of the final runs, one row per method, seed and measurement; `score` is the accuracy, or the loss of images.

    A run has diverged if its score or its loss is no number at its last point.
    """
    quantity = "accuracy" if fit["task"] == "classify" else "loss"
    tables = []
    for run in fit["runs"]:
        if run["split"] == "test":
            curves = run["curves"]
            columns = {name: pd.Series(values, dtype=float) for name, values in curves.items()}
            rows = pd.DataFrame(columns).assign(method=run["method"], seed=run["seed"], point=run["point"], score=columns[quantity])
            tables.append(rows.assign(diverged=curves["loss"][-1] is None))
    return pd.concat(tables, ignore_index=True)


def within(rows: pd.DataFrame, seconds: pd.Series) -> pd.Series:
    """Return each seed's score at a number of seconds of training, between measurements on the straight line; NaN before the first.

    Args:
        rows: one method's final runs.
        seconds: a budget for each seed.
    """
    scores = {}
    for seed, curve in rows.groupby("seed"):
        first, last = curve["seconds"].iloc[[0, -1]]
        budget = seconds[seed]
        place = pd.Series(curve["score"].to_numpy(), index=curve["seconds"].to_numpy())
        if budget < first:
            scores[seed] = float("nan")
        elif budget >= last:
            scores[seed] = place.iloc[-1]
        else:
            below = place[place.index <= budget]
            above = place[place.index > budget]
            share = (budget - below.index[-1]) / (above.index[0] - below.index[-1])
            scores[seed] = below.iloc[-1] + share * (above.iloc[0] - below.iloc[-1])
    return pd.Series(scores, dtype=float)


def spread(fit: Mapping[str, Any], method: str) -> tuple[float, int]:
    """Return the median over a method's points of the last validation score, and how many points ended with no number."""
    quantity = "accuracy" if fit["task"] == "classify" else "loss"
    tries = [run["curves"] for run in fit["runs"] if run["method"] == method and run["split"] == "validation"]
    diverged = sum(curves["loss"][-1] is None for curves in tries)
    worst = -1.0 if quantity == "accuracy" else float("inf")
    return float(pd.Series([worst if c["loss"][-1] is None else c[quantity][-1] for c in tries]).median()), diverged
