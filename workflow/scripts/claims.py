"""Hold the runs against workflow/claims.yaml: a verdict on every claim of the papers, by criteria written down before the runs.

    python -m workflow.scripts.claims RESULTS --tables paper/tables --claims workflow/claims.yaml --output paper/claims.md
        --json results/claims.json

RESULTS is the folder with runs/. A claim has one or more tests. A test takes a quantity, one number for each seed, and asks whether it is
at least, at most, or within a tolerance of a value, or above or below another quantity (seed by seed). It passes if the whole 95 %
interval of the mean (Student's t) does, is open if only the mean does, and fails otherwise. All tests passed: reproduced; some passed
or open: partly; none: not reproduced. With one seed there is no interval, the number itself decides, and the row says so. A test may
also ask an exhibit's table instead: whether a column has a value, or another column's, in all rows that it names.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from sibp.experiments import specs
from workflow.scripts.files import write

VERDICTS = ("reproduced", "partly", "not reproduced", "not run")
SIZE = ("epochs", "steps", "batch_size", "max_seconds")  # of a training, beside its data and network
SMALLER = "at a smaller size, where a verdict is a lead and the papers' numbers cannot be expected"


class Runs:
    """The rows and records of experiments, read once each.

    Args:
        folder: of the runs.
        experiments: of the files that say what the papers ran.
    """

    def __init__(self, folder: Path, experiments: Path) -> None:
        self.folder, self.experiments = folder, experiments
        self._tables: dict[tuple[str, str], pd.DataFrame] = {}

    def has(self, exhibit: str, label: str) -> bool:
        return (self.folder / exhibit / f"{label}.parquet").exists()

    def table(self, exhibit: str, label: str) -> pd.DataFrame:
        if (exhibit, label) not in self._tables:
            self._tables[exhibit, label] = pd.read_parquet(self.folder / exhibit / f"{label}.parquet")
        return self._tables[exhibit, label]

    def record(self, exhibit: str, label: str) -> dict[str, Any]:
        return json.loads((self.folder / exhibit / f"{label}.json").read_text(encoding="utf-8"))

    def is_full(self, exhibit: str, label: str) -> bool:
        """Return whether a run had the papers' data, network and length; fewer seeds only widen an interval."""
        asked, record = specs.load_experiment(self.experiments / f"{exhibit}.yaml"), self.record(exhibit, label)
        parts = (("data", asked.data), ("network", asked.network))
        same = [record["settings"][name] == part.model_dump(mode="json", exclude_none=True) for name, part in parts]
        training = asked.training_of(label).model_dump(mode="json", exclude_none=True)
        return all(same) and all(record["training"].get(key) == training.get(key) for key in SIZE)


def per_seed(runs: Runs, exhibit: str, quantity: dict[str, Any]) -> pd.Series:
    """Return one number for each seed.

    A quantity names a `label`, a `metric`, perhaps `where` (option: value or list), and what to take of each member's curve: `last`
    (the default), `best`, `epoch: n` (the last evaluation up to it), `epochs_to: x` or `steps_to: x` (the first at which the metric is at
    least x; inf if never), `falls_to: share` (the first step at which it is below that share of its start), or `failed` (1 if the member
    diverged or ended below `chance`). Over several settings of one seed, `over` takes their min, max or range; mean otherwise.
    `pruned: share` instead takes the networks whose smallest weights were cut, by that share, and the best of a seed.
    """
    if "pruned" in quantity:
        return _best_cut(runs.record(quantity.get("exhibit", exhibit), quantity["label"]), quantity)
    rows = runs.table(quantity.get("exhibit", exhibit), quantity["label"])
    for name, value in quantity.get("where", {}).items():
        rows = rows[np.isclose(rows[name].to_numpy(float)[:, None], np.atleast_1d(value).astype(float)).any(axis=1)]
    if rows.empty:
        raise LookupError(f"no member of {quantity['label']} has {quantity['where']}")
    members = rows.sort_values("step").groupby("member")
    taken = pd.DataFrame([(part["seed"].iloc[0], _take(part, quantity)) for _, part in members], columns=["seed", "value"])
    reduce = {"min": "min", "max": "max", "range": np.ptp}.get(quantity.get("over", ""), "mean")
    return taken.groupby("seed")["value"].agg(reduce)


