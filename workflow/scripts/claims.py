"""Hold the runs against workflow/claims.yaml: a verdict on every claim of the papers, by criteria written before the runs or dated.

    python -m workflow.scripts.claims RESULTS --tables paper/tables --claims workflow/claims.yaml --output paper/claims.md
        --json results/claims.json

RESULTS is the folder with runs/. A claim has one or more tests. A test takes a quantity, one number for each seed
(`sibp.results.quantities`), and asks whether it is at least, at most, or within a tolerance of a value, or above or below another
quantity (seed by seed). It passes if the whole 95 % interval of the mean does, is open if only the mean does, and fails otherwise. A
seed that diverged fails every test but one that asks whether it `failed`. All tests passed: reproduced; some passed or open: partly;
none: not reproduced. With one seed there is no interval, the number itself decides; with fewer than three at the papers' size the
verdict is provisional. A test may also ask an exhibit's table instead: whether a column has a value, or another column's, in all rows
that it names. The papers' numbers stand in workflow/papers.yaml, beside the claims' file; a claim names those that it needs.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sibp.core import atomic
from sibp.experiments import size, specs
from sibp.experiments.jobs import Job, of_record
from sibp.experiments.schema import Experiment
from sibp.experiments.yaml_file import SpecError
from sibp.results import quantities, records
from sibp.results.quantities import Quantity
from sibp.results.statistics import interval
from workflow.figures import papers, style
from workflow.scripts.claims_file import Claim, RunQuantity, Test, load
from workflow.scripts.findings import ENOUGH_SEEDS, counted
from workflow.scripts.wording import Measured, sentence


class Runs:
    """The files, rows and records of experiments; files and rows are read once each.

    Args:
        folder: of the runs.
        experiments: of the files that say what the papers ran.
    """

    def __init__(self, folder: Path, experiments: Path) -> None:
        self.folder, self.experiments = folder, experiments
        self._tables: dict[tuple[str, str], pd.DataFrame] = {}
        self._experiments: dict[str, Experiment] = {}

    def has(self, exhibit: str, label: str) -> bool:
        return (self.folder / exhibit / f"{label}.parquet").exists()

    def table(self, exhibit: str, label: str) -> pd.DataFrame:
        if (exhibit, label) not in self._tables:
            self._tables[exhibit, label] = records.read(self.folder / exhibit / f"{label}.parquet").rows
        return self._tables[exhibit, label]

    def record(self, exhibit: str, label: str) -> dict[str, Any]:
        return records.read_record(self.folder / exhibit / f"{label}.parquet")

    def rows(self, exhibit: str, label: str, quantity: Quantity) -> pd.DataFrame:
        """Return the rows that a quantity of a label is read off."""
        return quantities.cuts(self.record(exhibit, label)) if quantity.take == "pruned" else self.table(exhibit, label)

    def has_papers_size(self, exhibit: str, label: str) -> bool:
        """Return whether a run had the papers' size, see `sibp.experiments.size`."""
        ran = of_record(self.record(exhibit, label), label, f"{exhibit}/{label}.parquet")
        return size.has_papers_size(ran, Job(self.experiment(exhibit).trained, label))

    def experiment(self, exhibit: str) -> Experiment:
        """Return what the papers ran, or what an exhibit draws, as its file says."""
        if exhibit not in self._experiments:
            self._experiments[exhibit] = specs.load_experiment(self.experiments / f"{exhibit}.yaml", shallow=True)
        return self._experiments[exhibit]


def per_seed(runs: Runs, exhibit: str, run_quantity: RunQuantity, lost: float = math.nan) -> pd.Series:
    """Return one number for each seed.

    Args:
        runs: of the experiments.
        exhibit: whose runs decide, unless the quantity names another.
        run_quantity: the quantity, and whose it is.
        lost: what a duration is for a seed that diverged, see `Quantity.per_seed`.

    Raises:
        LookupError: in one line, if no member is as `where` says.
    """
    exhibit = run_quantity.exhibit or exhibit
    try:
        return run_quantity.quantity.per_seed(runs.rows(exhibit, run_quantity.label, run_quantity.quantity), lost)
    except LookupError as fault:
        raise LookupError(f"{exhibit}/{run_quantity.label}: {fault.args[0]}") from None


def pace(runs: Runs, claim: Claim, names: dict[str, str]) -> str:
    """Return for each quantity of a claim about speed the steps and the seconds that it took, means over the seeds, in words."""
    words = {}
    for run_quantity in claim.quantities:
        steps, seconds = run_quantity.quantity.pace(runs.rows(*claim.source(run_quantity), run_quantity.quantity)).mean()
        text = f"{steps:.0f} steps, {seconds:.3g} s" if math.isfinite(steps) else "not in every seed"
        words[f"{names[run_quantity.label]}: {text}"] = None
    return "; ".join(words)


