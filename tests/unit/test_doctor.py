"""The doctor's report, and what experiments take by count."""

import json

import pytest
import torch

from sibp import cli, data
from sibp.bench import cost
from sibp.cli import doctor
from sibp.nets import papers
from tests.unit.tiny import experiment, mapping, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write(tmp_path, mapping(), "workflow/experiments/tiny.yaml")
    for name in ("full", "laptop"):
        write(tmp_path, {"name": name}, f"workflow/scales/{name}.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path / "workflow/experiments"


def test_a_convolution_works_at_every_position():
    network = papers.cnn((3, 8, 8), channels=(2,), pools=1, classes=10)
    assert network.multiply_adds == 64 * 2 * (75 + 1) + 10 * (2 * 16 + 1)


def test_the_report_says_what_is_there_and_what_auto_would_choose(folder):
    report = doctor.examine(folder)
    assert (report["torch"], report["cuda_usable"], report["scale"]) == (torch.__version__.split("+")[0], False, "laptop")
    assert report["data"] == {"mnist": "missing", "fashion-mnist": "missing", "cifar10": "missing"}
    assert report["memory_gib"] > 0
    assert report["minutes"].keys() == {"tiny"} and report["minutes_in_all"] == report["minutes"]["tiny"] > 0


def test_experiments_are_counted_for_a_device_that_is_not_here(folder):
    counted = doctor.exhibits(folder, "full", "h100")
    estimate = cost.estimate(experiment(), "sgd", "h100")
    assert counted["experiments"]["tiny"]["seconds"] == counted["seconds"] == round(estimate.seconds, 1)
    assert counted["experiments"]["tiny"]["kernels"] == estimate.kernels
    table = doctor.as_table(counted)
    assert "tiny" in table and "on h100 at scale full; counted, not measured" in table


def test_the_command_counts_and_refuses_unknown_devices(folder, capsys):
    assert cli.main(["doctor", "--scale", "full", "--device", "h100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["how"] == "counted, not measured"
    assert cli.main(["doctor", "--scale", "full"]) == 0
    assert "on cpu at scale full" in capsys.readouterr().out
    assert cli.main(["doctor", "--device", "h10"]) == 2
    assert "need h100, h200 or cpu; did you mean 'h100'" in capsys.readouterr().err
    assert cli.main(["doctor", "--scale", "full", "--data-dir", "d"]) == 2
    assert "data-dir: has no effect with --scale, leave one of the two out" in capsys.readouterr().err


def test_a_gpu_that_torch_has_no_code_for_is_not_counted_on(folder, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (3, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    assert cli.main(["doctor", "--scale", "full"]) == 0
    assert "on cpu at scale full" in capsys.readouterr().out


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
