"""Figures of curves and the numbers behind them, on made-up runs."""

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from sibp.experiments.drawing import Metric
from sibp.nets import losses
from sibp.results.quantities import Quantity
from workflow.figures import curve_table
from workflow.figures.columns import TITLES, column
from workflow.figures.curves import LOSSES, UNITS, Curves
from workflow.figures.layout import MISSING
from workflow.figures.papers import Value


def runs(label: str, *seeds: list[float | None], algorithm: str = "sgd", **columns: float) -> pd.DataFrame:
    """Return a label's rows: a test accuracy for each seed and epoch, None from where the seed has diverged; ten seconds an epoch."""
    rows = []
    for seed, values in enumerate(seeds):
        for epoch, value in enumerate(values):
            status = "diverged" if value is None else "done" if epoch == len(values) - 1 else "running"
            accuracy = np.nan if value is None else value
            point = {"epoch": float(epoch), "step": 3 * epoch, "seconds": 10.0 * epoch, "status": status}
            rows.append(point | {"member": seed, "seed": seed, "test_accuracy": accuracy, "train_loss": 3.0 ** (2 - epoch)})
    return pd.DataFrame(rows).assign(method=label, algorithm=algorithm, **columns)


@pytest.fixture
def draw():
    """Return curves of some labels' rows; close all figures at the end."""

    def make(*labels, paper=None, loss="cross-entropy", **settings):
        frame = pd.concat(labels, ignore_index=True)
        exhibit = SimpleNamespace(id="j-fig9", scale="smoke", paper=paper or {}, runs=frame, seeds=frame["seed"].nunique())
        exhibit.source = SimpleNamespace(experiment=SimpleNamespace(trained=SimpleNamespace(loss=loss)))
        return Curves(exhibit, list(frame["method"].unique()), **settings)

    yield make
    plt.close("all")


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label)


# --- names ------------------------------------------------------------------------------------------------------------------------


def test_every_metric_that_a_figure_may_show_has_a_title_and_a_unit():
    assert TITLES.keys() == set(get_args(Metric))
    assert {metric.rsplit("_", 1)[1] for metric in TITLES} == {*UNITS, "loss"}


def test_a_loss_is_named_as_the_experiment_says(draw):
    assert LOSSES.keys() == losses.LOSSES.keys()
    for loss, unit in LOSSES.items():
        (ax,) = draw(runs("sgd", [0.1, 0.5]), loss=loss).draw("train_loss").axes
        assert ax.get_ylabel() == unit


# --- numbers in words -------------------------------------------------------------------------------------------------------------


def words(shown, *values):
    return shown.in_words(shown.statistics(pd.Series(values)))


def test_a_duration_is_the_median_of_the_seeds_and_may_be_never():
    duration = column("test_accuracy", "epochs_to", 0.5)
    assert words(duration, 1, 2, np.inf) == "2 (1 to never)"
    assert words(duration, *[np.inf] * 3) == "never"


def test_a_value_is_the_mean_of_the_seeds_that_have_one():
    facts = column("test_accuracy").statistics(pd.Series([0.2, 0.4, np.nan]))
    assert (facts["n"], facts["least"], facts["most"]) == (2, 0.2, 0.4)
    assert column("test_accuracy").in_words(facts) == "0.3000 ± 0.1414"
    assert words(column("train_loss"), 1234.5) == "1.23e+03"
    assert words(column("test_accuracy"), np.nan) == MISSING


def test_a_head_says_what_is_taken():
    assert column("test_accuracy", "within", 12.345).head == "test accuracy, 12 s"
    assert column("train_loss").better == "lower" and column("test_accuracy").better == "higher"


# --- the table ----------------------------------------------------------------------------------------------------------------------

COLUMNS = [column("test_accuracy"), column("test_accuracy", "epoch", 9), column("test_accuracy", "epochs_to", 0.5)]


def lines(**labels):
    return {label: SimpleNamespace(name=label.upper(), setting="", rows=rows) for label, rows in labels.items()}


def shown(table):
    return [["".join(f"**{p.text}**" if p.bold else p.text for p in one) for one in row] for group in table.groups for row in group]