@dataclass(frozen=True)
class Outcome:
    """One test: pass, open or fail, and what it measured of whom, and of whom else."""

    result: str
    ours: Measured
    other: Measured | None = None


def judge(values: np.ndarray, low: float, high: float) -> str:
    """Return whether numbers, one for each seed, lie in [low, high]: pass, open or fail."""
    if np.isnan(values).any():
        return "fail"
    middle, (left, right) = float(np.mean(values)), interval(values)
    if math.isnan(left):  # one seed, or never: the mean itself decides
        left = right = middle
    if low <= left and right <= high:
        return "pass"
    return "open" if low <= middle <= high else "fail"


def run_test(runs: Runs, exhibit: str, test: Test) -> Outcome:
    """Return the outcome of one test of a claim that asks runs."""
    run_quantity, rival = test.quantity, test.than
    assert run_quantity is not None
    ours = per_seed(runs, exhibit, run_quantity)
    values = ours.to_numpy(float)
    measured = Measured(run_quantity.label, run_quantity.quantity, values)
    if rival is None:
        return Outcome(judge(values, *limits(test)), measured)
    other = per_seed(runs, exhibit, rival, lost=math.inf)
    pairs = ours.to_frame("ours").join(other.rename("other"), how="inner")
    with np.errstate(invalid="ignore"):
        gap = (pairs["ours"] - pairs["other"]).to_numpy(float)
    # never against never is no difference; never against a number is one without end
    gap = np.where(np.isinf(pairs["ours"]) & np.isinf(pairs["other"]), 0.0, gap)
    bounds = (test.by, math.inf) if test.side == "above" else (-math.inf, -test.by)
    strict = gap if test.by else np.where(gap == 0, math.nan, gap)
    shown = per_seed(runs, exhibit, rival).to_numpy(float)  # one that diverged is told as that
    return Outcome(judge(strict, *bounds), measured, Measured(rival.label, rival.quantity, shown))


def limits(test: Test) -> tuple[float, float]:
    """Return the least and the most that a test's quantity may be."""
    if test.at_least is not None:
        return float(test.at_least), math.inf
    if test.at_most is not None:
        return -math.inf, float(test.at_most)
    middle, within = float(test.near or 0.0), test.within or 0.0
    return middle - within, middle + within


def read_table(table: pd.DataFrame, test: Test) -> tuple[str, str]:
    """Return the result of a test of an exhibit's rows, does `column` equal `equals`, a value or a column, in all? And in how many."""
    for name, value in test.where.items():
        table = table[table[name].isin([value] if isinstance(value, str) else value)]
    if table.empty:
        raise LookupError(f"no row of {test.table} has {test.where}")
    other = test.equals
    right = table[test.column] == (table[other] if isinstance(other, str) else other)
    return "pass" if right.all() else "fail", f"{right.sum()} of {len(right)} {'agree' if isinstance(other, str) else 'hold'}"


def verdict(results: list[str]) -> str:
    """Return the verdict on a claim from the results of its tests."""
    if all(result == "pass" for result in results):
        return "reproduced"
    return "partly" if any(result in ("pass", "open") for result in results) else "not reproduced"


def with_second_search(runs: Runs, claim: Claim) -> Claim | None:
    """Return the claim on the labels that show Armijo's rule, those that have none unchanged; None if no label has one that has run."""
    labels = {(exhibit, label): label + papers.SECOND for exhibit, label in claim.sources}
    there = {pair: second for pair, second in labels.items() if runs.has(pair[0], second)}
    if not there:
        return None

    def changed(run_quantity: RunQuantity) -> RunQuantity:
        return run_quantity.model_copy(update={"label": there.get(claim.source(run_quantity), run_quantity.label)})

    tests = [
        test.model_copy(update={key: changed(run_quantity) for key in ("quantity", "than") if (run_quantity := getattr(test, key))})
        for test in claim.tests
    ]
    return claim.model_copy(update={"tests": tuple(tests)})


def called(runs: Runs, claim: Claim) -> dict[str, str]:
    """Return what a claim's row calls the labels of its tests."""
    labels = [run_quantity.label for run_quantity in claim.quantities]
    return style.names(runs.experiment(claim.runs), labels) if claim.runs and labels else {}


