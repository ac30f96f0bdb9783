"""The step-size tables on made-up runs of a-table1: what a cell shows, and which version's SGD cell the runs support."""

import itertools
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sibp.experiments import specs
from sibp.results import records, summary
from tests.unit.tiny import as_run
from workflow.figures import step_size_table
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import MISSING

ROOT = Path(__file__).parents[2]

FILE = yaml.safe_load((ROOT / "workflow/experiments/a-table1.yaml").read_text(encoding="utf-8"))
EXPERIMENT = specs.load_experiment(ROOT / "workflow/experiments/a-table1.yaml", shallow=True).model_dump(
    mode="json", exclude_none=True
)
DIVERGED = (math.nan, math.nan)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Write runs whose members end at `accuracy(label, eta, lam, seed)` = (train, validation); return the exhibit."""

    def make(accuracy, seeds=2):
        monkeypatch.setenv("SIBP_ROOT", str(tmp_path))
        folder = tmp_path / "results/runs/a-table1"
        summaries = []
        for label, method in FILE["methods"].items():
            points = [dict(zip(method["grid"], values, strict=True)) for values in itertools.product(*method["grid"].values())]
            rows = []
            for member, (seed, point) in enumerate(itertools.product(range(seeds), points)):
                options = {"eta": method.get("eta"), "lam": method.get("lam")} | point
                train, validation = accuracy(label, options["eta"], options["lam"], seed)
                head = {"exhibit": "a-table1", "method": label, "algorithm": method.get("method", label), "member": member}
                head |= {"seed": seed, **{key: value for key, value in options.items() if value is not None}}
                head |= {"epoch": 2.0, "step": 1100, "samples": 110000, "seconds": 1.0, "train_accuracy": train}
                rows.append(head | {"validation_accuracy": validation, "status": "diverged" if math.isnan(train) else "done"})
            settings = EXPERIMENT | {"data": EXPERIMENT["data"] | {"train": 500}, "seeds": seeds}
            record = {"scale": "laptop", "settings": settings, "seeds": list(range(seeds))}
            run = as_run(pd.DataFrame(rows), record | {"device": "a machine", "threads": 1})
            records.write(folder / f"{label}.parquet", run)
            summaries.append(summary.curve(run))
        (tmp_path / "results/summary").mkdir()
        summary.union(summaries).to_csv(tmp_path / "results/summary/a-table1.csv", index=False)
        return Exhibit("a-table1")

    return make


def sgd_at_one(*seeds):
    """Return accuracies that are 0.9 / 0.8 everywhere but for SGD at step size 1, where seed s ends at seeds[s]."""
    return lambda label, eta, lam, seed: seeds[seed] if (label, eta) == ("sgd", 1) else (0.9, 0.8)


def shown(exhibit):
    """Return our line of the table's first row, SGD."""
    table = step_size_table.table(exhibit, step_size_table.long_form(exhibit), "")
    ours, spreads = (["".join(part.text for part in one) for one in line] for line in table.groups[0][1:])
    return ours[2:], spreads[2:]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([(0.98, 0.97), (0.97, 0.96)], "supports A in all 2 seeds"),
        ([(0.10, 0.09), DIVERGED], "supports I in all 2 seeds"),
        ([(0.98, 0.97), (0.10, 0.09)], "undecided: of 2 seeds 1 support A, 1 support I"),
        ([(0.50, 0.50), (0.98, 0.09)], "supports neither in all 2 seeds"),
        ([(0.98, 0.97)], "supports A in its one seed"),
    ],
)
def test_the_runs_settle_which_version_is_right(made, seeds, words):
    sentence = step_size_table.settle(made(sgd_at_one(*seeds), seeds=len(seeds)))
    assert words in sentence
    assert "at laptop scale" in sentence


def test_a_setting_that_was_not_run_settles_nothing(made, monkeypatch):
    exhibit = made(sgd_at_one((0.9, 0.9), (0.9, 0.9)))
    monkeypatch.setitem(exhibit.paper["contradiction"], "eta", 7)
    assert "was not run" in step_size_table.settle(exhibit)


def test_a_cell_is_the_mean_over_the_seeds_that_did_not_diverge_and_counts_the_others(made):
    ours, spreads = shown(made(sgd_at_one((0.5, 0.4), DIVERGED)))
    assert ours[2] == "0.5000 / 0.4000"
    assert spreads[2] == f"1 of 2 {MISSING}"


def test_a_cell_whose_seeds_all_diverged_is_the_papers_dash(made):
    ours, _ = shown(made(sgd_at_one(DIVERGED, DIVERGED)))
    assert ours == ["0.9000 / 0.8000"] * 2 + [MISSING] + ["0.9000 / 0.8000"] * 2


def test_spread_is_the_standard_deviation(made):
    _, spreads = shown(made(sgd_at_one((0.4, 0.8), (0.6, 0.8))))
    assert spreads[2] == "± 0.1414 / 0.0000"


def test_the_best_of_a_column_is_bold_and_only_it(made):
    exhibit = made(lambda label, eta, lam, seed: (0.99, 0.7) if (label, eta) == ("sibp-eta", 10) else (0.9, 0.8))
    table = step_size_table.table(exhibit, step_size_table.long_form(exhibit), "")
    bold = {part.text for group in table.groups for one in group[1][3] for part in [one] if part.bold}
    assert bold == {"0.9900", "0.8000"}


def test_rows_are_found_by_their_settings_under_whatever_label(made):
    data = step_size_table.long_form(made(lambda label, eta, lam, seed: (0.1 * math.log10(eta * 1000), 0.0)))
    row = data[(data["row"] == "SIBP, λ = 1, η") & (data["metric"] == "train_accuracy")]
    assert row["mean"].tolist() == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_the_caption_says_what_is_reduced_and_where_it_ran(made):
    caption = made(sgd_at_one((0.9, 0.9), (0.9, 0.9))).caption("Text.")
    assert "Laptop scale: 500 of 55000 training samples, 2 of 5 seeds." in caption
    assert "a machine, 1 thread" in caption
    assert "After A, Section 4.1, Table 1." in caption
