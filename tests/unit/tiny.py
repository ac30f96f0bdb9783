"""A tiny experiment on generated images, and the rows of made-up runs, for tests of everything that reads or runs one."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sibp.experiments.schema import Trained
from sibp.experiments.strict import parse
from sibp.results.records import Run, roles

TINY: dict[str, Any] = {
    "id": "tiny",
    "title": "A tiny experiment",
    "data": {"name": "mnist", "train": 60, "validation": 10, "test": 20, "generated": True},
    "network": {"kind": "mlp", "widths": [784, 6, 10], "activation": "relu", "bias": True, "init": {"std": 0.05}},
    "loss": "cross-entropy",
    "training": {"epochs": 2, "batch_size": 20, "measure": ["train", "test"], "ensemble": 4},
    "seeds": 2,
    "methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}}},
}


def mapping(**changes: Any) -> dict[str, Any]:
    """Return TINY with changed values; `a__b=value` sets key b below key a, and None takes a key away."""
    result = copy.deepcopy(TINY)
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    return result


def experiment(**changes: Any) -> Trained:
    """Return TINY, changed, as an experiment."""
    return parse(Trained, mapping(**changes), "tiny")


def write(folder: Path, content: dict[str, Any] | str, name: str = "experiments/tiny.yaml") -> Path:
    """Write a file as `workflow/experiments` and `workflow/scales` have them."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def as_run(rows: pd.DataFrame, record: dict[str, Any] | None = None) -> Run:
    """Return a run with these rows, whose options are eta and lam."""
    return Run(rows, record or {}, roles(rows, ["eta", "lam"]))


def long_table(accuracies: dict[tuple[float, int], list[float | None]], label: str = "sgd") -> pd.DataFrame:
    """Return a run's rows: (eta, seed) -> accuracy at each evaluation, None where the member has diverged."""
    rows = []
    for member, ((eta, seed), values) in enumerate(accuracies.items()):
        for epoch, value in enumerate(values):
            status = "diverged" if value is None else "done" if epoch == len(values) - 1 else "running"
            head = {"exhibit": "x", "method": label, "algorithm": "sgd", "member": member, "seed": seed, "eta": eta}
            point = {"epoch": epoch, "step": epoch, "samples": 0, "seconds": 1.0}
            value = np.nan if value is None else value
            rows.append(head | point | {"validation_accuracy": value, "validation_loss": eta * (1 - value), "status": status})
    return pd.DataFrame(rows)
