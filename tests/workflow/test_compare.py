"""Fresh results against the shipped ones, and exhibits drawn from the shipped runs."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from sibp.results import archive, records
from sibp.results import summary as summaries
from sibp.training import runs
from tests.unit.tiny import experiment
from tests.workflow.conftest import ROOT
from tools import compare, redraw, reference
from workflow.figures.exhibit import Exhibit


def summary(**changes):
    """Return a summary of two settings, with changes to the first one's row."""
    front = {"exhibit": "tiny", "method": "sgd", "algorithm": "sgd", "eta": 0.1, "epoch": 2.0, "step": 6}
    row = front | {"n": 5, "test_loss_mean": 2.0, "test_loss_std": 0.1, "test_accuracy_mean": 0.5, "test_accuracy_std": 0.02}
    early = row | {"step": 3, "test_accuracy_mean": 0.1}
    return pd.DataFrame([early, row | changes, row | {"eta": 0.01, "lam": np.nan}])


def wrong(ours, theirs):
    table = compare.compare(ours, theirs)
    return table[table["differs"]]["metric"].tolist()


def test_equal_results_agree_in_every_setting_and_metric():
    table = compare.compare(summary(), summary())
    assert len(table) == 4
    assert not table["differs"].any()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({"test_accuracy_mean": 0.51}, {}, []),  # Welch: t = 0.8
        ({"test_accuracy_mean": 0.56}, {}, ["test_accuracy"]),  # t = 4.7
        ({"test_accuracy_mean": 0.56, "test_accuracy_std": 0.2}, {}, []),
        ({"test_accuracy_mean": 0.5005, "test_accuracy_std": 0.0}, {"test_accuracy_std": 1e-9}, []),  # certain, but close
        ({"test_accuracy_mean": 0.502, "test_accuracy_std": 0.0}, {"test_accuracy_std": 0.0}, ["test_accuracy"]),
        ({"n": 1, "test_accuracy_mean": 0.509}, {}, []),
        ({"n": 1, "test_accuracy_mean": 0.511}, {}, ["test_accuracy"]),
        ({"n": 1, "test_loss_mean": 2.019}, {}, []),  # relative to 2
        ({"n": 1, "test_loss_mean": 2.021}, {}, ["test_loss"]),
        ({"n": 0, "test_loss_mean": np.nan, "test_accuracy_mean": np.nan}, {}, ["test_loss", "test_accuracy"]),
        ({"test_loss_mean": np.nan}, {"test_loss_mean": np.nan}, []),
    ],
)
def test_means_differ_by_welch_s_test_or_by_the_tolerance_of_single_runs(ours, theirs, expected):
    assert wrong(summary(**ours), summary(**theirs)) == expected


def test_other_lengths_are_not_compared():
    assert compare.compare(summary().assign(step=9), summary()).empty


def test_the_exit_code_says_how_it_ended(tmp_path, monkeypatch, capsys):
    fresh, reference = tmp_path / "fresh", tmp_path / "reference"
    for folder in (fresh, reference):
        folder.mkdir()
    (reference / "tiny.csv.gz").write_bytes(gzip.compress(summary().to_csv(index=False).encode()))

    def code(allowed="0", *others):
        folders = ["--fresh", str(fresh), "--reference", str(reference)]
        monkeypatch.setattr("sys.argv", ["compare.py", *folders, "--allowed", allowed, *others])
        with pytest.raises(SystemExit) as ended:
            compare.main()
        return ended.value.code

    assert code() == 2
    summary().to_csv(fresh / "tiny.csv", index=False)
    assert code() == 0
    summary(test_accuracy_mean=0.9).to_csv(fresh / "tiny.csv", index=False)
    assert code() == 1
    assert "sgd" in capsys.readouterr().out
    assert code("0.25") == 0
    assert code("0.25", "--experiments", "tiny", "tny") == 2
    assert capsys.readouterr().err == "compare: experiments that both have: got 'tny', need tiny; did you mean 'tiny'?\n"


def test_packed_runs_come_back(tmp_path):
    asked = experiment(methods={"sgd": {"grid": {"eta": [0.1, 0.01]}}, "sibp": {"lam": 0.3}})
    for label in asked.methods:
        runs.run(asked, label, out=tmp_path / "runs")
    archive.pack(tmp_path / "runs", tmp_path / "packed")
    assert sorted(file.name for file in (tmp_path / "packed").iterdir()) == ["tiny.parquet"]
    assert archive.unpack(tmp_path / "packed", tmp_path / "back") == ["tiny"]
    for label in asked.methods:
        run, again = (records.read(tmp_path / f"{folder}/tiny/{label}.parquet") for folder in ("runs", "back"))
        rows, back = run.rows, again.rows
        exact = ["eta", "seed", "step", "status"]
        pd.testing.assert_frame_equal(back[exact], rows[exact], check_exact=True)
        pd.testing.assert_frame_equal(back, rows, rtol=1e-6)
        assert (again.record, again.roles) == (run.record, run.roles)


def test_runs_have_the_digits_that_are_kept_before_anything_is_drawn_from_them(tmp_path):
    runs.run(experiment(), "sgd", threads=1, out=tmp_path / "runs")
    assert reference.as_kept(tmp_path / "runs") == ["tiny"]
    drawn = records.read(tmp_path / "runs/tiny/sgd.parquet")
    archive.pack(tmp_path / "runs", tmp_path / "packed")
    kept = archive.read(tmp_path / "packed/tiny.parquet")["sgd"]
    pd.testing.assert_frame_equal(drawn.rows, kept.rows, check_exact=True)
    assert drawn.record == kept.record


def test_the_shipped_summaries_are_those_of_the_shipped_runs():
    shipped = ROOT / "results/reference"
    for file in (shipped / "runs").glob("*.parquet"):
        if file.stem == "j-fig3":  # has more rows than all others together
            continue
        finished = archive.read(file)
        curves = [summaries.curve(finished[label]) for label in sorted(finished, key="{}.parquet".format)]  # as their files lie
        fresh = io.StringIO(summaries.union(curves).to_csv(index=False))
        kept = pd.read_csv(shipped / f"summary/{file.stem}.csv.gz")
        pd.testing.assert_frame_equal(pd.read_csv(fresh), kept, rtol=1e-12, atol=1e-12)  # the runs' own digits would be off by 1e-8


def test_what_an_exhibit_is_drawn_from_is_read_from_its_file():
    assert redraw.needed(Exhibit("j-table2")) == {"j-table2"}
    assert redraw.needed(Exhibit("j-fig2")) == set()  # it trains nothing
