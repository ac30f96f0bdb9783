"""The summary of a run over its seeds."""

import numpy as np
import pytest

from sibp.results import summary
from sibp.results.quantities import Quantity
from sibp.results.statistics import over_seeds
from tests.unit.tiny import as_run, long_table


def made(accuracies):
    return as_run(long_table(accuracies))


def test_the_summary_has_mean_deviation_and_the_interval_of_students_t():
    row = summary.curve(made({(0.1, seed): [value] for seed, value in enumerate([0.1, 0.2, 0.6])})).iloc[0]
    assert (row["members"], row["n"], row["diverged"], row["averaged"]) == (3, 3, 0, "all")
    assert row["validation_accuracy_mean"] == pytest.approx(0.3)
    assert row["validation_accuracy_std"] == pytest.approx(np.sqrt(0.07))
    half = 4.302652729749464 * np.sqrt(0.07 / 3)  # t of 97.5 % with two degrees of freedom, from a printed table
    assert row["validation_accuracy_low"] == pytest.approx(0.3 - half)
    assert row["validation_accuracy_high"] == pytest.approx(0.3 + half)


def test_one_seed_has_a_mean_and_no_interval():
    row = summary.curve(made({(0.1, 0): [0.5]})).iloc[0]
    assert (row["n"], row["validation_accuracy_mean"]) == (1, 0.5)
    assert np.isnan(row[["validation_accuracy_std", "validation_accuracy_low", "validation_accuracy_high"]].astype(float)).all()


def test_a_diverged_seed_is_counted_and_leaves_the_mean_from_then_on():
    first, second = summary.curve(made({(0.1, 0): [0.2, 0.4], (0.1, 1): [0.6, None]})).to_dict("records")
    assert (first["n"], first["diverged"], first["averaged"], first["validation_accuracy_mean"]) == (2, 0, "all", 0.4)
    assert (second["n"], second["diverged"], second["averaged"], second["validation_accuracy_mean"]) == (1, 1, "survivors", 0.4)


def test_a_setting_whose_seeds_all_diverged_has_no_mean():
    row = summary.curve(made({(10, 0): [None], (10, 1): [None]})).iloc[0]
    assert (row["n"], row["diverged"], row["averaged"]) == (0, 2, "nobody")
    assert np.isnan(row["validation_accuracy_mean"])


def test_settings_are_summarised_apart_and_options_that_a_method_lacks_stay_empty():
    one = summary.curve(made({(0.1, 0): [0.5], (1, 0): [0.7]}))
    other = summary.curve(as_run(long_table({(0.1, 0): [0.9]}, label="sibp").rename(columns={"eta": "lam"})))
    both = summary.union([one, other])
    assert list(both.columns[:7]) == ["exhibit", "method", "algorithm", "eta", "lam", "epoch", "step"]
    assert both[["eta", "validation_accuracy_mean"]].fillna(-1).to_numpy().tolist() == [[0.1, 0.5], [1, 0.7], [-1, 0.9]]


def test_the_last_evaluation_says_what_the_quantity_says_also_where_seeds_diverged():
    runs = {"sgd": {(0.1, 0): [0.2, 0.4], (0.1, 1): [0.3, 0.8], (10, 0): [0.2, None], (10, 1): [0.9, 0.6]}}
    runs["sibp"] = {(1, 0): [0.5, 0.7], (1, 1): [None, None]}
    tables = {label: long_table(accuracies, label) for label, accuracies in runs.items()}
    ends = summary.last(summary.union([summary.curve(as_run(table)) for table in tables.values()]))
    for _, end in ends.iterrows():
        values = Quantity("validation_accuracy", where={"eta": (end["eta"],)}).per_seed(tables[end["method"]])
        facts = over_seeds(values)
        assert (end["n"], end["members"]) == (facts.n, 2)
        for name in ("mean", "std", "low", "high"):
            np.testing.assert_equal(end[f"validation_accuracy_{name}"], getattr(facts, name))
    assert len(ends) == 3
