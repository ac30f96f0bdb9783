"""A label's run over its seeds: one row per setting of its options and evaluation.

`members` were trained, `n` of them are averaged, `diverged` were lost. For each metric: `_mean`, `_std` (ddof 1), and the ends `_low` and
`_high` of the 95 % interval of the mean (`sibp.results.statistics.interval`).
"""

from collections.abc import Iterable
from typing import Any, cast

import pandas as pd

from sibp.results.records import EVERY_RUN, Role, Run
from sibp.results.statistics import over_seeds

__all__ = ["curve", "last", "settings", "union"]

LABEL = [name for name, role in EVERY_RUN.items() if role == Role.label]
POINT = [name for name, role in EVERY_RUN.items() if role == Role.position]
COUNTS = ["members", "n", "diverged", "averaged"]
STATISTICS = ("mean", "std", "low", "high")


def _groups(rows: pd.DataFrame, names: list[str], *, sort: bool = True) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    return cast("Iterable[tuple[tuple[Any, ...], pd.DataFrame]]", rows.groupby(names, dropna=False, sort=sort))


def curve(run: Run) -> pd.DataFrame:
    """Return a label's means over its seeds, a row per setting and evaluation.

    A member counts as diverged from the evaluation at which it has diverged, and then leaves the mean.

    Args:
        run: of one label.

    Returns:
        Columns as the module says; `averaged` is ``all``, ``survivors`` (of divergence and of the time limit) or ``nobody``.
    """
    names, measured, rows = run.columns(Role.label, Role.setting), run.columns(Role.clock, Role.metric), []
    for key, setting in _groups(run.rows, names, sort=False):
        members = setting["member"].nunique()
        for point, group in _groups(setting, POINT):
            alive = group[group["status"] != "diverged"]
            averaged = "all" if len(alive) == members else "survivors" if len(alive) else "nobody"
            counts = dict(zip(COUNTS, (members, len(alive), len(group) - len(alive), averaged), strict=True))
            place = dict(zip([*names, *POINT], [*key, *point], strict=True))
            rows.append(place | counts | _columns({name: alive[name] for name in measured}))
    return pd.DataFrame(rows)


def last(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of each setting.

    Where all members make the same number of steps its means are those of the quantity `last` (`sibp.results.quantities`).

    Args:
        summary: a `union` of summaries.

    Returns:
        One row per label and setting.
    """
    return summary.sort_values("step", kind="stable").groupby(["method", *settings(summary)], dropna=False, sort=False).tail(1)


def settings(summary: pd.DataFrame) -> list[str]:
    """Return the columns of a summary that are options of a method: all that are none of the names and statistics that every one has.

    Args:
        summary: of `curve` or `union`.

    Returns:
        Names, in the order of the columns.
    """
    known = (*LABEL, *POINT, *COUNTS)
    return [name for name in summary if name not in known and not name.endswith(tuple(f"_{word}" for word in STATISTICS))]


def union(summaries: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the summaries of several labels one below the other.

    Args:
        summaries: of `curve`.

    Returns:
        All rows; options of any label stand before `epoch`, NaN where a label has none.
    """
    front = dict.fromkeys([*LABEL, *(name for part in summaries for name in settings(part))])
    return pd.concat(summaries, ignore_index=True).set_index(list(front)).reset_index()


def _columns(values: dict[str, pd.Series]) -> dict[str, float]:
    row = {}
    for name, numbers in values.items():
        facts = over_seeds(numbers)
        row |= {f"{name}_{word}": getattr(facts, word) for word in STATISTICS}
    return row
