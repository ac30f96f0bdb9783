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
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sibp.core import atomic, messages
from sibp.experiments import size, specs
from sibp.experiments.jobs import Job, of_record
from sibp.experiments.schema import Experiment
from sibp.results import quantities, records
from sibp.results.quantities import Quantity
from sibp.results.statistics import interval
from workflow.figures import papers, style
from workflow.scripts.findings import ENOUGH_SEEDS, QUESTIONS, counted
from workflow.scripts.wording import Measured, sentence

BOUNDS = ("at_least", "at_most", "near")


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


def load(path: Path) -> list[dict[str, Any]]:
    """Return the claims of a file, with the papers' numbers, which stand in papers.yaml beside it, in place of their names.

    Raises:
        LookupError: in one line that names the claim, if it names a number or a question that is not there.
    """
    claims = yaml.safe_load(path.read_text(encoding="utf-8"))
    for claim in claims:
        if claim.get("question") not in QUESTIONS:
            raise LookupError(f"claims.yaml: {claim['id']}: question: {messages.need(claim.get('question'), QUESTIONS)}")
    stated = papers.read(path.with_name("papers.yaml"))
    return [with_numbers(claim, stated) for claim in claims]


def with_numbers(claim: dict[str, Any], stated: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a claim with the papers' numbers in its texts and bounds.

    Args:
        claim: whose `numbers` say where in the papers' file each of its numbers stands.
        stated: what the papers say, by exhibit.

    Raises:
        LookupError: as `load`.
    """
    try:
        numbers = {
            name: papers.number(stated[reference.get("exhibit", claim["exhibit"])], reference)
            for name, reference in claim.get("numbers", {}).items()
        }
        texts = {key: claim[key].format_map(numbers) for key in ("says", "paper")}
        tests = [test | {key: numbers[test[key]] for key in BOUNDS if isinstance(test.get(key), str)} for test in claim["tests"]]
    except LookupError as fault:
        raise LookupError(f"claims.yaml: {claim['id']}: numbers: {fault.args[0]}") from None
    texts = {key: re.sub(r"(\d)%", r"\1 %", text) for key, text in texts.items()}
    return claim | texts | {"tests": tests}


def per_seed(runs: Runs, exhibit: str, mapping: dict[str, Any], lost: float = math.nan) -> pd.Series:
    """Return one number for each seed.

    Args:
        runs: of the experiments.
        exhibit: whose runs decide, unless the quantity names another.
        mapping: the quantity as `Quantity.parse` takes it, and its `label` and perhaps `exhibit`.
        lost: what a duration is for a seed that diverged, see `Quantity.per_seed`.

    Raises:
        LookupError: in one line, if no member is as `where` says.
        ValueError: in one line, if the quantity is none.
    """
    exhibit, label = mapping.get("exhibit", exhibit), mapping["label"]
    try:
        quantity = read_quantity(mapping)
        return quantity.per_seed(runs.rows(exhibit, label, quantity), lost)
    except (LookupError, ValueError) as fault:
        raise type(fault)(f"{exhibit}/{label}: {fault.args[0]}") from None


def read_quantity(mapping: dict[str, Any]) -> Quantity:
    """Return the quantity that a test names, without its `label` and `exhibit`."""
    return Quantity.parse({key: value for key, value in mapping.items() if key not in ("exhibit", "label")})


def pace(runs: Runs, claim: dict[str, Any], names: dict[str, str]) -> str:
    """Return for each quantity of a claim about speed the steps and the seconds that it took, means over the seeds, in words."""
    words = {}
    for mapping in quantities_of(claim):
        quantity, exhibit = read_quantity(mapping), mapping.get("exhibit", claim["runs"])
        steps, seconds = quantity.pace(runs.rows(exhibit, mapping["label"], quantity)).mean()
        text = f"{steps:.0f} steps, {seconds:.3g} s" if math.isfinite(steps) else "not in every seed"
        words[f"{names[mapping['label']]}: {text}"] = None
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


def run_test(runs: Runs, exhibit: str, test: dict[str, Any]) -> Outcome:
    """Return the outcome of one test of a claim."""
    ours = per_seed(runs, exhibit, test["quantity"])
    values = ours.to_numpy(float)
    measured = Measured(test["quantity"]["label"], read_quantity(test["quantity"]), values)
    if "than" in test:
        other = per_seed(runs, exhibit, test["than"], lost=math.inf)
        pairs = ours.to_frame("ours").join(other.rename("other"), how="inner")
        margin = test.get("by", 0.0)
        with np.errstate(invalid="ignore"):
            gap = (pairs["ours"] - pairs["other"]).to_numpy(float)
        # never against never is no difference; never against a number is one without end
        gap = np.where(np.isinf(pairs["ours"]) & np.isinf(pairs["other"]), 0.0, gap)
        bounds = (margin, math.inf) if test["is"] == "above" else (-math.inf, -margin)
        strict = gap if margin else np.where(gap == 0, math.nan, gap)
        shown = per_seed(runs, exhibit, test["than"]).to_numpy(float)  # one that diverged is told as that
        return Outcome(judge(strict, *bounds), measured, Measured(test["than"]["label"], read_quantity(test["than"]), shown))
    bounds = {
        "at_least": lambda v: (v, math.inf),
        "at_most": lambda v: (-math.inf, v),
        "near": lambda v: (v - test["within"], v + test["within"]),
    }
    name = next(name for name in bounds if name in test)
    return Outcome(judge(values, *bounds[name](test[name])), measured)


def read_table(table: pd.DataFrame, test: dict[str, Any]) -> tuple[str, str]:
    """Return the result of a test of an exhibit's rows, does `column` equal `equals`, a value or a column, in all? And in how many."""
    for name, value in test.get("where", {}).items():
        table = table[table[name].isin([value] if isinstance(value, str) else value)]
    if table.empty:
        raise LookupError(f"no row of {test['table']} has {test['where']}")
    other = test["equals"]
    right = table[test["column"]] == (table[other] if isinstance(other, str) else other)
    return "pass" if right.all() else "fail", f"{right.sum()} of {len(right)} {'agree' if isinstance(other, str) else 'hold'}"


def verdict(results: list[str]) -> str:
    """Return the verdict on a claim from the results of its tests."""
    if all(result == "pass" for result in results):
        return "reproduced"
    return "partly" if any(result in ("pass", "open") for result in results) else "not reproduced"


def with_second_search(runs: Runs, claim: dict[str, Any]) -> dict[str, Any] | None:
    """Return the claim on the labels that show Armijo's rule, those that have none unchanged; None if no label has one that has run."""
    labels = {pair: (pair[0], pair[1] + papers.SECOND) for pair in used_by(claim)}
    there = {pair: second for pair, second in labels.items() if runs.has(*second)}
    if not there:
        return None

    def changed(mapping: dict[str, Any]) -> dict[str, Any]:
        pair = mapping.get("exhibit", claim["runs"]), mapping["label"]
        return mapping | {"label": there.get(pair, pair)[1]}

    return claim | {
        "tests": [test | {key: changed(test[key]) for key in ("quantity", "than") if key in test} for test in claim["tests"]]
    }


def used_by(claim: dict[str, Any]) -> set[tuple[str, str]]:
    """Return the experiments and labels whose runs a claim's tests need."""
    return {(mapping.get("exhibit", claim["runs"]), mapping["label"]) for mapping in quantities_of(claim)}


def quantities_of(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the quantities that a claim's tests ask of runs, as its file describes them."""
    return [test[key] for test in claim["tests"] for key in ("quantity", "than") if key in test]


def called(runs: Runs, claim: dict[str, Any]) -> dict[str, str]:
    """Return what a claim's row calls the labels of its tests."""
    labels = [mapping["label"] for mapping in quantities_of(claim)]
    return style.names(runs.experiment(claim["runs"]), labels) if labels else {}


def evaluate(runs: Runs, tables: Path, claim: dict[str, Any]) -> dict[str, Any]:
    """Return a claim's row: verdict, our numbers, scale, seeds and training seconds."""
    head = {key: claim[key] for key in ("id", "place", "question", "says", "paper", "criterion")}
    head["command"] = f"snakemake --cores all {claim['exhibit']}"
    of_tables = [test for test in claim["tests"] if "table" in test]
    of_runs = [test for test in claim["tests"] if "table" not in test]
    used = used_by(claim)
    files = {test["table"]: tables / f"{test['table']}.csv" for test in of_tables}
    if not all(runs.has(*pair) for pair in used) or not all(file.exists() for file in files.values()):
        return head | {"verdict": "not run", "size": "", "provisional": False, "ours": "", "scale": "", "seeds": 0, "seconds": 0.0}
    outcomes = [run_test(runs, claim["runs"], test) for test in of_runs]
    rows = [read_table(pd.read_csv(files[test["table"]]), test) for test in of_tables]
    results = [*(outcome.result for outcome in outcomes), *(result for result, _ in rows)]
    names = called(runs, claim)
    measured = sentence([(outcome.ours, outcome.other) for outcome in outcomes], names)
    made = [runs.record(*pair) for pair in sorted(used)]
    is_full, seeds = all(runs.has_papers_size(*pair) for pair in used), min((len(r["seeds"]) for r in made), default=0)
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
    if claim.get("about") == "speed":
        row["pace"] = pace(runs, claim, names)
    if second:
        row["armijo"] = verdict([run_test(runs, claim["runs"], test).result for test in second["tests"]])
    return row


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
    claims = load(arguments.claims)
    runs = Runs(arguments.results / "runs", arguments.claims.parent / "experiments")
    rows = [evaluate(runs, arguments.tables, claim) for claim in claims]
    save(rows, arguments.json, arguments.output)


if __name__ == "__main__":
    main()
