"""Choose a search's best point for each of its labels: what `selected` in an experiment file stands for.

    python -m workflow.scripts.choose results/runs/deep-1 results/runs/lenet ... --output results/selection.yaml

A folder holds one run for each label of a search. The rule: the point with the best validation accuracy after the last epoch, averaged
over the seeds, among the points whose seeds diverged least often; on a tie the lower validation loss (added when a first search had shown
points that tie at chance; all else was written before). The searches see a validation split cut from the training set and seeds that no
exhibit uses; the test set has no part. A best point at the edge of its grid asks for the next one beyond it: each such edge is printed, and
the search is to be extended and made again. docs/searches.md has the whole rule.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sibp.core import atomic
from sibp.results import records
from workflow.figures.searches import beyond


def candidates(folder: Path, label: str) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per grid point of a label, best first, and the names of the searched options.

    Raises:
        ValueError: in one line, if the label searches none.
    """
    run = records.read(folder / f"{label}.parquet")
    names = list(run.record["settings"]["methods"][label].get("grid", {}))
    if not names:
        raise ValueError(f"{folder.name}/{label}: grid: got none, need the values of at least one option to choose from")
    last = run.rows.sort_values("step").groupby("member").tail(1).assign(diverged=lambda rows: rows["status"] == "diverged")
    sums = {"accuracy": ("validation_accuracy", "mean"), "loss": ("validation_loss", "mean"), "diverged": ("diverged", "sum")}
    points = last.groupby(names, dropna=False).agg(**sums).reset_index()
    return points.sort_values(["diverged", "accuracy", "loss"], ascending=[True, False, True], na_position="last"), names


def choose(folder: Path) -> dict[str, Any]:
    """Return the choice of a search, with the accuracy of every point beside it."""
    files = sorted(folder.glob("*.parquet"))
    chosen, tried = {}, {}
    for label in (file.stem for file in files):
        points, names = candidates(folder, label)
        chosen[label] = points[names].to_dict("records")[0]  # each value in its option's own type, which the column has
        tried[label] = [
            {
                **{name: row[name] for name in names},
                "accuracy": None if row["diverged"] else round(row["accuracy"], 4),
                **({"diverged": row["diverged"]} if row["diverged"] else {}),
            }
            for row in points.sort_values(names).to_dict("records")
        ]
    record = records.read_record(files[0])
    settings = {"scale": record["scale"], "seeds": record["seeds"], "samples": record["settings"]["data"]["train"]}
    settings |= {key: record["training"][key] for key in ("epochs", "steps") if record["training"].get(key)}
    return {"chosen": chosen, "run": settings, "tried": tried}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    try:
        result = {folder.name: choose(folder) for folder in arguments.folders}
    except ValueError as fault:
        sys.exit(f"choose: {fault}")
    for name, search in result.items():
        for label, chosen in search["chosen"].items():
            for option, value in beyond(search["tried"][label], chosen).items():
                print(
                    f"{name}/{label}: the best {option}, {chosen[option]:g}, is at the edge of its grid: add {value:g} and search again"
                )
    head = "# Written by workflow/scripts/choose.py from the searches beside this file: `make selection`. The rule stands there.\n"
    atomic.write(arguments.output, head + yaml.safe_dump(result, sort_keys=False, default_flow_style=None, width=120))


if __name__ == "__main__":
    main()
