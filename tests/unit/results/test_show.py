"""`sibp show`: curves from records, drawn in plain characters, as a picture and as a page that needs no other file."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from sibp import cli
from sibp.results import archive, chart, curves, records
from tests.unit.tiny import as_run

WORD = "<script>&"  # in a title, to see that it is escaped


def rows(label, etas, seeds=2, epochs=3, diverged=(), measures=("train_loss", "test_accuracy")):
    """Return a run's table: every member's values are its eta plus its seed / 10 plus the epoch."""
    table = []
    for member, (seed, eta) in enumerate((seed, eta) for seed in range(seeds) for eta in etas):
        for epoch in range(epochs + 1):
            lost = member in diverged and epoch == epochs
            values = dict.fromkeys(measures, float("nan") if lost else eta + seed / 10 + epoch)
            names = {"exhibit": "mine", "method": label, "algorithm": label, "member": member, "seed": seed, "eta": eta}
            status = "diverged" if lost else "done" if epoch == epochs else "running"
            when = {"epoch": float(epoch), "step": 10 * epoch, "samples": 0, "seconds": 0.5 * epoch}
            table.append(names | when | values | {"status": status})
    return pd.DataFrame(table)


def write(folder, label, table, record=None):
    records.write(folder / f"{label}.parquet", as_run(table, record))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "mine", "sgd", rows("sgd", [0.5, 0.25], diverged=[0]), {"settings": {"title": WORD}})
    write(tmp_path / "mine", "adam", rows("adam", [0.125]))
    return tmp_path / "mine"


def test_an_archive_of_an_experiment_is_shown_as_its_folder_and_several_are_refused(folder):
    archive.pack(folder.parent, folder.parent / "packed")
    whole, packed = curves.read(folder), curves.read(folder.parent / "packed/mine")
    assert packed.name == "mine" and packed.records == whole.records
    assert [curve.name for curve in packed.curves] == [curve.name for curve in whole.curves]
    assert packed.curves[1].last("train_loss") == pytest.approx(whole.curves[1].last("train_loss"))
    (folder.parent / "packed/other.parquet").write_bytes((folder.parent / "packed/mine.parquet").read_bytes())
    with pytest.raises(
        records.RecordError, match=r"holds the runs of several experiments, show one: .*mine.parquet, .*other.parquet"
    ):
        curves.read(folder.parent / "packed")


def test_a_curve_is_the_mean_over_the_seeds_that_did_not_diverge(folder):
    runs = curves.read(folder)
    assert runs.name == "mine" and runs.measures == ["train_loss", "test_accuracy"]
    assert [curve.name for curve in runs.curves] == ["adam", "sgd eta=0.5", "sgd eta=0.25"]
    assert [(curve.seeds, curve.diverged) for curve in runs.curves] == [(2, 0), (2, 1), (2, 0)]
    assert [curve.last("train_loss") for curve in runs.curves] == pytest.approx([3.175, 3.6, 3.3])
    assert runs.curves[2].table["epoch"].tolist() == [0, 1, 2, 3]
    assert runs.curves[2].table["train_loss"].tolist() == pytest.approx([0.3, 1.3, 2.3, 3.3])


def test_a_path_may_be_a_run_an_experiment_or_the_folder_above(folder):
    for path in (folder / "sgd.parquet", folder / "sgd"):
        assert curves.find(path) == [folder / "sgd.parquet"]
    for path in (folder, folder.parent):
        assert curves.find(path) == [folder / "adam.parquet", folder / "sgd.parquet"]


def test_the_folder_at_hand_is_a_path_of_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert curves.read(Path()).name == "mine"


def test_a_path_without_runs_is_one_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        with pytest.raises(records.RecordError, match=rf"{name}: .*need a folder DIR/<id> that 'sibp run --out DIR' has written"):
            curves.find(tmp_path / name)
    write(tmp_path / "other", "sgd", rows("sgd", [1]))
    with pytest.raises(records.RecordError, match=r"several experiments, show one: .*mine, .*other$"):
        curves.find(tmp_path)


@pytest.mark.parametrize("width", [1, 40, 80, 133])
def test_no_line_is_wider_than_the_terminal_and_all_is_plain(folder, width):
    text = chart.text(curves.read(folder), "test_accuracy", width=width)
    assert max(map(len, text.splitlines())) <= max(width, chart.NARROWEST)
    assert text.isascii()


def test_the_chart_s_corners_are_the_smallest_and_largest_values(folder):
    lines = chart.text(curves.read(folder), "test_accuracy", "step").splitlines()
    cells = [line.partition("|")[2] for line in lines[1 : 1 + chart.HEIGHT]]
    assert lines[1].startswith("      3.6 |") and lines[chart.HEIGHT].startswith("    0.175 |")
    assert cells[0][-1] == "b" and cells[-1][0] == "a"
    assert lines[chart.HEIGHT + 2].split() == ["0", "30", "step"]
    assert lines[-3:] == [
        "  a  adam              3.175  2 seeds",
        "  b  sgd eta=0.5         3.6  1 of 2 seeds",
        "  c  sgd eta=0.25        3.3  2 seeds",
    ]


def test_more_curves_than_letters_keep_each_label_s_best(tmp_path):
    write(tmp_path, "many", rows("many", [float(k) for k in range(20)]))
    write(tmp_path, "one", rows("one", [-5.0]))
    runs = curves.read(tmp_path)
    best = chart.best(runs.curves, "test_accuracy")
    assert [curve.name for curve in best] == [*(f"many eta={k}" for k in range(12, 20)), "one"]
    assert [curve.name for curve in chart.best(runs.curves, "train_loss")][-1] == "one"
    assert len(chart.text(runs, "test_accuracy").splitlines()) == chart.HEIGHT + 4 + 21


def test_where_all_diverged_the_chart_says_so(tmp_path):
    write(tmp_path, "sgd", rows("sgd", [1.0], diverged=[0, 1]))
    text = chart.text(curves.read(tmp_path), "train_loss")
    assert "(no values: every seed diverged)" in text and re.search(r"sgd +diverged  0 of 2 seeds", text)
    assert math.isnan(curves.read(tmp_path).curves[0].last("train_loss"))


def test_a_loss_over_decades_has_a_logarithmic_axis(tmp_path):
    table = rows("sgd", [1.0], seeds=1)
    table["train_loss"] = [1.0, 0.1, 0.01, 0.001]
    write(tmp_path, "sgd", table)
    cells = [line.partition("|")[2].strip() for line in chart.text(curves.read(tmp_path), "train_loss").splitlines()[1:17]]
    assert all(cells)  # a straight line, which passes every row


def test_the_command_draws_and_writes_a_picture_and_a_page(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    files = [str(tmp_path / name) for name in ("a.png", "a.html")]
    assert cli.main(["show", str(folder), "--png", files[0], "--html", files[1]]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "mine: test accuracy against epoch, mean over the seeds" and out[-2:] == files
    assert max(map(len, out[:-2])) <= 60
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "a.html").read_text()
    assert "<svg" in page and WORD not in page and "&lt;script&gt;&amp;" in page and "<td>sgd eta=0.25</td>" in page
    assert not re.search(r"<(script|link|img|iframe|object)|(src|href)=\"(?!#)|@import|url\((?!#)|<!DOCTYPE svg", page)


def test_the_record_of_one_run_or_of_several_is_printed_as_json(folder, capsys):
    assert cli.main(["show", str(folder / "sgd.parquet"), "--record"]) == 0
    assert json.loads(capsys.readouterr().out) == {"settings": {"title": WORD}}
    assert cli.main(["show", str(folder), "--record"]) == 0
    assert json.loads(capsys.readouterr().out) == {"adam": {}, "sgd": {"settings": {"title": WORD}}}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--measure", "test_acuracy"],
            "measure: got 'test_acuracy', need train_loss or test_accuracy; did you mean 'test_accuracy'?",
        ),
        (["--png", "a.gif"], "png: "),
        (["--record", "--png", "a.png"], "png: has no effect with --record, leave one of the two out"),
        (["--axis", "step", "--record"], "axis: has no effect with --record"),
        (["--html", "/dev/null/a.html"], "html: cannot write to /dev/null"),
    ],
)
def test_bad_words_are_one_line(folder, tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["show", str(folder), *words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"sibp: error: {line}")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine"]


def test_without_matplotlib_pictures_say_what_to_install_and_the_chart_is_there(folder, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert cli.main(["show", str(folder), "--png", str(folder / "a.png")]) == 2
    said = capsys.readouterr()
    assert said.out and said.err == "sibp: error: show: pictures need the package matplotlib: python -m pip install matplotlib\n"
