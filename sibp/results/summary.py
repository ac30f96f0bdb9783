"""A label's run over its seeds: one row per setting of its options and evaluation.

`members` were trained, `n` of them are averaged, `diverged` were lost. For each metric: `_mean`, `_std` (ddof 1), and the ends `_low` and
`_high` of the 95 % interval of the mean (`sibp.results.statistics.interval`).
"""

import pandas as pd

from sibp.results.statistics import over_seeds

__all__ = ["curve", "last", "metrics", "options", "union"]

FRONT = ["exhibit", "method", "algorithm"]
POINT = ["epoch", "step", "samples"]


def options(run: pd.DataFrame) -> list[str]:
    """Return the columns between `seed` and `epoch`."""
    columns = list(run.columns)
    return columns[columns.index("seed") + 1 : columns.index("epoch")]


def metrics(run: pd.DataFrame) -> list[str]:
    """Return `seconds` and the columns between it and `status`."""
    columns = list(run.columns)
    return columns[columns.index("seconds") : columns.index("status")]


def curve(run: pd.DataFrame) -> pd.DataFrame:
    """Return a row per setting and evaluation. A member counts as diverged from the evaluation that found it so, and then leaves the mean.

    `averaged` says over whom: all, the survivors (of divergence and of the time limit), or nobody.
    """
    names, rows = [*FRONT, *options(run)], []
    for key, setting in run.groupby(names, dropna=False, sort=False):
        members = setting["member"].nunique()
        for point, group in setting.groupby(POINT, dropna=False):
            alive = group[group["status"] != "diverged"]
            averaged = "all" if len(alive) == members else "survivors" if len(alive) else "nobody"
            counts = {"members": members, "n": len(alive), "diverged": len(group) - len(alive), "averaged": averaged}
            place = dict(zip([*names, *POINT], [*key, *point], strict=True))
            rows.append(place | counts | _columns({name: alive[name] for name in metrics(run)}))
    return pd.DataFrame(rows)


def last(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of each setting of a `union` of summaries.

    Where all members make the same number of steps its means are those of the quantity `last` (`sibp.results.quantities`).
    """
    setting = ["method", *summary.loc[:, :"epoch"].columns[len(FRONT) : -1]]
    return summary.sort_values("step", kind="stable").groupby(setting, dropna=False, sort=False).tail(1)


def union(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the summaries of several labels one below the other; options of any of them stay before `epoch`."""
    front = dict.fromkeys(name for part in summaries for name in part.loc[:, :"epoch"].columns[:-1])
    return pd.concat(summaries, ignore_index=True).set_index(list(front)).reset_index()


def _columns(values: dict[str, pd.Series]) -> dict[str, float]:
    row = {}
    for name, numbers in values.items():
        facts = over_seeds(numbers)
        row |= {f"{name}_mean": facts.mean, f"{name}_std": facts.std, f"{name}_low": facts.low, f"{name}_high": facts.high}
    return row
