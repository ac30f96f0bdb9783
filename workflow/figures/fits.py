"""What the fits of networks beyond the papers' kinds say: at which size they ran, and how each method fared."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sibp.experiments.schema import Computed, Experiment

__all__ = ["final_runs", "is_lost", "reductions", "score", "spread", "within"]


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
    return max(math.prod(map(len, method.get("grid", {}).values())) for method in settings["methods"].values())


def score(task: str) -> str:
    """Return what counts of a network by its task: the accuracy, or the loss of one that makes images."""
    return "accuracy" if task == "classify" else "loss"


def is_lost(run: Mapping[str, Any]) -> bool:
    """Return whether a run ended with no number."""
    return run["curves"]["loss"][-1] is None


def final_runs(fit: Mapping[str, Any]) -> pd.DataFrame:
    """Return the curves of the final runs, one row per method, seed and measurement, with their `score` and whether the run `diverged`."""
    tables = []
    for run in fit["runs"]:
        if run["split"] == "test":
            columns = {name: pd.Series(values, dtype=float) for name, values in run["curves"].items()}
            names = {name: run[name] for name in ("method", "seed", "point")}
            tables.append(pd.DataFrame(columns).assign(**names, score=columns[score(fit["task"])], diverged=is_lost(run)))
    return pd.concat(tables, ignore_index=True)


def within(rows: pd.DataFrame, seconds: pd.Series) -> pd.Series:
    """Return each seed's score at a number of seconds of training, between measurements on the straight line; NaN before the first.

    Args:
        rows: one method's final runs.
        seconds: a budget for each seed.
    """
    curves = rows.groupby("seed")
    scores = {seed: np.interp(seconds[seed], curve["seconds"], curve["score"], left=np.nan) for seed, curve in curves}
    return pd.Series(scores, dtype=float)


def spread(fit: Mapping[str, Any], method: str) -> tuple[float, int]:
    """Return the median over a method's points of the last validation score, and how many points ended with no number."""
    counts = score(fit["task"])
    worst = -1.0 if counts == "accuracy" else math.inf
    tries = [run for run in fit["runs"] if run["method"] == method and run["split"] == "validation"]
    scores = [worst if is_lost(run) else run["curves"][counts][-1] for run in tries]
    return float(pd.Series(scores).median()), sum(map(is_lost, tries))
