"""What machines do to a run: full and read-only disks, damaged caches, clocks that jump, too little memory. One line each."""

import errno
import os
import tempfile
import time

import pandas as pd
import pytest
import torch

from sibp import cli
from sibp.core import atomic
from sibp.methods.sgd import SGD
from sibp.results import records
from sibp.training import checkpoint, runs
from tests.unit.tiny import experiment, mapping, write

DOUBLE = {"training__dtype": "float64"}


@pytest.fixture
def sibp(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with the tiny experiment; return its exit code, and its error lines without progress."""
    write(tmp_path, mapping(), "workflow/experiments/tiny.yaml")
    write(tmp_path, {"name": "full"}, "workflow/scales/full.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)

    def call(*arguments):
        code = cli.main(arguments)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return code, [line for line in said.splitlines() if not line.startswith("tiny sgd: step")]

    return call


RUN = ("run", "tiny", "--scale", "full", "--device", "cpu", "--out", "r", "--checkpoint-seconds", "0")


@pytest.mark.parametrize("name", ["sgd.parquet", "sgd.pt"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_gets_one_line_and_nothing_is_half_written(sibp, tmp_path, monkeypatch, name, number):
    folder = tmp_path / "r/tiny"
    folder.mkdir(parents=True)
    (folder / name).write_text("old")
    plain = atomic.write

    def failing(path, content):
        def half(file):
            file.write(b"half")
            raise OSError(number, os.strerror(number))

        plain(path, half if path.name == name else content)

    monkeypatch.setattr(atomic, "write", failing)
    code, errors = sibp(*RUN)
    assert code == 1
    assert [line for line in errors if "not used" not in line] == [errors[-1]]
    assert errors[-1].startswith("sibp: error: ") and errors[-1].endswith(os.strerror(number))
    assert (folder / name).read_text() == "old"
    assert not list(folder.glob(".*"))


def test_after_a_full_disk_the_same_command_goes_on(sibp, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(records.parquet, "write_table", full)
        assert sibp(*RUN)[0] == 1
    assert sibp(*RUN)[0] == 0
    assert "went on from" in records.read_record(tmp_path / "r/tiny/sgd.parquet")["notes"][0]


def test_a_read_only_output_folder_is_found_before_training(sibp, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(SGD, "step", pytest.fail)
    assert sibp(*RUN) == (2, ["sibp: error: out: cannot write to r/tiny: Read-only file system"])


def test_a_damaged_cache_is_found_before_training(sibp, tmp_path, monkeypatch):
    write(tmp_path, mapping(data__generated=False), "workflow/experiments/tiny.yaml")
    write(tmp_path, "{", "cache/mnist/manifest.json")
    monkeypatch.setattr(SGD, "step", pytest.fail)
    code, errors = sibp(*RUN)
    assert (code, len(errors)) == (2, 1)
    assert "is damaged: manifest.json is not JSON; 'sibp data mnist" in errors[0]


def test_a_clock_that_is_set_back_makes_no_negative_seconds(tmp_path, monkeypatch):
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now.__setitem__(0, now[0] - 3600) or now[0])
    rows, about = runs.run(experiment(), "sgd", out=tmp_path, checkpoint_seconds=0)
    assert rows.groupby("member")["seconds"].apply(lambda seconds: seconds.is_monotonic_increasing).all()
    assert all(seconds >= 0 for seconds in about["seconds"].values())


DEVICE = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
HOST = RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to ...")


def little_memory(monkeypatch, members, fault=DEVICE):
    """Let a step of more members than that run out of memory."""
    plain = SGD.step

    def step(self, parameters, *given):
        if parameters[0].W.shape[0] > members:
            raise fault
        return plain(self, parameters, *given)

    monkeypatch.setattr(SGD, "step", step)


@pytest.mark.parametrize("fault", [DEVICE, HOST, MemoryError()])
def test_an_ensemble_too_large_for_the_memory_is_halved_and_the_record_says_so(monkeypatch, fault):
    whole, _ = runs.run(experiment(**DOUBLE), "sgd")
    little_memory(monkeypatch, 1, fault)
    halves, about = runs.run(experiment(**DOUBLE), "sgd")
    pd.testing.assert_frame_equal(whole.drop(columns="seconds"), halves.drop(columns="seconds"), rtol=1e-9)
    assert about["ensembles"] == [[0], [1], [2], [3]]
    assert about["notes"] == [
        "an ensemble of 4 members was out of memory: trained as 2 and 2 members, equal up to rounding",
        *["an ensemble of 2 members was out of memory: trained as 1 and 1 members, equal up to rounding"] * 2,
    ]


@pytest.mark.parametrize("fault", [DEVICE, HOST])
def test_a_single_member_too_large_for_the_memory_is_a_failure_of_one_line(sibp, tmp_path, monkeypatch, fault):
    little_memory(monkeypatch, 0, fault)
    code, errors = sibp(*RUN)
    assert code == 1
    assert errors[-1].startswith(f"sibp: error: out of memory: {fault}; a single member does not fit: a smaller network or ")
    assert not list((tmp_path / "r/tiny").iterdir())


def test_halves_stay_halves_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    little_memory(monkeypatch, 2)
    straight, _ = runs.run(experiment(), "sgd", threads=1)
    plain = checkpoint.Checkpoint.offer

    def then_stop(self, content):
        plain(self, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint.Checkpoint, "offer", then_stop)
        runs.run(experiment(), "sgd", threads=1, out=tmp_path, checkpoint_seconds=0)
    rows, about = runs.run(experiment(), "sgd", threads=1, out=tmp_path, checkpoint_seconds=0)
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), straight.drop(columns="seconds"), check_exact=True)
    assert about["ensembles"] == [[0, 1], [2, 3]]
    assert [note.split()[0] for note in about["notes"]] == ["an", "went"]
    assert records.read_record(tmp_path / "tiny/sgd.parquet")["notes"] == about["notes"]
