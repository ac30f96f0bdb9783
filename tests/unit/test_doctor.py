"""The doctor's report and its count of work."""

import json
import math

import pytest
import torch

from sibp import cli, data, doctor
from sibp.doctor import Cost
from sibp.nets import papers
from tests.unit.tiny import experiment, mapping, write

FORWARD = 2 * (784 * 6 + 6 + 6 * 10 + 10)  # floating-point operations of TINY's network for one sample


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path, mapping(), "workflow/experiments/tiny.yaml")
    for name in ("full", "laptop"):
        write(tmp_path, {"name": name}, f"workflow/scales/{name}.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "rates", lambda device: (1e6, 1e3))
    return tmp_path / "workflow/experiments"


def test_work_is_counted_over_members_steps_and_evaluations():
    passes, operations = doctor.STEP["sgd"]
    found = doctor.cost(experiment(), "sgd")
    trained, evaluated = passes * 6 * 20, 3 * (60 + 20)
    assert found.flops == 4 * FORWARD * (trained + evaluated)
    assert found.launches == 6 * 2 * operations


def test_a_timed_run_launches_every_member_s_operations_apart():
    assert doctor.cost(experiment(training__mode="timed"), "sgd").launches == 4 * doctor.cost(experiment(), "sgd").launches


def test_time_is_work_over_rates_up_to_the_limit_of_each_member():
    assert Cost(flops=6e9, launches=100).seconds(2e9, 50) == 5
    assert doctor.cost(experiment(), "sgd").limit == math.inf
    timed = doctor.cost(experiment(training__mode="timed", training__max_seconds=7.0), "sgd")
    assert timed.seconds(1, 1) == timed.limit == 4 * 7


def test_a_convolution_works_at_every_position():
    network = papers.cnn((3, 8, 8), channels=(2,), pools=1, classes=10)
    assert network.multiply_adds == 64 * 2 * (75 + 1) + 10 * (2 * 16 + 1)


def test_the_report_says_what_is_there_and_what_auto_would_choose(folder):
    report = doctor.examine(folder)
    assert (report["torch"], report["cuda_usable"], report["scale"]) == (torch.__version__.split("+")[0], False, "laptop")
    assert report["data"] == {"mnist": "missing", "fashion-mnist": "missing", "cifar10": "missing"}
    assert report["memory_gib"] > 0
    work = doctor.cost(experiment(), "sgd")
    assert report["minutes"] == {"tiny": round((work.flops / 1e6 + work.launches / 1e3) / 60, 1)}
    assert report["minutes"]["tiny"] > 0


def test_without_experiments_no_time_is_estimated(folder, tmp_path):
    report = doctor.examine(tmp_path / "nowhere")
    assert (report["minutes"], report["minutes_in_all"]) == ({}, None)


def test_a_damaged_data_set_is_told_from_a_missing_one(folder, tmp_path):
    (tmp_path / "cache" / "mnist").mkdir(parents=True)
    assert doctor.examine(folder)["data"]["mnist"] == "damaged"


def test_the_command_prints_lines_or_json(folder, capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["cuda", "usable", "no"] for line in lines)
    assert any(line.split() == ["threads", str(torch.get_num_threads())] for line in lines)
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scale"] == "laptop"


def test_measured_rates_are_positive():
    flops, launches = doctor.rates(torch.device("cpu"), seconds=0.01)
    assert flops > 1e6
    assert launches > 100


def test_a_cache_that_is_closed_or_missing_is_a_state_not_a_failure(folder, monkeypatch):
    def closed(name, root):
        raise data.UnreadableError(
            "data set 'mnist' in the cache (/c) cannot be read: no permission for /c, which belongs to ann; ask"
        )

    monkeypatch.setattr(data, "load", closed)
    assert doctor.examine(folder)["data"]["mnist"] == "no permission for /c, which belongs to ann; ask"

    def nowhere(root):
        raise FileNotFoundError(2, "this user has no home folder for the cache; set SIBP_CACHE")

    monkeypatch.setattr(doctor.paths, "cache_folder", nowhere)
    report = doctor.examine(folder)
    assert (report["cache"], report["data"]) == ("this user has no home folder for the cache; set SIBP_CACHE", None)


def test_the_doctor_says_why_there_is_no_cuda(folder, monkeypatch):
    monkeypatch.setattr(doctor.cuda, "fault", lambda: "for CUDA 13.0 finds no usable device or driver")
    report = doctor.examine(folder)
    assert report["cuda_fault"] == f"torch {torch.__version__} for CUDA 13.0 finds no usable device or driver"
    assert (report["cuda_usable"], report["scale"]) == (False, "laptop")
