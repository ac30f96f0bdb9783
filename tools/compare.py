"""Check fresh results against the shipped ones: python -m tools.compare [--fresh FOLDER] [--reference FOLDER] [--experiments ID...]

For every setting that both have, the last evaluation's means are compared, loss and accuracy by split. With at least two members on
both sides, they differ if Welch's t test says so at 1 % and they are more than `CLOSE` apart, so that tiny spreads prove nothing;
with one member, if they are more than 0.01 apart. A setting of which all members diverged on one side only differs, too. Losses are
compared relative to the reference. Seconds are not compared. Exit code: 0 if nothing differs, 1 if something does, 2 if nothing can
be compared. At 1 % about one setting in a hundred differs by chance; `--allowed` says how large that share may be.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from sibp.core import messages
from sibp.results import summary as summaries

LEVEL = 0.01  # of the test
CLOSE = 0.001  # apart by no more than this is the same, whatever the spread
SINGLE = 0.01  # likewise where one member says nothing about spread


def last(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the last evaluation of each setting, indexed by what identifies the setting."""
    names, ends = setting(summary), summaries.last(summary)
    keys = [tuple(_word(value) for value in row) for row in ends[names].itertuples(index=False)]
    return ends.set_index(pd.Index(keys, tupleize_cols=False))


def setting(summary: pd.DataFrame) -> list[str]:
    """Return the columns that identify a setting: method and hyper-parameters."""
    return ["method", "algorithm", *summaries.settings(summary)]


def metrics(summary: pd.DataFrame) -> list[str]:
    """Return the metrics that are compared."""
    return [name.removesuffix("_mean") for name in summary if name.endswith(("_loss_mean", "_accuracy_mean"))]


def differ(ours: pd.Series, theirs: pd.Series, metric: str) -> tuple[bool, float, float]:
    """Return whether the means of a metric differ, by how much, and the p-value, NaN where there is no test."""
    m1, m2 = ours[f"{metric}_mean"], theirs[f"{metric}_mean"]
    if math.isnan(m1) or math.isnan(m2):
        return math.isnan(m1) != math.isnan(m2), math.nan, math.nan
    unit = max(abs(m2), CLOSE) if metric.endswith("_loss") else 1.0
    gap = abs(m1 - m2) / unit
    if min(ours["n"], theirs["n"]) < 2:
        return gap > SINGLE, m1 - m2, math.nan
    s1, s2 = ours[f"{metric}_std"], theirs[f"{metric}_std"]
    if s1 == s2 == 0:
        return gap > CLOSE, m1 - m2, math.nan
    p = stats.ttest_ind_from_stats(m1, s1, ours["n"], m2, s2, theirs["n"], equal_var=False).pvalue
    return bool(p < LEVEL) and gap > CLOSE, m1 - m2, float(p)


def compare(fresh: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return a row per setting and metric that both summaries have, at the same number of steps."""
    names = [name for name in setting(reference) if name in setting(fresh)]
    ours, theirs = (last(_front(summary, names)) for summary in (fresh, reference))
    rows = []
    for key in ours.index.intersection(theirs.index, sort=False):
        fresh_row, reference_row = ours.loc[[key]].iloc[0], theirs.loc[[key]].iloc[0]
        if fresh_row["step"] != reference_row["step"]:
            continue
        for metric in (name for name in metrics(reference) if f"{name}_mean" in fresh):
            differs, gap, p = differ(fresh_row, reference_row, metric)
            words = " ".join(f"{name}={value}" for name, value in zip(names, key, strict=True) if value != "")
            head = {"experiment": fresh_row["exhibit"], "setting": words}
            means = {"fresh": fresh_row[f"{metric}_mean"], "reference": reference_row[f"{metric}_mean"], "difference": gap, "p": p}
            rows.append(
                head | {"metric": metric} | means | {"n": f"{fresh_row['n']:.0f}/{reference_row['n']:.0f}", "differs": differs}
            )
    return pd.DataFrame(rows)


def report(table: pd.DataFrame, allowed: float) -> tuple[str, int]:
    """Return the lines to print and the exit code."""
    if table.empty:
        return "compare: no setting is in both at the same number of steps: other scales, or nothing run yet", 2
    wrong = table[table["differs"]]
    share = len(wrong) / len(table)
    counts = table.groupby("experiment", sort=False)["differs"].agg(compared="size", differ="sum").reset_index()
    lines = [counts.to_string(index=False)]
    if len(wrong):
        lines.append("\n" + wrong.drop(columns="differs").to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    lines.append(f"\n{len(wrong)} of {len(table)} comparisons differ ({share:.1%}); {allowed:.1%} are allowed")
    return "\n".join(lines), int(share > allowed)


def _front(summary: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a summary whose settings are these columns, in this order."""
    others = [name for name in summary if name not in ("exhibit", *setting(summary))]
    return summary[["exhibit", *names, *others]]


def _word(value: object) -> object:
    missing = isinstance(value, float | np.floating) and math.isnan(value)
    return "" if missing else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", type=Path, default=Path("results/summary"))
    parser.add_argument("--reference", type=Path, default=Path("results/reference/summary"))
    parser.add_argument("--experiments", nargs="*", metavar="ID", help="all that both have by default")
    text = "of comparisons that may differ (default: 0.02)"
    parser.add_argument("--allowed", type=float, default=0.02, metavar="SHARE", help=text)
    arguments = parser.parse_args()
    by_exhibit = {file.name.split(".")[0]: file for file in sorted(arguments.reference.glob("*.csv*"))}
    fresh = {name: arguments.fresh / f"{name}.csv" for name in by_exhibit}
    there = [name for name, file in fresh.items() if file.is_file()]
    chosen = arguments.experiments or there
    if there and (unknown := [name for name in chosen if name not in there]):
        parser.exit(2, f"compare: experiments that both have: {messages.need(unknown[0], there)}\n")
    tables = [compare(pd.read_csv(fresh[name]), pd.read_csv(by_exhibit[name])) for name in chosen if name in there]
    text, code = report(pd.concat(tables) if tables else pd.DataFrame(), arguments.allowed)
    print(text)
    sys.exit(code)


if __name__ == "__main__":
    main()
