"""Curves that are written while a run trains."""

import builtins
import math

import pytest

from sibp import cli
from sibp.results import tensorboard
from sibp.results.progress import Progress
from sibp.training import runs
from tests.unit.tiny import experiment, mapping, write


class Writer:
    """Keeps what it is given."""

    def __init__(self):
        self.points, self.texts, self.closed = {}, {}, False

    def add_scalar(self, tag, scalar_value, global_step):
        self.points.setdefault(tag, []).append((global_step, scalar_value))

    def add_text(self, tag, text_string):
        self.texts[tag] = text_string

    def flush(self):
        assert not self.closed

    def close(self):
        self.closed = True


@pytest.fixture
def curves():
    """Folder -> writer, and the progress that opens them."""
    opened = {}

    def open_writer(name):
        assert name not in opened
        return opened.setdefault(name, Writer())

    return opened, tensorboard.Live(Progress(), open_writer)


def test_each_member_has_a_series_of_each_measure_with_the_points_of_its_record(curves):
    opened, observer = curves
    rows, _ = runs.run(experiment(training__evaluate_every={"steps": 2}), "sgd", progress=observer)
    assert sorted(opened) == [f"tiny/sgd/{member:03}" for member in range(4)]
    for member, group in rows.groupby("member"):
        writer = opened[f"tiny/sgd/{member:03}"]
        assert writer.points.keys() == {"train_loss", "train_accuracy", "test_loss", "test_accuracy"}
        for name, points in writer.points.items():
            assert points == list(zip(group["step"], group[name], strict=True))
        assert writer.closed
    assert opened["tiny/sgd/001"].texts["member"].startswith("seed 0, eta 0.01")


def test_points_come_while_the_run_trains(curves):
    opened, observer = curves
    seen = []
    observer.observer.evaluated = lambda metrics: seen.append({name: len(one.points["train_loss"]) for name, one in opened.items()})
    runs.run(experiment(training__evaluate_every={"steps": 2}, seeds=1), "sgd", progress=observer)
    assert seen[-1] == {"tiny/sgd/000": 3, "tiny/sgd/001": 3}  # all but the last, which is being told


def test_a_member_that_has_diverged_goes_on_as_nan(curves):
    opened, observer = curves
    runs.run(experiment(methods={"sgd": {"grid": {"eta": [0.1, 1e30]}}}, seeds=1), "sgd", progress=observer)
    fine, lost = (opened[f"tiny/sgd/{member:03}"].points["train_loss"] for member in (0, 1))
    assert [step for step, _ in fine] == [step for step, _ in lost]
    assert math.isfinite(fine[-1][1]) and math.isnan(lost[-1][1])


def test_the_labels_of_a_run_have_folders_of_their_own_and_the_other_is_told_all(curves):
    opened, observer = curves
    heard = []
    for name in ("start", "advance", "evaluated", "recorded", "note", "finish"):
        setattr(observer.observer, name, lambda *words, name=name: heard.append(name))
    observer.note("one")
    asked = experiment(methods={"sgd": {"eta": 0.1}, "adam": {}}, seeds=1)
    for label in asked.methods:
        runs.run(asked, label, progress=observer)
    assert sorted(opened) == ["tiny/adam/000", "tiny/sgd/000"]
    assert set(heard) == {"start", "advance", "evaluated", "recorded", "note", "finish"}


def test_the_records_are_those_of_a_run_without_curves(curves):
    plain = runs.run(experiment(), "sgd")[0].drop(columns="seconds")
    assert runs.run(experiment(), "sgd", progress=curves[1])[0].drop(columns="seconds").equals(plain)


def test_a_missing_package_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, mapping(), "workflow/experiments/tiny.yaml")
    write(tmp_path, {"name": "full"}, "workflow/scales/full.yaml")
    usual = builtins.__import__

    def without(name, *rest):
        if name.startswith(("torch.utils.tensorboard", "tensorboard")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    words = [
        "run",
        str(path),
        "--scale",
        "full",
        "--out",
        str(tmp_path / "r"),
        "--tensorboard",
        str(tmp_path / "t"),
        "--device",
        "cpu",
    ]
    assert cli.main(words) == 2
    line = "sibp: error: tensorboard: the package is not installed: python -m pip install tensorboard\n"
    assert capsys.readouterr().err == line
    assert not (tmp_path / "r").exists() and not (tmp_path / "t").exists()
