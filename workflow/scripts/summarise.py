"""Aggregate the seeds of one exhibit's runs: python -m workflow.scripts.summarise RUN.parquet... --output SUMMARY.csv

One row per method, setting of its hyper-parameters, and evaluation. `members` were trained, `n` of them are averaged; a member
counts as `diverged` from the evaluation that found it so, and its metrics then leave the mean. `averaged` says over whom: all, the
survivors (of divergence and of the time limit), or nobody.
For each metric: mean, standard deviation (ddof 1), and the 95 % interval of the mean by Student's t; for n = 1 only the mean.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from workflow.scripts import files

FRONT = ["exhibit", "method", "algorithm"]
POINT = ["epoch", "step", "samples"]


def hyperparameters(run: pd.DataFrame) -> list[str]:
    """Return the columns between `seed` and `epoch`."""
    columns = list(run.columns)
    return columns[columns.index("seed") + 1 : columns.index("epoch")]


def metrics(run: pd.DataFrame) -> list[str]:
    """Return `seconds` and the columns between it and `status`."""
    columns = list(run.columns)
    return columns[columns.index("seconds") : columns.index("status")]


def summarise(run: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of one run's long table."""
    settings, measured = hyperparameters(run), metrics(run)
    rows = []
    for key, setting in run.groupby([*FRONT, *settings], dropna=False, sort=False):
        members = setting["member"].nunique()
        for point, group in setting.groupby(POINT, dropna=False):
            names = dict(zip([*FRONT, *settings, *POINT], [*key, *point], strict=True))
            rows.append(names | {"members": members} | _statistics(group, members, measured))
    return pd.DataFrame(rows)


def _statistics(group: pd.DataFrame, members: int, measured: list[str]) -> dict[str, float | str]:
    alive = group[group["status"] != "diverged"]
    averaged = "all" if len(alive) == members else "survivors" if len(alive) else "nobody"
    row = {"n": len(alive), "diverged": len(group) - len(alive), "averaged": averaged}
    for name in measured:
        values = alive[name].to_numpy(float)
        n, mean = len(values), values.mean() if len(values) else np.nan
        with np.errstate(over="ignore"):  # losses that have exploded may have an infinite spread
            std = values.std(ddof=1) if n > 1 else np.nan
        half = stdtrit(n - 1, 0.975) * std / np.sqrt(n) if n > 1 else np.nan
        row |= {f"{name}_mean": mean, f"{name}_std": std, f"{name}_low": mean - half, f"{name}_high": mean + half}
    return row


def union(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the summaries of several methods one below the other; hyper-parameters of any of them stay before `epoch`."""
    front = dict.fromkeys(name for part in summaries for name in part.loc[:, :"epoch"].columns[:-1])
    return pd.concat(summaries, ignore_index=True).set_index(list(front)).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    summary = union([summarise(pd.read_parquet(path)) for path in arguments.runs])
    files.write(arguments.output, summary.to_csv(index=False))


if __name__ == "__main__":
    main()
