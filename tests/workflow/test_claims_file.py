"""The claims file: each claim asks for what its runs have, and the papers' numbers stand once."""

import math
import re

import pytest
import yaml

from sibp.experiments.yaml_file import SpecError
from sibp.results.quantities import DURATIONS, Quantity
from tests.workflow.conftest import ROOT
from workflow.figures import papers
from workflow.scripts import claims_file

CLAIMS = yaml.safe_load((ROOT / "workflow" / "claims.yaml").read_text(encoding="utf-8"))


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
            training = experiment["training"] | method.get("training", {})
            wanted = Quantity.parse({key: value for key, value in asked.items() if key not in ("label", "exhibit")})
            assert wanted.metric.removesuffix("_accuracy").removesuffix("_loss") in training["measure"]
            assert wanted.take != "pruned" or wanted.at in training["prune"]
            for name, values in wanted.where.items():
                offered = method["grid"][name] if name in method.get("grid", {}) else [method[name]]
                assert set(values) <= set(offered)


def test_a_claim_about_nothing_that_is_asked_is_refused(tmp_path):
    (tmp_path / "papers.yaml").write_text("{}")
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([CLAIMS[0] | {"question": "dept"}]))
    with pytest.raises(SpecError, match=r"^claims\.yaml: j-table2-sgd-large: question: got 'dept', need .*did you mean 'depth'\?$"):
        claims_file.load(tmp_path / "claims.yaml")


PLAIN, OTHER = {"label": "sgd", "metric": "train_loss"}, {"label": "sibp", "metric": "train_loss"}
FORMS = "quantity at_least, quantity at_most, quantity near within, quantity is than, quantity is by than, table column equals, "


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"abuot": "speed"}, "abuot: unknown key, need one of id, .*; did you mean 'about'\\?"),
        ({"runs": None}, "runs: missing, the tests ask a quantity of runs"),
        ({"tests": [{"quantity": PLAIN, "is": "abvoe", "than": OTHER}]}, r"tests\[0\]\.is: got 'abvoe', need above or below.*"),
        ({"tests": [{"quantity": PLAIN, "is": "above", "bye": 0.1, "than": OTHER}]}, r"tests\[0\]\.bye: unknown key, .* is, by, than, .*"),
        ({"tests": [{"quantity": PLAIN}]}, rf"tests\[0\]: got quantity, need the keys of one of: {FORMS}.*"),
        ({"tests": [{"quantity": PLAIN, "near": 0.5}]}, r"tests\[0\]: got quantity near, need .*"),
        ({"tests": [{"quantity": PLAIN | {"epochs_too": 1}, "at_most": 5}]}, r"tests\[0\]\.quantity: quantity: got 'epochs_too', need .*"),
        ({"tests": []}, r"tests: got \[\], need a list of at least 1"),
        ({"numbers": {"a": {"row": "SGD, lr", "colum": 1, "metric": "test_accuracy"}}}, r"numbers: papers\.yaml: got 'colum', need .*"),
    ],
)  # fmt: skip
def test_a_claim_that_is_written_wrong_gets_one_line_with_its_name(change, line):
    with pytest.raises(SpecError, match=rf"^claims\.yaml: j-table2-sgd-large: {line}$") as caught:
        claims_file.with_numbers(claims_file.claim(CLAIMS[0] | change), PAPERS)
    assert "\n" not in str(caught.value)


PAPERS = papers.read()
READY = claims_file.load(ROOT / "workflow" / "claims.yaml")


def results(entry):
    """Return the numbers of a paper's entry that are results: not its step sizes, which a claim's text and tests must name."""
    if isinstance(entry, dict):
        chosen = {key: value for key, value in entry.items() if key not in ("columns", "fixed", "eta", "epoch")}
        return {number for value in chosen.values() for number in results(value)}
    if isinstance(entry, list):
        return {number for value in entry for number in results(value)}
    return {float(entry)} if isinstance(entry, int | float) and not isinstance(entry, bool) else set()


def sizes(entry):
    """Return the step sizes of an entry."""
    return {float(value) for value in entry.get("columns", [])} | {
        float(value) for row in entry.get("rows", []) for value in row.get("fixed", {}).values()
    }


