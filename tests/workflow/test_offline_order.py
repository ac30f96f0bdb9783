"""In which order a machine without a network trains its jobs."""

import json
from types import SimpleNamespace

import pytest
import yaml

from sibp.experiments.jobs import Job
from tests.unit.tiny import experiment
from tests.workflow.conftest import ROOT
from tools.offline_gpu import order, training_jobs


def of(name: str, part: str, seconds: float) -> dict:
    return {"name": name, "part": part, "seconds": seconds}


JOBS = [of("small/a", "J", 2), of("small/b", "J", 1), of("big/a", "J", 9), of("tiny/a", "A", 1), of("s/a", "search", 1)]


def test_short_exhibits_come_first_within_a_part_and_the_jobs_of_one_stay_together():
    listed = [of("big/a", "J", 9), of("small/b", "J", 1), of("big/c", "J", 1), of("small/a", "J", 2), of("tiny/a", "A", 0)]
    assert [one["name"] for one in order.by_parts(listed)] == ["small/a", "small/b", "big/a", "big/c", "tiny/a"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tiny", "small/b", "J"], ["tiny/a", "small/b", "small/a", "big/a"]),
        (["all"], ["small/a", "small/b", "big/a", "tiny/a"]),
        (["P", "search"], ["s/a"]),  # nothing of P is left
    ],
)
def test_jobs_run_in_the_order_in_which_they_are_named(words, expected):
    assert [one["name"] for one in order.as_named(JOBS, words)] == expected


def test_a_name_of_nothing_is_refused():
    with pytest.raises(
        LookupError, match="part: got 'huge', need all, J, A, I, P, extra, search, or an exhibit or a job such as small/a"
    ):
        order.as_named(JOBS, ["huge"])


def test_most_claims_per_second_come_first_and_jobs_that_no_claim_needs_last():
    claims = {"1": ["big/a"], "2": ["tiny/a"], "3": ["small/a", "small/b"], "4": ["small/a", "small/b"], "5": ["elsewhere/a"]}
    chosen = [one["name"] for one in order.by_claims(JOBS, claims)]
    assert chosen == ["tiny/a", "small/a", "small/b", "big/a", "s/a"]  # 1 a second, 2 in three seconds, 1 in nine


def test_a_claim_waits_for_the_ensembles_of_three_seeds_and_the_others_come_after_all_that_claims_need():
    kinds = {"cpu": 10, "h100": 1}
    split = {"ensembles": [3, 3, 3, 1], "enough": 2, "kinds": kinds}
    single = {"ensembles": [1], "enough": 1, "kinds": kinds}
    units = order.ensembles([of("long/a", "J", 10) | split, of("short/a", "J", 9) | single])
    assert [(unit["name"], unit["seconds"], unit["kinds"]["h100"]) for unit in units[:4:3]] == [
        ("long/a.1of4", 3, 0.3),
        ("long/a.4of4", 1, 0.1),
    ]
    claims = order.claims_on(units, {"1": ["long/a"], "2": ["short/a"]})
    chosen = [one["name"] for one in order.by_claims(units, claims)]
    assert chosen == ["long/a.1of4", "long/a.2of4", "short/a.1of1", "long/a.3of4", "long/a.4of4"]  # 1 in six seconds, 1 in nine
    assert [one["name"] for one in order.shared(reversed(units), units, (2, 2))] == ["long/a.4of4", "long/a.2of4"]
    assert order.as_named(units, ["long/a"]) == units[:4]


@pytest.mark.parametrize(("ensemble", "seeds", "expected"), [(2, 5, 3), (4, 5, 2), (40, 5, 1), (2, 1, 1)])
def test_enough_ensembles_are_those_of_three_seeds(ensemble, seeds, expected):
    assert training_jobs.enough(Job(experiment(training__ensemble=ensemble, seeds=seeds), "sgd")) == expected  # two settings a seed


def test_what_is_done_costs_nothing():
    claims = {"1": ["big/a", "tiny/a"], "2": ["small/a"]}
    assert [one["name"] for one in order.by_claims(JOBS, claims, done=["big/a"])][:2] == ["tiny/a", "small/a"]


def test_the_open_claims_are_those_without_a_verdict_at_the_papers_size(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    claims = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
    decided, provisional, smaller = [claim["id"] for claim in claims if claim["exhibit"] == "j-table2"][:3]
    rows = [(decided, "papers'", False), (provisional, "papers'", True), (smaller, "smaller", False)]
    (tmp_path / "claims.json").write_text(json.dumps([dict(zip(("id", "size", "provisional"), row, strict=True)) for row in rows]))
    jobs = {"j-table2/sgd", "j-table2/sibp"}
    needed = training_jobs.open_claims(tmp_path / "claims.json", jobs)
    assert decided not in needed and {provisional, smaller} <= needed.keys()
    assert set().union(*needed.values()) <= jobs


def test_a_job_that_cannot_be_counted_comes_last_and_is_named(monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(training_jobs.cost, "estimate", fails)
    assert training_jobs.counted(SimpleNamespace(name="x/a", experiment=None, label="a"), "h100") == (float("inf"), 0)
    assert capsys.readouterr().err == "x/a: cannot be counted, so it comes last (no such operation)\n"
    jobs = [of("x/a", "J", float("inf")), *JOBS]
    assert [one["name"] for one in order.by_claims(jobs, {"1": ["x/a"], "2": ["big/a"]})][:2] == ["big/a", "x/a"]
    assert json.loads(json.dumps(jobs)) == jobs


# --- what travels with which call -----------------------------------------------------------------------------------------------