def _best_cut(record: dict[str, Any], quantity: dict[str, Any]) -> pd.Series:
    cuts = pd.DataFrame(record["pruned"]).merge(pd.DataFrame(record["members"])[["member", "seed"]], on="member")
    return cuts[np.isclose(cuts["share"], quantity["pruned"])].groupby("seed")[quantity["metric"]].max()


def _take(rows: pd.DataFrame, quantity: dict[str, Any]) -> float:
    lost = (rows["status"] == "diverged").any()
    values = rows[quantity["metric"]]
    if quantity.get("failed"):
        return float(lost or values.iloc[-1] < quantity["chance"])
    for name, axis in (("epochs_to", "epoch"), ("steps_to", "step")):
        if name in quantity:
            return _first(rows[axis], values >= quantity[name])
    if "falls_to" in quantity:
        return _first(rows["step"], values < quantity["falls_to"] * values.iloc[0])
    if "epoch" in quantity:
        values = values[rows["epoch"] <= quantity["epoch"] + 1e-9]
    if quantity.get("best"):
        return float(values.max())
    return math.nan if lost else float(values.iloc[-1])


def _first(axis: pd.Series, reached: pd.Series) -> float:
    return float(axis[reached].iloc[0]) if reached.any() else math.inf


@dataclass(frozen=True)
class Outcome:
    """One test: pass, open or fail, and our number in words."""

    result: str
    text: str


def judge(values: np.ndarray, low: float, high: float) -> str:
    """Return whether numbers, one for each seed, lie in [low, high]: pass, open or fail."""
    if np.isnan(values).any():
        return "fail"
    middle, (left, right) = float(np.mean(values)), interval(values)
    if low <= left and right <= high:
        return "pass"
    return "open" if low <= middle <= high else "fail"


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean by Student's t; the number itself where there is one seed or no spread."""
    middle = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(middle) or np.ptp(values) == 0:
        return middle, middle
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return middle - half, middle + half


def describe(values: np.ndarray) -> str:
    """Return mean and interval in words."""
    if np.isnan(values).all():
        return "diverged"
    if np.isinf(values).any():
        return f"never in {int(np.isinf(values).sum())} of {len(values)} seeds"
    left, right = interval(values)
    middle = float(np.mean(values))
    return f"{middle:.4g}" if left == right else f"{middle:.4g} [{left:.4g}, {right:.4g}]"


def run_test(runs: Runs, exhibit: str, test: dict[str, Any]) -> Outcome:
    """Return the outcome of one test of a claim."""
    ours = per_seed(runs, exhibit, test["quantity"])
    if "than" in test:
        other = per_seed(runs, exhibit, test["than"])
        both = ours.to_frame("ours").join(other.rename("other"), how="inner")
        margin = test.get("by", 0.0)
        with np.errstate(invalid="ignore"):
            gap = (both["ours"] - both["other"]).to_numpy(float)
        # never against never is no difference; never against a number is one without end
        gap = np.where(np.isinf(both["ours"]) & np.isinf(both["other"]), 0.0, gap)
        bounds = (margin, math.inf) if test["is"] == "above" else (-math.inf, -margin)
        strict = gap if margin else np.where(gap == 0, math.nan, gap)
        return Outcome(judge(strict, *bounds), f"{describe(ours.to_numpy(float))} against {describe(other.to_numpy(float))}")
    values = ours.to_numpy(float)
    bounds = {
        "at_least": lambda v: (v, math.inf),
        "at_most": lambda v: (-math.inf, v),
        "near": lambda v: (v - test["within"], v + test["within"]),
    }
    name = next(name for name in bounds if name in test)
    return Outcome(judge(values, *bounds[name](test[name])), describe(values))


def read_table(table: pd.DataFrame, test: dict[str, Any]) -> Outcome:
    """Return the outcome of a test of an exhibit's rows: does `column` equal `equals`, a value or a column, in all of them?"""
    for name, value in test.get("where", {}).items():
        table = table[table[name].isin([value] if isinstance(value, str) else value)]
    if table.empty:
        raise LookupError(f"no row of {test['table']} has {test['where']}")
    other = test["equals"]
    right = table[test["column"]] == (table[other] if isinstance(other, str) else other)
    return Outcome("pass" if right.all() else "fail", f"{right.sum()} of {len(right)}")


