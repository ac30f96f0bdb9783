"""Which of several runs of a job is kept, and which are not taken at all."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from sibp.experiments.jobs import Job
from sibp.experiments.schema import Trained
from sibp.experiments.strict import parse
from sibp.experiments.yaml_file import SpecError
from sibp.results import records
from sibp.training import runs
from tests.unit.tiny import mapping
from tools import merge_runs, reference
from tools.offline_gpu import parts

ALL = {"mlp/sgd": "1", "mlp/adam": "9", "cnn/sgd": "5"}
OTHER = "commit abcdef01 computes other numbers in the golden run mlp/sgd"


def trained(folder, label="sgd", **changes):
    """Train a label of the tiny experiment, changed, below a folder."""
    runs.run(parse(Trained, mapping(**changes) | {"scale": "full"}, "tiny"), label, threads=1, out=folder)
    return folder


@pytest.fixture
def experiments(tmp_path):
    """What the experiment file says today: three seeds of SGD."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(mapping(seeds=3)))
    return folder


def merge(tmp_path, experiments, check=lambda run: ""):
    outcomes = list(merge_runs.merge([tmp_path / "from"], tmp_path / "kept", check, experiments))
    assert [outcome.changed for outcome in outcomes] == [
        "tiny" if outcome.line.startswith("took ") else None for outcome in outcomes
    ]
    return [outcome.line for outcome in outcomes]


def seeds(tmp_path):
    return records.read_record(tmp_path / "kept/tiny/sgd.parquet")["seeds"]


def test_a_job_that_is_not_there_is_taken_with_its_own_record(tmp_path, experiments):
    trained(tmp_path / "from", seeds=2)
    assert merge(tmp_path, experiments) == ["took tiny/sgd: the papers' size, 2 of 3 seeds"]
    assert (tmp_path / "kept/tiny/sgd.parquet").read_bytes() == (tmp_path / "from/tiny/sgd.parquet").read_bytes()


def test_more_seeds_go_before_fewer(tmp_path, experiments):
    trained(tmp_path / "kept", seeds=2)
    trained(tmp_path / "from", seeds=3)
    assert merge(tmp_path, experiments) == [
        "took tiny/sgd: the papers' size, 3 of 3 seeds in place of the papers' size, 2 of 3 seeds"
    ]
    trained(tmp_path / "from", seeds=1)
    assert merge(tmp_path, experiments) == [
        "left tiny/sgd: the papers' size, 1 of 3 seeds; there is the papers' size, 3 of 3 seeds"
    ]
    assert seeds(tmp_path) == [0, 1, 2]


def test_the_papers_size_goes_before_any_number_of_seeds(tmp_path, experiments):
    trained(tmp_path / "kept", seeds=3, data__train=40)
    trained(tmp_path / "from", seeds=1)
    (line,) = merge(tmp_path, experiments)
    assert line.startswith("took tiny/sgd: the papers' size, 1 of 3 seeds in place of 40 of 60 training samples")


@pytest.mark.parametrize(
    ("key", "value"), [("sampling", "replacement"), ("dtype", "float64"), ("fixed_layers", 1), ("mode", "timed")]
)
def test_a_run_that_was_trained_in_another_way_is_refused(key, value, tmp_path, experiments):
    trained(tmp_path / "from", **{f"training__{key}": value})
    assert merge(tmp_path, experiments) == [
        f"refused tiny/sgd: was trained with another training.{key} than its experiment file has"
    ]


def test_a_run_with_other_options_is_refused(tmp_path, experiments):
    trained(tmp_path / "from", methods={"sgd": {"momentum": 0.5, "grid": {"eta": [0.1, 0.01]}}})
    assert merge(tmp_path, experiments) == ["refused tiny/sgd: was trained with another options than its experiment file has"]
    assert not (tmp_path / "kept").exists()


def test_a_run_by_other_code_is_refused_and_says_why(tmp_path, experiments):
    trained(tmp_path / "from")
    assert merge(tmp_path, experiments, lambda run: "commit 0 computes others") == ["refused tiny/sgd: commit 0 computes others"]


def test_a_run_of_the_older_form_is_taken_as_one_file(tmp_path, experiments):
    path = trained(tmp_path / "from") / "tiny/sgd.parquet"
    run = records.read(path)
    run.rows.to_parquet(path, index=False)  # as it was before: neither roles nor a record in it
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(run.record, indent=2))
    assert merge(tmp_path, experiments) == ["took tiny/sgd: the papers' size, 2 of 3 seeds"]
    kept = records.read(tmp_path / "kept/tiny/sgd.parquet")
    pd.testing.assert_frame_equal(kept.rows, run.rows, check_exact=True)
    assert (kept.record, kept.roles) == (run.record, run.roles)
    beside.write_text("{")
    assert merge(tmp_path, experiments)[0].startswith(f"refused {path}: its record is missing or damaged ({beside}: ")