def test_the_best_is_bold_the_papers_number_stands_below_and_a_short_run_shows_its_last_evaluation():
    stated = [Value("b", Quantity("test_accuracy"), 0.967)]
    both = lines(a=runs("a", [0.1, 0.4], [0.1, None]), b=runs("b", [0.1, 0.6], [0.1, 0.8]), c=runs("c", [None], [None]))
    table = curve_table.table(curve_table.numbers(both, COLUMNS, stated), COLUMNS, ["B is best"])
    assert shown(table) == [
        ["A", "", "0.4000", "0.4000", "never", "1 of 2"],
        ["B", "", "**0.7000 ± 0.1414**", "**0.7000 ± 0.1414**", "**1**", "2"],
        ["", "paper", "0.967", "", "", ""],
        ["C", "", MISSING, MISSING, "never", "0 of 2"],
    ]
    assert table.caption.endswith("The paper: B is best.")


def test_differences_are_taken_seed_by_seed_and_are_never_bold():
    both = lines(a=runs("a", [0.1, 0.5], [0.1, 0.7]), b=runs("b", [0.1, 0.4], [0.1, 0.6]))
    data = pd.concat([curve_table.numbers(both, COLUMNS), curve_table.differences(both, {"a": "b"}, COLUMNS)], ignore_index=True)
    assert shown(curve_table.table(data, COLUMNS))[-1] == [
        "A \N{MINUS SIGN} B",
        "difference",
        "0.1000 ± 0.0000",
        "0.1000 ± 0.0000",
        "",
        "2",
    ]


# --- the figure ---------------------------------------------------------------------------------------------------------------------


def test_a_line_is_the_mean_of_the_living_seeds_and_a_cross_marks_the_lost_one(draw):
    curves = draw(runs("sgd", [0.1, 0.2, 0.4], [0.3, 0.4, None], eta=0.1), runs("sibp", [0.5, 0.6, 0.7], algorithm="sibp", eta=1))
    (ax,) = curves.draw("test_accuracy").axes
    assert line(ax, "SGD, η = 0.1").get_ydata().tolist() == pytest.approx([0.2, 0.3, 0.4])
    (cross,) = (one for one in ax.lines if one.get_marker() == "x")
    assert (*cross.get_xdata(), *cross.get_ydata()) == (1.0, 0.4)
    assert [text.get_text() for text in ax.figure.legends[0].texts] == ["SGD, η = 0.1", "SIBP, η = 1", "a seed lost"]


def test_the_papers_number_is_drawn_and_counted_levels_join_the_table(draw):
    paper = {"values": [{"label": "sgd", "metric": "test_accuracy", "epoch": 1, "value": 0.967}]}
    curves = draw(runs("sgd", [0.1, 0.9]), paper=paper, levels={"test_accuracy": [0.8]})
    (ax,) = curves.draw("test_accuracy").axes
    assert set(line(ax, "paper, SGD: 0.967 at epoch 1").get_ydata()) == {0.967}
    assert set(line(ax, "mark of the table: 0.8").get_ydata()) == {0.8}
    heads = ["test accuracy", "best test accuracy", "test accuracy, epoch 1", "epochs to 0.8 test accuracy"]
    assert [shown.head for shown in curves.columns("test_accuracy")] == heads


def test_a_logarithmic_axis_leaves_the_start_out_unless_the_run_is_short(draw):
    (ax,) = draw(runs("sgd", [0.1, 0.2, 0.3, 0.4, 0.5])).draw("test_accuracy", log_axis=True).axes
    assert ax.get_xscale() == "log" and line(ax, "SGD").get_xdata()[0] == 1
    (ax,) = draw(runs("sgd", [0.1, 0.2])).draw("test_accuracy", log_axis=True).axes
    assert ax.get_xscale() == "linear" and line(ax, "SGD").get_xdata()[0] == 0


def test_a_loss_that_explodes_leaves_the_panel(draw):
    rows = runs("sgd", [0.1, 0.1, 0.1])
    rows["train_loss"] = [2.0, 1e9, 1e30]
    (ax,) = draw(rows).draw("train_loss").axes
    assert ax.get_ylim()[1] == pytest.approx(20)


def test_the_picture_is_put_into_words(draw):
    curves = draw(runs("sgd", [0.1, 0.4]), runs("sibp", [0.1, 0.7], algorithm="sibp"), runs("adam", [0.1, None], algorithm="adam"))
    curves.draw("test_accuracy")
    assert curves.alt("test_accuracy") == (
        "Line chart of test accuracy against epoch for SGD, SIBP, Adam. The highest test accuracy at the end is 0.7 (SIBP), "
        "the lowest 0.4 (SGD). All seeds of Adam diverged."
    )