def repeated(one, entry):
    """Return the numbers in a claim's texts and bounds that its exhibit's entry has."""
    words = re.sub(r"\{[^}]*\}", "", f"{one['says']} {one['paper']}")
    texts = [(float(number), percent) for number, percent in re.findall(r"(\d+(?:\.\d+)?(?:e-?\d+)?) ?(%?)", words)]
    stated = {number / 100 if percent else number for number, percent in texts}
    bounds = {test[key] for test in one["tests"] for key in claims_file.BOUNDS if isinstance(test.get(key), float)}
    return {other for other in results(entry) - sizes(entry) if any(math.isclose(n, other) for n in stated | bounds)}


@pytest.mark.parametrize("one", CLAIMS, ids=lambda one: one["id"])
def test_no_claim_repeats_a_number_that_the_papers_file_has(one):
    assert repeated(one, PAPERS[one["exhibit"]]) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"paper": "about 0.967"},
        {"says": "SIBP tests at 96.7 %"},
        {"tests": [{"quantity": {"label": "a", "metric": "train_accuracy"}, "near": 0.967, "within": 0.005}]},
    ],
)
def test_a_repeated_number_is_noticed(change):
    (one,) = (one for one in CLAIMS if one["id"] == "j-fig10-test")
    assert repeated(one | change, PAPERS["j-fig10"]) == {0.967}


def test_a_claim_s_numbers_come_from_the_papers_file():
    ready = {claim.id: claim for claim in READY}
    assert ready["j-table2-sgd-0.1"].paper == "0.9842 / 0.9757"
    assert [test.near for test in ready["j-table2-sgd-0.1"].tests] == [0.9842, 0.9757]
    assert ready["j-fig10-test"].says.startswith("SIBP tests at 96.7 % after 20 epochs")
    assert ready["i-table1-sgd-1"].says.endswith("it trains (A has 0.9835 / 0.9760)")
    assert ready["j-table2-best"].paper == "0.9830 against 0.9826 (SGD) and 0.9732 (ProxBP)"
    assert not any("{" in claim.says + claim.paper for claim in READY)


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ({"row": "SGD, lr", "column": 3, "metric": "test_accuracy"}, "got 0 numbers, need 1"),
        ({"row": "SGD, lr", "metric": "test_accuracy"}, "got 3 numbers, need 1 or over: min or max"),
        ({"entry": "ticks"}, "entry: got 'ticks', need one of metrics, bold, columns, rows"),
        ({"label": "sgd", "metric": "test_accuracy"}, "got 0 numbers, need 1"),
    ],
)
def test_a_number_that_the_papers_do_not_have_is_refused_with_the_claim_s_name(reference, fault):
    (one,) = (one for one in CLAIMS if one["id"] == "j-table2-sgd-1")
    with pytest.raises(SpecError, match=rf"^claims\.yaml: j-table2-sgd-1: numbers: papers\.yaml: .*{fault}$"):
        claims_file.with_numbers(claims_file.claim(one | {"numbers": {"train": reference, "test": reference}}), PAPERS)


def test_a_name_without_a_number_is_refused():
    (one,) = (one for one in CLAIMS if one["id"] == "j-table2-sgd-1")
    with pytest.raises(SpecError, match=r"^claims\.yaml: j-table2-sgd-1: numbers: train$"):
        claims_file.with_numbers(claims_file.claim(one | {"numbers": {}}), PAPERS)


def test_no_number_of_a_figure_stands_twice():
    for entry in PAPERS.values():
        stated = papers.values(entry)
        assert len({(value.label, value.quantity.metric, value.quantity.take, value.quantity.at) for value in stated}) == len(
            stated
        )


@pytest.mark.parametrize("one", CLAIMS, ids=lambda claim: claim["id"])
def test_every_claim_about_speed_says_so(one):
    compared = [test[key] for test in one["tests"] if "than" in test for key in ("quantity", "than")]
    speaks = re.search("faster|fastest|sooner|fewer epochs|takes off before", one["says"])
    assert (one.get("about") == "speed") == bool(speaks or any(set(mapping) & set(DURATIONS) for mapping in compared))