def test_a_folder_to_merge_is_there_and_one_without_runs_is_named(tmp_path, monkeypatch):
    (tmp_path / "from").mkdir()
    (tmp_path / "costs" / "costs" / "x-cost").mkdir(parents=True)
    (tmp_path / "costs" / "costs" / "x-cost" / "one.json").write_text("{}")
    assert reference.empty([tmp_path / "from", tmp_path / "costs"]) == [tmp_path / "from"]
    trained(tmp_path / "from")
    assert reference.empty([tmp_path / "from"]) == []
    monkeypatch.setattr("sys.argv", ["reference.py", "--from", str(tmp_path / "from"), "typo", "--to", str(tmp_path / "kept")])
    with pytest.raises(SystemExit, match=r"^reference: got 'typo', need a folder that is there$"):
        reference.main()


def test_damaged_and_foreign_files_are_named(tmp_path, experiments):
    trained(tmp_path / "from")
    path = tmp_path / "from/tiny/sgd.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    trained(tmp_path / "from", "adam", methods={"adam": {}})
    lines = merge(tmp_path, experiments)
    assert len(lines) == 2 and all(line.startswith("refused ") for line in lines)
    assert "its record is missing or damaged" in lines[1] and "methods: got 'adam', need sgd" in lines[0]


@pytest.mark.parametrize(
    ("git", "then", "fault"),
    [
        ({"commit": "abcdef0123", "dirty": False}, {**ALL, "mlp/adam": "0"}, ""),
        (
            {"commit": "abcdef0123", "dirty": False},
            {**ALL, "mlp/sgd": "2"},
            "commit abcdef01 computes other numbers in the golden run mlp/sgd",
        ),
        ({"commit": "abcdef0123", "dirty": False}, {}, "commit abcdef01 computes other numbers in the golden run mlp/sgd"),
        ({"commit": "abcdef0123", "dirty": True}, {}, "it was trained from a checkout with changes to abcdef01"),
        ({"commit": None}, {}, "its record names no commit"),
    ],
)
def test_code_counts_as_todays_if_it_passes_its_methods_golden_runs(git, then, fault, tmp_path, experiments, monkeypatch):
    trained(tmp_path / "from")
    monkeypatch.setattr(merge_runs, "golden_bits", lambda commit: then if commit else ALL)
    run = merge_runs.read(tmp_path / "from/tiny/sgd.parquet", experiments)
    assert (
        merge_runs.other_code(merge_runs.Finished(replace(run.run, record=run.record | {"git": git}), run.ran, run.full)) == fault
    )


def test_a_commit_that_is_not_there_is_named():
    with pytest.raises(RuntimeError, match="commit 00000000 is not in this repository"):
        merge_runs.golden_bits("0" * 40)


def test_golden_runs_cover_a_variant_on_a_kind_of_network():
    job = Job(parse(Trained, mapping(methods={"sibp": {"variant": "newton"}}), "tiny"), "sibp")
    covering = merge_runs.covered_by(job)
    assert {"mlp/sibp", "mlp/sibp-float64"} <= covering
    assert not covering & {"cnn/sibp", "mlp/sibp-armijo", "mlp/sibp-l1", "mlp/sgd"}


PARTS = {"training__ensemble": 2, "seeds": 3, "methods": {"sgd": {"grid": {"eta": [0.1, 0.01, 1e30]}}}}  # ensembles end amid seeds


def test_parts_join_to_the_job_of_the_seeds_that_they_hold_whole_to_the_bit(tmp_path):
    whole = parse(Trained, mapping(**PARTS) | {"scale": "full"}, "tiny")
    for number in (1, 2, 3, 5):
        runs.run(whole, "sgd", threads=1, out=tmp_path / str(number % 2), ensemble=number)  # on two machines
    tables = sorted(tmp_path.rglob("*.parquet"))
    assert [table.stem for table in tables] == ["sgd.2of5", "sgd.1of5", "sgd.3of5", "sgd.5of5"]
    (table,) = parts.joined(tables, tmp_path / "scratch")
    run = records.read(table)
    rows, record = run.rows, run.record
    straight, about = runs.run(whole.model_copy(update={"seeds": 2}), "sgd", threads=1)
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), straight.drop(columns="seconds"), check_exact=True)
    assert run.roles == records.read(tables[0]).roles
    other = {"git", "ensembles", *records.CLOCK_KEYS}
    assert {k: v for k, v in record.items() if k not in {*other, "parts"}} == {k: v for k, v in about.items() if k not in other}
    assert [part["ensemble"] for part in record["parts"]] == [1, 2, 3, 5]
    assert record["ensembles"] == [[0, 1], [2, 3], [4, 5]]


def test_a_job_in_parts_is_kept_where_it_has_more_seeds(tmp_path, experiments):
    trained(tmp_path / "kept", seeds=1)
    whole = parse(Trained, mapping(seeds=3, training__ensemble=2) | {"scale": "full"}, "tiny")
    for number in (1, 2):
        runs.run(whole, "sgd", threads=1, out=tmp_path / "from", ensemble=number)
    words = "took tiny/sgd: the papers' size, 2 of 3 seeds in place of the papers' size, 1 of 3 seeds"
    assert merge(tmp_path, experiments) == [words]


def test_an_ensemble_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="tiny/sgd: ensemble: got 2, need 1 to 1"):
        runs.run(parse(Trained, mapping(), "tiny"), "sgd", out=tmp_path, ensemble=2)