def verdict(outcomes: list[Outcome]) -> str:
    """Return the verdict on a claim from its tests."""
    results = [outcome.result for outcome in outcomes]
    if all(result == "pass" for result in results):
        return "reproduced"
    return "partly" if any(result in ("pass", "open") for result in results) else "not reproduced"


def used_by(claim: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the experiments and labels whose runs a claim's tests need."""
    tests = [test for test in claim["tests"] if "table" not in test]
    return {(q.get("exhibit", claim.get("runs")), q["label"]) for t in tests for q in (t["quantity"], t.get("than")) if q}


def evaluate(runs: Runs, tables: Path, claim: dict[str, Any]) -> dict[str, Any]:
    """Return a claim's row: verdict, our numbers, scale, seeds and training seconds."""
    head = {key: claim[key] for key in ("id", "place", "says", "paper", "criterion")}
    head["command"] = f"snakemake --cores all {claim['exhibit']}"
    of_tables = [test for test in claim["tests"] if "table" in test]
    of_runs = [test for test in claim["tests"] if "table" not in test]
    used = used_by(claim)
    files = {test["table"]: tables / f"{test['table']}.csv" for test in of_tables}
    if not all(runs.has(*pair) for pair in used) or not all(file.exists() for file in files.values()):
        return head | {"verdict": "not run", "size": "", "ours": "", "scale": "", "seeds": 0, "seconds": 0.0}
    outcomes = [run_test(runs, claim["runs"], test) for test in of_runs]
    outcomes += [read_table(pd.read_csv(files[test["table"]]), test) for test in of_tables]
    records = [runs.record(*pair) for pair in sorted(used)]
    return head | {
        "verdict": verdict(outcomes),
        "size": "papers'" if all(runs.is_full(*pair) for pair in used) else "smaller",
        "ours": "; ".join(outcome.text for outcome in outcomes),
        "results": [outcome.result for outcome in outcomes],
        "scale": records[0]["scale"] if records else "",
        "seeds": len(records[0]["seeds"]) if records else 0,
        "seconds": round(sum(record["seconds"].get("train", 0.0) for record in records), 1),
    }


def counted(rows: list[dict[str, Any]]) -> str:
    """Return how many claims have which verdict, those judged at the papers' size apart."""
    parts = []
    for size, words in (("papers'", "at the papers' own size"), ("smaller", SMALLER), ("", "without runs")):
        verdicts = [row["verdict"] for row in rows if row["size"] == size]
        named = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS if name in verdicts)
        parts += [f"{len(verdicts)} {words}: {named}"] if verdicts else []
    return f"{len(rows)} claims. {'. '.join(part[:1].upper() + part[1:] for part in parts)}."


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the page that people read."""
    scales = ", ".join(sorted({row["scale"] for row in rows} - {""}))
    lines = [
        "# The papers' claims, and what our runs say",
        "",
        f"{counted(rows)} Scale of the runs: {scales}.",
        "",
        "Every criterion was written before the runs. Ours: mean over the seeds with its 95 % interval; where the interval straddles a "
        "bound the test is open and the verdict at most *partly*. One seed has no interval. Size: whether data, network and length are "
        "the papers'. Seconds: training on the machine that made "
        "these runs, all labels that a claim needs.",
        "",
        "| claim | the paper says | its value | criterion | ours | verdict | size | seeds | s | command |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [f"{row['id']} ({row['place']})", row["says"], row["paper"], row["criterion"], row["ours"], f"**{row['verdict']}**"]
        cells += [row["size"], row["seeds"] or "", f"{row['seconds']:.0f}" if row["seconds"] else "", f"`{row['command']}`"]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").strip() for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--tables", required=True, type=Path)
    parser.add_argument("--claims", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()
    claims = yaml.safe_load(arguments.claims.read_text(encoding="utf-8"))
    runs = Runs(arguments.results / "runs", arguments.claims.parent / "experiments")
    rows = [evaluate(runs, arguments.tables, claim) for claim in claims]
    write(arguments.json, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    write(arguments.output, markdown(rows))


if __name__ == "__main__":
    main()
