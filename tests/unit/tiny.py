"""A tiny experiment on generated images, for tests of everything that reads or runs one."""

import copy
from pathlib import Path
from typing import Any

import yaml

from sibp.experiments import schema
from sibp.experiments.schema import Experiment

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


def experiment(**changes: Any) -> Experiment:
    """Return TINY, changed, as an experiment."""
    return schema.parse(Experiment, mapping(**changes), "tiny")


def write(folder: Path, content: dict[str, Any] | str, name: str = "experiments/tiny.yaml") -> Path:
    """Write a file as `workflow/experiments` and `workflow/scales` have them."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path
