"""What the searches tried and chose (workflow/selection/chosen.yaml), and where a best point is at the edge of its grid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from sibp.experiments import specs
from workflow.figures.exhibit import WORKFLOW

FOLDER = WORKFLOW / "selection"


def read() -> dict[str, dict[str, Any]]:
    """Return the searches by name: what each tried and chose, and the settings it ran with."""
    return yaml.safe_load((FOLDER / "chosen.yaml").read_text(encoding="utf-8"))


def points(searches: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each point that was tried: search, label, algorithm, options, accuracy, how many seeds diverged, whether chosen."""
    rows = []
    for name, search in searches.items():
        experiment = specs.load_experiment(FOLDER / f"{name}.yaml", shallow=True).trained
        for label, tried in search["tried"].items():
            for point in tried:
                options = {key: value for key, value in point.items() if key not in ("accuracy", "diverged")}
                value = math.nan if point["accuracy"] is None else point["accuracy"]
                row = {"search": name, "label": label, "algorithm": experiment.algorithm(label), **options, "accuracy": value}
                diverged = point.get("diverged", int(math.isnan(value)))
                rows.append(row | {"diverged": diverged, "chosen": options == search["chosen"][label]})
    return pd.DataFrame(rows)


def beyond(tried: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]) -> dict[str, float]:
    """Return for each option whose best value is the first or last of its grid the next one beyond it, in the ratio of the last two.

    Of a count it is a whole number, none below 1; words and flags have no edge.
    """
    wanted = {}
    for name, best in chosen.items():
        values = sorted({point[name] for point in tried})
        if not isinstance(best, str | bool) and len(values) > 1 and best in (values[0], values[-1]):
            neighbour = values[1] if best == values[0] else values[-2]
            following = float(f"{best * best / neighbour:.2g}")
            wanted[name] = round(following) if isinstance(best, int) else following
    return {name: value for name, value in wanted.items() if value}
