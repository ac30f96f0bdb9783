"""One number for each seed: what is taken of a curve, and the rules for members that diverged and for several settings of a seed."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sibp.results import quantities
from sibp.results.quantities import DURATIONS, LEVELS, PLAIN, Quantity

METRIC = "test_accuracy"


def run(*members: list[float | None], seeds: list[int] | None = None, eta: list[float] | None = None) -> pd.DataFrame:
    """Return rows: a value of the metric for each member and epoch, None where it has diverged; ten steps and seconds an epoch."""
    rows = [
        {
            "member": member,
            "seed": seeds[member] if seeds else member,
            "eta": eta[member] if eta else 0.1,
            "epoch": float(epoch),
            "step": 10 * epoch,
            "seconds": 10.0 * epoch,
            "share": epoch / 10,
            METRIC: math.nan if value is None else value,
            "status": "diverged" if value is None else "done" if epoch == len(curve) - 1 else "running",
        }
        for member, curve in enumerate(members)
        for epoch, value in enumerate(curve)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(train_loss=1 - frame[METRIC])


def take(rows, how="last", at=0.0, **more):
    return Quantity(METRIC, how, at, **more).per_seed(rows).tolist()


# --- what is taken of a curve -----------------------------------------------------------------------------------------------------

CURVES = run([0.1, 0.7, 0.6, 0.2], [0.1, 0.2, 0.8, 0.9])


@pytest.mark.parametrize(
    ("how", "at", "expected"),
    [
        ("first", 0, [0.1, 0.1]),
        ("last", 0, [0.2, 0.9]),
        ("best", 0, [0.7, 0.9]),
        ("highest", 0, [0.7, 0.9]),
        ("epoch", 2, [0.6, 0.8]),
        ("epoch", 2.5, [0.6, 0.8]),
        ("epoch", 7, [0.2, 0.9]),
        ("within", 15, [0.7, 0.2]),
        ("within", 20, [0.6, 0.8]),
        ("pruned", 0.2, [0.6, 0.8]),
        ("epochs_to", 0.65, [1, 2]),
        ("steps_to", 0.65, [10, 20]),
        ("seconds_to", 0.65, [10, 20]),
        ("epochs_to", 0.85, [math.inf, 3]),
        ("epochs_to_highest", 0, [1, 3]),
        ("epochs_to_settle", 0.5, [3, math.inf]),
        ("failed", 0.3, [1, 0]),
    ],
)
def test_what_is_taken_of_a_curve(how, at, expected):
    assert take(CURVES, how, at) == expected


def test_at_an_epoch_it_is_never_a_later_evaluation():
    rows = CURVES[CURVES["epoch"] != 2]
    assert take(rows, "epoch", 2) == [0.7, 0.2]


def test_it_falls_to_a_share_of_its_start_when_it_is_at_most_that():
    rows = run([0.0, 0.5, 0.75], [0.0, 0.25, 0.4]).assign(train_loss=[1.0, 0.5, 0.25, 1.0, 0.75, 0.6])
    assert Quantity("train_loss", "falls_to", 0.5).per_seed(rows).tolist() == [10, math.inf]


def test_a_dip_that_ends_above_the_share_is_no_fall():
    rows = run([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]).assign(train_loss=[1.0, 0.4, 0.9, 1.0, 0.4, 0.5])
    assert Quantity("train_loss", "falls_to", 0.5).per_seed(rows).tolist() == [math.inf, 10]


def test_the_best_of_a_loss_is_its_least():
    assert Quantity("train_loss", "best").per_seed(CURVES).tolist() == pytest.approx([0.3, 0.1])


def test_rows_may_come_in_any_order():
    assert take(CURVES.sample(frac=1, random_state=0)) == [0.2, 0.9]


def test_a_share_that_was_not_cut_is_refused():
    with pytest.raises(LookupError, match=r"^pruned: got 0\.55, need one of 0, 0\.1, 0\.2, 0\.3$"):
        take(CURVES, "pruned", 0.55)


# --- members that diverged --------------------------------------------------------------------------------------------------------

LOST = run([0.1, 0.9, None], [0.1, 0.5, 0.6])


@pytest.mark.parametrize("how", LEVELS)
def test_a_member_that_diverged_has_no_level_whatever_is_taken_of_its_curve(how):
    at = {"pruned": 0.1}.get(how, 10)
    values = take(LOST, how, at)
    assert math.isnan(values[0]) and not math.isnan(values[1])


@pytest.mark.parametrize("how", DURATIONS)
def test_a_member_that_diverged_takes_for_ever(how):
    assert take(LOST, how, 0.05)[0] == math.inf


@pytest.mark.parametrize("how", DURATIONS)
def test_a_test_for_slowness_may_tell_divergence_from_never(how):
    assert math.isnan(Quantity(METRIC, how, 0.05).per_seed(LOST, lost=math.nan)[0])


def test_to_diverge_is_to_fail():
    assert take(LOST, "failed", 0.0) == [1, 0]


# --- several settings of a seed ---------------------------------------------------------------------------------------------------

PAIRS = run([0.1, 0.9], [0.1, 0.4], [0.1, None], [0.1, 0.6], [0.1, None], [0.2, None], seeds=[0, 0, 1, 1, 2, 2], eta=[1, 2] * 3)


def loss(how="last", at=0.0, **more):
    return Quantity("train_loss", how, at, **more).per_seed(PAIRS).tolist()


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("max", [0.9, 0.6, math.nan]),
        ("min", [0.4, math.nan, math.nan]),
        ("mean", [0.65, math.nan, math.nan]),
        ("range", [0.5, math.nan, math.nan]),
    ],
)
def test_of_an_accuracy_the_best_setting_is_that_of_the_survivors_and_nothing_else_forgives_a_lost_one(over, expected):
    np.testing.assert_allclose(take(PAIRS, over=over), expected)


@pytest.mark.parametrize(("over", "expected"), [("min", [0.1, 0.4, math.nan]), ("max", [0.6, math.nan, math.nan])])
def test_of_a_loss_the_best_setting_is_the_least_and_the_worst_the_largest(over, expected):
    np.testing.assert_allclose(loss(over=over), expected)


@pytest.mark.parametrize(("over", "expected"), [("min", [10, 10, math.inf]), ("max", [math.inf] * 3), ("mean", [math.inf] * 3)])
def test_of_a_duration_the_best_setting_is_the_soonest(over, expected):
    assert take(PAIRS, "steps_to", 0.6, over=over) == expected


def test_all_settings_fail_if_the_least_failure_is_one():
    assert take(PAIRS, "failed", 0.5, over="min") == [0, 0, 1]
    assert take(PAIRS, "failed", 0.5, over="max") == [1, 1, 1]


def test_only_members_with_the_named_options_count():
    assert take(PAIRS, where={"eta": (2.0,)})[:2] == [0.4, 0.6]
    assert take(PAIRS, where={"eta": (1, 2)}, over="max")[:2] == [0.9, 0.6]
    with pytest.raises(LookupError, match=r"^where: eta: no member has 3, need one of 1, 2$"):
        take(PAIRS, where={"eta": (3,)})
    with pytest.raises(LookupError, match=r"^where: got 'etta', need .*did you mean 'eta'\?$"):
        take(PAIRS, where={"etta": (3,)})


def test_a_metric_that_was_not_measured_is_named():
    with pytest.raises(LookupError, match=r"^metric: got 'test_acuracy', need .*"):
        Quantity("test_acuracy").per_seed(PAIRS)


# --- as a file says it ------------------------------------------------------------------------------------------------------------


def test_a_quantity_is_read_from_a_mapping():
    assert Quantity.parse({"metric": METRIC}) == Quantity(METRIC)
    mapping = {"metric": METRIC, "epoch": 20, "where": {"eta": [1, 10], "lam": 2}, "over": "max"}
    assert Quantity.parse(mapping) == Quantity(METRIC, "epoch", 20, {"eta": (1, 10), "lam": (2,)}, "max")


@pytest.mark.parametrize("how", [*LEVELS, *DURATIONS, "failed"])
def test_every_way_of_taking_has_a_form_in_a_file(how):
    assert Quantity.parse({"metric": METRIC, how: True if how in PLAIN else 0.5}).take == how


@pytest.mark.parametrize(
    ("mapping", "fault"),
    [
        ({"best": True}, "quantity: metric: missing"),
        ({"metric": METRIC, "bets": True}, "quantity: got 'bets', need .*did you mean 'best'"),
        ({"metric": METRIC, "best": True, "epoch": 2}, "quantity: got best and epoch, need one of them"),
        ({"metric": METRIC, "epoch": True}, "quantity: epoch: got True, need a number"),
        ({"metric": METRIC, "best": 3}, "quantity: best: got 3, need true"),
        ({"metric": METRIC, "where": {"eta": [1, "one"]}}, "quantity: where: eta: got 'one', need a number"),
        ({"metric": METRIC, "over": "median"}, "quantity: over: got 'median', need min, max, mean or range"),
    ],
)
def test_what_is_no_quantity_is_refused_in_a_line(mapping, fault):
    with pytest.raises(ValueError, match=f"^{fault}"):
        Quantity.parse(mapping)


def test_the_page_has_a_row_for_every_way_of_taking():
    page = (Path(__file__).parents[3] / "docs" / "measurements.md").read_text(encoding="utf-8")
    cells = [line.strip("| ").split(" | ")[-1] for line in page.splitlines() if line.startswith("| ")]
    words = set(re.findall(r"[a-z_]+", " ".join(cells)))
    assert set(quantities.TAKES) <= words and words - set(quantities.TAKES) <= {"key", "true", "share", "level", "n", "s", "x"}


# --- pruning ----------------------------------------------------------------------------------------------------------------------


def test_cuts_are_rows_by_share_and_those_of_a_diverged_member_have_no_level():
    cuts = [{"member": m, "share": share, METRIC: 0.1 * m + share} for m in range(3) for share in (0.0, 0.5)]
    members = [{"member": m, "seed": s, "l1": l1} for m, s, l1 in ((0, 0, 0.0), (1, 0, 0.1), (2, 1, 0.0))]
    rows = quantities.cuts({"pruned": cuts, "members": members, "diverged": [{"member": 2, "step": 7}]})
    np.testing.assert_allclose(Quantity(METRIC, "pruned", 0.5, over="max").per_seed(rows), [0.6, math.nan])
    np.testing.assert_allclose(take(rows, "pruned", 0.5, where={"l1": (0.0,)}), [0.5, math.nan])
