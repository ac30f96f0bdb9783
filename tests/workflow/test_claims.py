"""The verdicts: each rule of judgement on made-up runs."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sibp.experiments.strict import parse
from sibp.results import records, summary
from sibp.results.quantities import DURATIONS, LEVELS, PLAIN, Quantity
from tests.unit.tiny import as_run, experiment, mapping, write
from workflow.figures import columns
from workflow.scripts import claims, claims_file, findings, wording

ASKED = {"id": "x", "methods": {name: {"method": "sgd"} for name in ("a", "b", "z", "a-armijo")}}
TRIED = experiment(**ASKED)
RECORD = {
    "scale": "smoke",
    "settings": TRIED.model_dump(mode="json", exclude_none=True),
    "training": TRIED.training_of("a").model_dump(mode="json", exclude_none=True),
}


def runs(folder, **curves):
    """Write one run per label: seed -> list of (epoch, accuracy); a last value of None is a diverged member."""
    for label, seeds in curves.items():
        rows = [
            {
                "member": seed,
                "seed": seed,
                "exhibit": "x",
                "method": label,
                "algorithm": "sgd",
                "eta": 0.1,
                "epoch": float(epoch),
                "step": 10 * epoch,
                "samples": 10 * epoch,
                "seconds": 2.0 * epoch,
                "train_accuracy": math.nan if value is None else value,
                "status": "diverged" if value is None else "running",
            }
            for seed, curve in enumerate(seeds)
            for epoch, value in enumerate(curve)
        ]
        record = RECORD | {"seeds": list(range(len(seeds))), "seconds": {"train": 1.0}, "diverged": []}
        records.write(folder / "runs" / "x" / f"{label}.parquet", as_run(pd.DataFrame(rows), record))
    write(folder, mapping(**ASKED), "experiments/x.yaml")
    return claims.Runs(folder / "runs", folder / "experiments")


def summary_rows(members):
    """Return rows of members (number, seed, accuracies), an evaluation each epoch of 10 steps and 2 seconds."""
    rows = [
        (member, seed, float(e), 10 * e, 2.0 * e, value, "done") for member, seed, curve in members for e, value in enumerate(curve)
    ]
    return pd.DataFrame(rows, columns=["member", "seed", "epoch", "step", "seconds", "train_accuracy", "status"])


def quantity(label="a", **more):
    return {"label": label, "metric": "train_accuracy", **more}


def run_test(made, exhibit, test):
    return claims.run_test(made, exhibit, parse(claims_file.Test, test, "a test"))


def per_seed(made, exhibit, run_quantity, **options):
    return claims.per_seed(made, exhibit, parse(claims_file.RunQuantity, run_quantity, "a quantity"), **options)


def evaluate(made, tables, mapping):
    return claims.evaluate(made, tables, claims_file.claim(mapping))


@pytest.mark.parametrize(
    ("values", "bounds", "result"),
    [
        ([0.97, 0.98, 0.99], (0.9, math.inf), "pass"),
        ([0.5, 0.98, 1.3], (0.9, math.inf), "open"),
        ([0.5, 0.6, 0.7], (0.9, math.inf), "fail"),
        ([0.95], (0.9, math.inf), "pass"),
        ([math.nan, 0.99], (0.9, math.inf), "fail"),
        ([math.inf, math.inf], (0.0, 5.0), "fail"),
    ],
)
def test_a_test_passes_with_the_whole_interval_and_is_open_with_the_mean_alone(values, bounds, result):
    assert claims.judge(np.array(values), *bounds) == result


def test_last_best_epoch_and_the_first_to_reach_a_mark(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9, 0.8], [0.1, 0.2, 0.3]])
    take = lambda **how: per_seed(made, "x", quantity(**how)).tolist()  # noqa: E731
    assert take() == [0.8, 0.3]
    assert take(best=True) == [0.9, 0.3]
    assert take(epoch=1) == [0.9, 0.2]
    assert take(epochs_to=0.5) == [1.0, math.inf]
    assert take(steps_to=0.15) == [10.0, 10.0]


TAKEN = [{}] + [{how: True if how in PLAIN else 0.5} for how in (*LEVELS, *DURATIONS) if how not in ("last", "pruned")]
TESTS = [
    {"at_least": -1e9},
    {"at_most": 1e9},
    {"near": 0.5, "within": 1e9},
    {"is": "above", "than": quantity("b")},
    {"is": "below", "than": quantity("b", epochs_to=2)},
]


@pytest.mark.parametrize("test", TESTS, ids=str)
@pytest.mark.parametrize("taken", TAKEN, ids=str)
def test_a_diverged_member_fails_every_test_but_the_one_that_asks_for_it(taken, test, tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9, None], [0.1, 0.9, 0.8]], b=[[-9.0, -9.0], [-9.0, -9.0]])
    assert run_test(made, "x", {"quantity": quantity(**taken)} | test).result == "fail"
    failed = {"quantity": quantity(failed=0.95), "at_least": 1}
    assert run_test(made, "x", failed).result == "pass"


def test_what_passes_without_divergence_fails_by_it_alone(tmp_path):
    survived = runs(tmp_path / "all", a=[[0.1, 0.9, 0.2], [0.1, 0.9, 0.8]])
    lost = runs(tmp_path / "lost", a=[[0.1, 0.9, None], [0.1, 0.9, 0.8]])
    for taken in TAKEN:
        results = [run_test(made, "x", {"quantity": quantity(**taken), "at_least": -1e9}).result for made in (survived, lost)]
        assert results == ["pass", "fail"], taken


def test_never_is_slow_and_to_diverge_is_not(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.2]], b=[[0.1, None]])
    slow = [run_test(made, "x", {"quantity": quantity(label, steps_to=0.8), "at_least": 100}) for label in "ab"]
    assert [(outcome.result, outcome.ours.numbers) for outcome in slow] == [("pass", "never"), ("fail", "diverged")]


def test_to_arrive_is_sooner_than_one_that_diverged(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9]], b=[[0.1, None]])
    sooner = {"quantity": quantity("a", epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    outcome = run_test(made, "x", sooner)
    assert (outcome.result, outcome.ours.numbers, outcome.other.numbers) == ("pass", "1", "diverged")
    later = {"quantity": quantity("b", epochs_to=0.8), "is": "above", "than": quantity("a", epochs_to=0.8)}
    assert run_test(made, "x", later).result == "fail"


@pytest.mark.parametrize("a", [[[0.1, 0.9, 0.8], [0.1, 0.2, 0.3]], [[0.1, 0.9, None], [0.1, 0.2, 0.3]]])
def test_table_and_verdict_say_the_same_of_the_same_runs(a, tmp_path):
    made = runs(tmp_path, a=a)
    rows = made.table("x", "a")
    for taken in TAKEN:
        asked = Quantity.parse({"metric": "train_accuracy", **taken})
        column = columns.Column(asked, "", "")
        verdict = per_seed(made, "x", quantity(**taken), lost=math.inf)
        pd.testing.assert_series_equal(column.per_seed(rows), verdict)
    end = summary.last(summary.curve(as_run(rows))).iloc[0]
    alive = per_seed(made, "x", quantity()).dropna().to_numpy()
    assert end["n"] == len(alive)
    assert wording.Measured("a", Quantity("train_accuracy"), alive).numbers == (
        f"{end['train_accuracy_mean']:.4f} [{end['train_accuracy_low']:.4f}, {end['train_accuracy_high']:.4f}]"
        if len(alive) > 1
        else f"{end['train_accuracy_mean']:.4f}"
    )


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [
        ([[0.9], [0.8]], [[0.5], [0.4]], "pass"),
        ([[0.9], [0.3]], [[0.5], [0.4]], "open"),
        ([[0.4], [0.3]], [[0.5], [0.4]], "fail"),
        ([[0.5], [0.4]], [[0.5], [0.4]], "fail"),
    ],
)
def test_above_compares_seed_by_seed_and_a_draw_is_not_above(tmp_path, a, b, result):
    made = runs(tmp_path, a=a, b=b)
    assert run_test(made, "x", {"quantity": quantity("a"), "is": "above", "than": quantity("b")}).result == result


def test_to_arrive_is_below_never_and_never_is_not_below_never(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9]], b=[[0.1, 0.2]])
    sooner = {"quantity": quantity("a", epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    assert run_test(made, "x", sooner).result == "pass"
    neither = {"quantity": quantity("b", epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    assert run_test(made, "x", neither).result == "fail"


def claim(*tests):
    texts = {"id": "c", "place": "p", "question": "depth", "says": "s", "paper": "v", "criterion": "k"}
    return texts | {"exhibit": "x", "runs": "x", "tests": list(tests)}


def test_verdicts(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.91]])
    good, bad = {"quantity": quantity(), "at_least": 0.5}, {"quantity": quantity(), "at_least": 0.99}
    missing = {"quantity": quantity("z"), "at_least": 0.5}
    found = [evaluate(made, tmp_path, claim(*tests))["verdict"] for tests in ((good,), (good, bad), (bad,), (good, missing))]
    assert found == ["reproduced", "partly", "not reproduced", "not run"]


@pytest.mark.parametrize(("seeds", "change", "provisional"), [(2, {}, True), (3, {}, False), (2, {"data__train": 100}, False)])
def test_a_verdict_at_the_papers_size_from_fewer_than_three_seeds_is_provisional(seeds, change, provisional, tmp_path):
    made = runs(tmp_path, a=[[0.9]] * 5, b=[[0.9]] * seeds)
    write(tmp_path, mapping(**(ASKED | change)), "experiments/x.yaml")
    test = {"quantity": quantity("a"), "is": "above", "by": -0.1, "than": quantity("b")}
    row = evaluate(made, tmp_path, claim(test))
    assert (row["seeds"], row["verdict"], row["provisional"]) == (seeds, "reproduced", provisional)
    assert ("**reproduced**, provisional |" in claims.markdown([row])) == provisional
    assert ("1 reproduced; 1 of them provisional, with fewer than 3 seeds" in claims.counted([row])) == provisional


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({}, "papers'"),
        ({"seeds": 9}, "papers'"),
        ({"training__evaluate_every": {"epochs": 2}}, "papers'"),
        ({"training__epochs": 50}, "smaller"),
        ({"training__batch_size": 10}, "smaller"),
        ({"data__train": 100}, "smaller"),
        ({"network__widths": [784, 100, 10]}, "smaller"),
        ({"methods": {"a": {"method": "sgd", "training": {"epochs": 3}}}}, "smaller"),
    ],
)
def test_a_verdict_says_whether_its_runs_had_the_papers_size(change, size, tmp_path):
    made = runs(tmp_path, a=[[0.9]])
    write(tmp_path, mapping(**(ASKED | change)), "experiments/x.yaml")
    row = evaluate(made, tmp_path, claim({"quantity": quantity(), "at_least": 0.5}))
    assert (row["verdict"], row["size"]) == ("reproduced", size)


def test_claims_are_counted_by_size_and_verdict():
    made = [("reproduced", "papers'"), ("partly", "papers'"), ("partly", "smaller"), ("partly", "smaller"), ("not run", "")]
    told = claims.counted([{"verdict": verdict, "size": size, "seeds": 3} for verdict, size in made])
    assert told.startswith("5 claims. 2 at the papers' own size: 1 reproduced, 1 partly. 2 at a smaller size, ")
    assert told.endswith(": 2 partly. 1 without runs: 1 not run.")
    computed = [{"verdict": "reproduced", "size": "papers'", "seeds": seeds} for seeds in (0, 3)]
    assert "2 at the papers' own size (1 of them on theorems and properties, which are computed): 2 reproduced" in claims.counted(
        computed
    )


def test_networks_that_were_cut_are_asked_by_their_share_and_the_best_of_a_seed_counts(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.8]])
    path = tmp_path / "runs/x/a.parquet"
    cuts = [{"member": m, "share": share, "train_accuracy": 0.1 * m + share} for m in range(3) for share in (0.0, 0.5)]
    members = [{"member": 0, "seed": 0}, {"member": 1, "seed": 0}, {"member": 2, "seed": 1}]
    run = records.read(path)
    records.write(path, replace(run, record=run.record | {"pruned": cuts, "members": members}))
    assert per_seed(made, "x", quantity("a", pruned=0.5, over="max")).to_dict() == pytest.approx({0: 0.6, 1: 0.7})


def test_a_claim_may_ask_the_rows_of_an_exhibit_s_table(tmp_path):
    asked = {"table": "t", "where": {"kind": ["a", "b"]}, "column": "holds"}
    whole, other = asked | {"equals": True}, asked | {"equals": "paper"}
    made = claims.Runs(tmp_path / "runs", tmp_path / "experiments")
    assert evaluate(made, tmp_path, claim(whole))["verdict"] == "not run"
    rows = pd.DataFrame({"kind": ["a", "b", "c"], "holds": [True, False, True], "paper": [True, False, False]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    found = [evaluate(made, tmp_path, claim(test)) for test in (whole, other)]
    assert [(one["verdict"], one["ours"]) for one in found] == [("not reproduced", "1 of 2 hold"), ("reproduced", "2 of 2 agree")]
    with pytest.raises(LookupError, match="no row of t has"):
        evaluate(made, tmp_path, claim(whole | {"where": {"kind": "z"}}))


def test_the_page_names_scale_counts_and_every_claim(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.91]])
    page = claims.markdown([evaluate(made, tmp_path, claim({"quantity": quantity(), "at_least": 0.5}))])
    assert (
        "1 claims. 1 at the papers' own size: 1 reproduced" in page and "Scale of the runs: smoke" in page and "| c (p) |" in page
    )


def test_a_claim_is_judged_on_the_main_label_and_armijos_rule_is_shown_beside_it(tmp_path):
    made = runs(tmp_path, **{"a": [[0.9]] * 3, "b": [[0.5]] * 3, "a-armijo": [[0.4]] * 3})
    test = {"quantity": quantity("a"), "is": "above", "than": quantity("b")}
    row = evaluate(made, tmp_path, claim(test))
    assert (row["verdict"], row["armijo"]) == ("reproduced", "not reproduced")
    assert claims.in_words(row) == "**reproduced** (Armijo's rule: not reproduced)"
    assert "armijo" not in evaluate(made, tmp_path, claim({"quantity": quantity("b"), "at_least": 0.1}))


def test_a_claim_about_speed_gives_steps_and_seconds(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.6, 0.9], [0.1, 0.9, 0.9]], b=[[0.1, 0.2, 0.9], [0.1, 0.2, 0.3]])
    test = {"quantity": quantity(epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    row = evaluate(made, tmp_path, claim(test, {"quantity": quantity("b", epoch=1), "at_least": 0}) | {"about": "speed"})
    assert row["pace"] == "SGD (a): 15 steps, 3 s; SGD (b): not in every seed; SGD (b): 10 steps, 2 s"
    assert f"({row['pace']})" in claims.markdown([row])


def test_the_pace_of_several_settings_is_that_of_the_one_whose_number_counts():
    rows = summary_rows([(0, 0, [0.1, 0.9]), (1, 0, [0.1, 0.2, 0.95])])
    assert Quantity("train_accuracy", over="max").pace(rows).to_numpy().tolist() == [[20, 4.0]]
    assert Quantity("train_accuracy", "steps_to", 0.9, over="min").pace(rows).to_numpy().tolist() == [[10, 2.0]]
    assert Quantity("train_accuracy", over="mean").pace(rows).to_numpy().tolist() == [[15, 3.0]]


def test_the_first_page_tells_question_by_question_what_was_judged_at_the_papers_size():
    row = {"seeds": 3, "says": "it trains", "paper": "0.9 %", "provisional": False, "ours": "SIBP 0.91 [0.9, 0.92]; 1"}
    rows = [
        row | {"question": "speed", "place": "A 4.1, Table 1", "verdict": "not reproduced", "size": "papers'"},
        row | {"question": "depth", "place": "J 5.2, Table 2", "verdict": "partly", "size": "papers'", "provisional": True},
        row | {"question": "depth", "place": "J 5.2, Figure 6", "verdict": "partly", "size": "papers'"},
        row | {"question": "depth", "place": "J 5.3, Figure 8", "verdict": "partly", "size": "smaller"},
        row | {"question": "theory", "place": "J 4.3, Theorem 4.1", "verdict": "partly", "size": "smaller"},
    ]
    first, deep, fast, theory, why = findings.page(rows, [{"title": "T"}, {"title": "Why", "finding": "Because."}])
    assert first["text"] == claims.counted(rows)
    assert (deep["title"], fast["title"]) == (findings.QUESTIONS["depth"], findings.QUESTIONS["speed"])
    assert deep["text"] == "2 of 3 claims have runs of the papers' size: 2 partly."
    assert [each["verdict"] for each in deep["claims"]] == ["partly, provisional", "partly"]
    said = {"verdict": "not reproduced", "place": "A,\N{NO-BREAK SPACE}Table\N{NO-BREAK SPACE}1", "ours": "SIBP 0.91; 1"}
    assert fast["claims"] == [said | {"says": "it trains", "paper": "0.9 %"}]
    assert (theory["text"], theory["claims"]) == ("0 of 1 claims have runs of the papers' size.", [])
    assert why == {"title": "Why.", "text": "Because.", "claims": []}
