"""The verdicts: each rule of judgement on made-up runs, and the claims file itself."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))
from tests.unit.tiny import experiment, mapping, write  # noqa: E402
from workflow.scripts import claims  # noqa: E402

CLAIMS = yaml.safe_load((ROOT / "workflow" / "claims.yaml").read_text(encoding="utf-8"))


ASKED = {"id": "x", "methods": {name: {"method": "sgd"} for name in "abz"}}
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
                "eta": 0.1,
                "epoch": float(epoch),
                "step": 10 * epoch,
                "train_accuracy": math.nan if value is None else value,
                "status": "diverged" if value is None else "running",
            }
            for seed, curve in enumerate(seeds)
            for epoch, value in enumerate(curve)
        ]
        (folder / "runs" / "x").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / "runs" / "x" / f"{label}.parquet")
        record = RECORD | {"seeds": list(range(len(seeds))), "seconds": {"train": 1.0}}
        (folder / "runs" / "x" / f"{label}.json").write_text(json.dumps(record))
    write(folder, mapping(**ASKED), "experiments/x.yaml")
    return claims.Runs(folder / "runs", folder / "experiments")


def quantity(label="a", **more):
    return {"label": label, "metric": "train_accuracy", **more}


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


def test_the_interval_is_students():
    values = np.array([1.0, 2.0, 4.0])
    left, right = claims.interval(values)
    half = 4.302653 * values.std(ddof=1) / math.sqrt(3)
    assert (left, right) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


def test_last_best_epoch_and_the_first_to_reach_a_mark(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9, 0.8], [0.1, 0.2, 0.3]])
    take = lambda **how: claims.per_seed(made, "x", quantity(**how)).tolist()  # noqa: E731
    assert take() == [0.8, 0.3]
    assert take(best=True) == [0.9, 0.3]
    assert take(epoch=1) == [0.9, 0.2]
    assert take(epochs_to=0.5) == [1.0, math.inf]
    assert take(steps_to=0.15) == [10.0, 10.0]


def test_a_diverged_member_fails_every_test_but_the_one_that_asks_for_it(tmp_path):
    made = runs(tmp_path, a=[[0.1, None]])
    assert math.isnan(claims.per_seed(made, "x", quantity()).iloc[0])
    assert claims.run_test(made, "x", {"quantity": quantity(), "at_least": 0.0}).result == "fail"
    failed = {"quantity": quantity(failed=True, chance=0.2), "at_least": 1}
    assert claims.run_test(made, "x", failed).result == "pass"


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
    assert claims.run_test(made, "x", {"quantity": quantity("a"), "is": "above", "than": quantity("b")}).result == result


def test_to_arrive_is_below_never_and_never_is_not_below_never(tmp_path):
    made = runs(tmp_path, a=[[0.1, 0.9]], b=[[0.1, 0.2]])
    sooner = {"quantity": quantity("a", epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    assert claims.run_test(made, "x", sooner).result == "pass"
    neither = {"quantity": quantity("b", epochs_to=0.8), "is": "below", "than": quantity("b", epochs_to=0.8)}
    assert claims.run_test(made, "x", neither).result == "fail"


def claim(*tests):
    texts = {"id": "c", "place": "p", "says": "s", "paper": "v", "criterion": "k"}
    return texts | {"exhibit": "x", "runs": "x", "tests": list(tests)}


def test_verdicts(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.91]])
    good, bad = {"quantity": quantity(), "at_least": 0.5}, {"quantity": quantity(), "at_least": 0.99}
    missing = {"quantity": quantity("z"), "at_least": 0.5}
    found = [claims.evaluate(made, tmp_path, claim(*tests))["verdict"] for tests in ((good,), (good, bad), (bad,), (good, missing))]
    assert found == ["reproduced", "partly", "not reproduced", "not run"]


@pytest.mark.parametrize(
    ("change", "size"),
    [
        ({}, "papers'"),
        ({"seeds": 9}, "papers'"),
        ({"training__evaluate_every": {"epochs": 2}}, "papers'"),
        ({"training__epochs": 50}, "smaller"),
        ({"data__train": 100}, "smaller"),
        ({"network__widths": [784, 100, 10]}, "smaller"),
        ({"methods": {"a": {"method": "sgd", "training": {"epochs": 3}}}}, "smaller"),
    ],
)
def test_a_verdict_says_whether_its_runs_had_the_papers_size(change, size, tmp_path):
    made = runs(tmp_path, a=[[0.9]])
    write(tmp_path, mapping(**(ASKED | change)), "experiments/x.yaml")
    row = claims.evaluate(made, tmp_path, claim({"quantity": quantity(), "at_least": 0.5}))
    assert (row["verdict"], row["size"]) == ("reproduced", size)


def test_claims_are_counted_by_size_and_verdict():
    made = [("reproduced", "papers'"), ("partly", "papers'"), ("partly", "smaller"), ("partly", "smaller"), ("not run", "")]
    told = claims.counted([{"verdict": verdict, "size": size} for verdict, size in made])
    assert told.startswith("5 claims. 2 at the papers' own size: 1 reproduced, 1 partly. 2 at a smaller size, ")
    assert told.endswith(": 2 partly. 1 without runs: 1 not run.")


def test_networks_that_were_cut_are_asked_by_their_share_and_the_best_of_a_seed_counts(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.8]])
    path = tmp_path / "runs/x/a.json"
    cuts = [{"member": m, "share": share, "train_accuracy": 0.1 * m + share} for m in range(3) for share in (0.0, 0.5)]
    members = [{"member": 0, "seed": 0}, {"member": 1, "seed": 0}, {"member": 2, "seed": 1}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pruned": cuts, "members": members}))
    assert claims.per_seed(made, "x", quantity("a", pruned=0.5)).to_dict() == pytest.approx({0: 0.6, 1: 0.7})


def test_a_claim_may_ask_the_rows_of_an_exhibit_s_table(tmp_path):
    asked = {"table": "t", "where": {"kind": ["a", "b"]}, "column": "holds"}
    whole, other = asked | {"equals": True}, asked | {"equals": "paper"}
    made = claims.Runs(tmp_path / "runs", tmp_path / "experiments")
    assert claims.evaluate(made, tmp_path, claim(whole))["verdict"] == "not run"
    rows = pd.DataFrame({"kind": ["a", "b", "c"], "holds": [True, False, True], "paper": [True, False, False]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    found = [claims.evaluate(made, tmp_path, claim(test)) for test in (whole, other)]
    assert [(one["verdict"], one["ours"]) for one in found] == [("not reproduced", "1 of 2"), ("reproduced", "2 of 2")]
    with pytest.raises(LookupError, match="no row of t has"):
        claims.evaluate(made, tmp_path, claim(whole | {"where": {"kind": "z"}}))


def test_the_page_names_scale_counts_and_every_claim(tmp_path):
    made = runs(tmp_path, a=[[0.9], [0.91]])
    page = claims.markdown([claims.evaluate(made, tmp_path, claim({"quantity": quantity(), "at_least": 0.5}))])
    assert (
        "1 claims. 1 at the papers' own size: 1 reproduced" in page and "Scale of the runs: smoke" in page and "| c (p) |" in page
    )


def test_there_are_thirty_claims_with_names_of_their_own():
    assert len(CLAIMS) >= 30
    assert len({one["id"] for one in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize("one", [one for one in CLAIMS if "runs" in one], ids=lambda one: one["id"])
def test_every_claim_asks_for_labels_and_measures_that_its_runs_have(one):
    path = ROOT / "workflow" / "experiments" / f"{one['runs']}.yaml"
    assert (ROOT / "workflow" / "experiments" / f"{one['exhibit']}.yaml").exists()
    for test in one["tests"]:
        for asked in filter(None, (test["quantity"], test.get("than"))):
            experiment = yaml.safe_load(path.with_stem(asked.get("exhibit", one["runs"])).read_text(encoding="utf-8"))
            method = experiment["methods"][asked["label"]]
            measured = (experiment["training"] | method.get("training", {}))["measure"]
            assert asked["metric"].removesuffix("_accuracy").removesuffix("_loss") in measured
            for name, values in asked.get("where", {}).items():
                offered = method["grid"][name] if name in method.get("grid", {}) else [method[name]]
                assert set(values if isinstance(values, list) else [values]) <= set(offered)