def evaluate(runs: Runs, tables: Path, claim: Claim) -> dict[str, Any]:
    """Return a claim's row: verdict, our numbers, scale, seeds and training seconds."""
    head = {key: getattr(claim, key) for key in ("id", "place", "question", "says", "paper", "criterion")}
    head["command"] = f"snakemake --cores all {claim.exhibit}"
    files = {test.table: tables / f"{test.table}.csv" for test in claim.tests if test.table}
    if not all(runs.has(*pair) for pair in claim.sources) or not all(file.exists() for file in files.values()):
        return head | {"verdict": "not run", "size": "", "provisional": False, "ours": "", "scale": "", "seeds": 0, "seconds": 0.0}
    outcomes = outcomes_of(runs, claim)
    rows = [read_table(pd.read_csv(files[test.table]), test) for test in claim.tests if test.table]
    results = [*(outcome.result for outcome in outcomes), *(result for result, _ in rows)]
    names = called(runs, claim)
    measured = sentence([(outcome.ours, outcome.other) for outcome in outcomes], names)
    made = [runs.record(*pair) for pair in sorted(claim.sources)]
    is_full = all(runs.has_papers_size(*pair) for pair in claim.sources)
    seeds = min((len(record["seeds"]) for record in made), default=0)
    second = with_second_search(runs, claim)
    row = head | {
        "verdict": verdict(results),
        "size": "papers'" if is_full else "smaller",
        "provisional": is_full and 0 < seeds < ENOUGH_SEEDS,
        "ours": "; ".join(filter(None, (measured, *(text for _, text in rows)))),
        "results": results,
        "scale": ", ".join(dict.fromkeys(record["scale"] for record in made)),
        "seeds": seeds,
        "seconds": round(sum(record["seconds"].get("train", 0.0) for record in made), 1),
    }
    if claim.about == "speed":
        row["pace"] = pace(runs, claim, names)
    if second:
        row["armijo"] = verdict([outcome.result for outcome in outcomes_of(runs, second)])
    return row


def outcomes_of(runs: Runs, claim: Claim) -> list[Outcome]:
    """Return the outcomes of a claim's tests that ask runs."""
    return [run_test(runs, claim.runs or "", test) for test in claim.tests if test.quantity]


def in_words(row: dict[str, Any]) -> str:
    """Return a claim's verdict as the page shows it, and beside it that of Armijo's rule, which decides nothing."""
    beside = f" (Armijo's rule: {row['armijo']})" if "armijo" in row else ""
    return f"**{row['verdict']}**{', provisional' if row['provisional'] else ''}{beside}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the page that people read."""
    scales = ", ".join(sorted({scale for row in rows for scale in row["scale"].split(", ")} - {""}))
    lines = [
        "# The papers' claims, and what our runs say",
        "",
        f"{counted(rows)} Scale of the runs: {scales}.",
        "",
        "Every criterion was written before the runs, but for what it gives a date itself; which line search is judged as SIBP was decided "
        "later (D-48 in docs/deviations.md). "
        "Ours: what was measured, mean over the seeds with its 95 % interval; where the interval straddles a "
        "bound the test is open and the verdict at most *partly*. One seed has no interval. A claim about speed also has in brackets the "
        "steps, and the seconds of training, after which each number was there; these are of all networks that were trained together, "
        "and of whatever else the machine did, so that only the steps can be compared (`x-cost` has what a step costs). Size: whether "
        "data, network, length and batch size are the "
        f"papers'; a verdict at their size from fewer than {ENOUGH_SEEDS} seeds is provisional. What each number is, and what a seed that "
        "diverged counts for, stands in docs/measurements.md. Seconds: training on the machine that made these runs, all labels that a "
        "claim needs.",
        "",
        "| claim | the paper says | its value | criterion | ours | verdict | size | seeds | s | command |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ours = f"{row['ours']} ({row['pace']})" if "pace" in row else row["ours"]
        cells = [f"{row['id']} ({row['place']})", row["says"], row["paper"], row["criterion"], ours, in_words(row)]
        cells += [row["size"], row["seeds"] or "", f"{row['seconds']:.0f}" if row["seconds"] else "", f"`{row['command']}`"]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").strip() for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def save(rows: list[dict[str, Any]], listed: Path, page: Path) -> None:
    """Write the claims' rows as JSON, and as the page that people read."""
    atomic.write(listed, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    atomic.write(page, markdown(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--tables", required=True, type=Path)
    parser.add_argument("--claims", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--json", required=True, type=Path)
    arguments = parser.parse_args()
    runs = Runs(arguments.results / "runs", arguments.claims.parent / "experiments")
    try:
        rows = [evaluate(runs, arguments.tables, claim) for claim in load(arguments.claims)]
    except (SpecError, LookupError) as fault:
        sys.exit(f"claims: {fault}")
    save(rows, arguments.json, arguments.output)


if __name__ == "__main__":
    main()
