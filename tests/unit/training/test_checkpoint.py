"""Checkpoints: a job that was killed goes on to the same bits, and a checkpoint that does not fit is not used."""

import errno
import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from sibp.results import records
from sibp.results.progress import Progress
from sibp.training import checkpoint, runs, trainer
from sibp.training.checkpoint import Checkpoint, Stopped
from sibp.training.trainer import Trainer
from tests.unit.tiny import experiment

LABELS = {
    "sgd": {"momentum": 0.5, "grid": {"eta": [0.1, 0.01]}},
    "adam": {},
    "rmsprop": {"momentum": 0.5},
    "proxprop": {},
    "proxbp": {"cg_steps": 2},
    "sibp": {"cg_steps": 2, "grid": {"eta": [0.1, 1e30]}},
    "bcd": {"training": {"batch_size": "full", "epochs": 12}},
}
LONG = {"training__epochs": 4, "training__ensemble": 2, "training__evaluate_every": {"epochs": 2}, "methods": LABELS}


class Killed(BaseException):
    """Nothing in the package may catch it: as good as a SIGKILL between two lines."""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Write a checkpoint whenever one is offered, after every second step."""
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)
    monkeypatch.setattr(trainer, "CHECK_EVERY", 2)


def train(out, label="sgd", asked=None, **arguments):
    return runs.run(asked or experiment(**LONG), label, threads=1, out=out, checkpoint_seconds=0, **arguments)


def killed_at(offers, out, monkeypatch, label="sgd", **changes):
    """Train until the given number of checkpoints is written, and stop there."""
    offer, left = Checkpoint.offer, [offers]

    def once(self, content):
        offer(self, content)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Checkpoint, "offer", once)
        train(out, label, **changes)
    return out / "tiny" / f"{label}.pt"


def apart_from_the_clock(rows, provenance):
    kept = {
        name: value for name, value in provenance.items() if name not in (*records.CLOCK_KEYS, "git")
    }  # someone may commit meanwhile
    return rows.drop(columns="seconds"), kept


def assert_equal(ours, theirs):
    (rows, about), (other_rows, other_about) = apart_from_the_clock(*ours), apart_from_the_clock(*theirs)
    pd.testing.assert_frame_equal(rows, other_rows, check_exact=True)
    assert about == other_about


@pytest.mark.parametrize("label", LABELS)
def test_a_job_that_was_killed_goes_on_to_the_same_bits(label, tmp_path, monkeypatch):
    straight = train(tmp_path / "straight", label)
    path = killed_at(4, tmp_path / "killed", monkeypatch, label)
    assert path.exists()
    resumed = train(tmp_path / "killed", label)
    assert_equal(resumed, straight)
    assert len(resumed[1]["notes"]) == 1 and "went on from ensemble" in resumed[1]["notes"][0]
    assert not path.exists()


class Sender(Progress):
    """Sends this process signals while it trains."""

    def __init__(self, *numbers):
        self.waiting = list(numbers)

    def advance(self, steps, loss):
        if self.waiting:
            os.kill(os.getpid(), self.waiting.pop(0))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_told_to_stop_writes_a_checkpoint_first(number, tmp_path):
    before, slow = signal.getsignal(number), {"threads": 1, "checkpoint_seconds": 1e6}
    with pytest.raises(Stopped, match=rf"{number.name}, the same command goes on from .*sgd\.pt") as stop:
        runs.run(experiment(**LONG), "sgd", out=tmp_path, progress=Sender(number), **slow)
    assert stop.value.number == number and signal.getsignal(number) == before
    resumed = runs.run(experiment(**LONG), "sgd", out=tmp_path, **slow)
    assert "went on from ensemble 1, step 2" in resumed[1]["notes"][0]
    plain = runs.run(experiment(**LONG), "sgd", threads=1)
    assert_equal((resumed[0], resumed[1] | {"notes": []}), plain)


def test_a_job_that_is_told_twice_or_keeps_nothing_stops_at_once(tmp_path):
    with pytest.raises(Stopped, match="SIGTERM, nothing is kept"):
        runs.run(experiment(**LONG), "sgd", threads=1, progress=Sender(signal.SIGTERM))
    kept = Checkpoint(tmp_path / "tiny.pt", {})
    with pytest.raises(Stopped, match="what came after the last checkpoint is lost"), kept.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_finished_ensembles_are_not_trained_again(tmp_path, monkeypatch):
    killed_at(8, tmp_path, monkeypatch)  # the first ensemble has 6 looks at the clock and 1 at its end
    asked, plain = [], Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self, *given: asked.append(self.members[0].number) or plain(self, *given))
    _, about = train(tmp_path)
    assert asked == [2]
    assert about["ensembles"] == [[0, 1], [2, 3]]


def test_seconds_go_on_and_the_start_stays(tmp_path, monkeypatch):
    path = killed_at(5, tmp_path, monkeypatch, asked=experiment(**LONG, training__mode="timed"))
    content, _ = Checkpoint(path, {}).load()
    rows, about = train(tmp_path, asked=experiment(**LONG, training__mode="timed"))
    assert about["started"] == content["started"]
    assert all(about["seconds"][phase] > seconds for phase, seconds in content["seconds"].items() if phase in ("train", "total"))
    assert about["peak_memory_bytes"] >= content["peak_memory_bytes"]
    assert rows.groupby("member")["seconds"].apply(lambda seconds: seconds.is_monotonic_increasing).all()
    assert about["seconds"]["train"] == pytest.approx(rows.groupby("member")["seconds"].max().sum())


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_bit(path):
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def damage_empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_empty])
def test_a_damaged_checkpoint_is_named_in_the_record_and_not_used(damage, tmp_path, monkeypatch):
    straight = train(tmp_path / "straight")
    path = killed_at(4, tmp_path, monkeypatch)
    damage(path)
    again = train(tmp_path)
    assert_equal(again, straight)
    assert again[1]["notes"] == [f"checkpoint {path} not used: is damaged"]


@pytest.mark.parametrize(
    ("foreign", "name"),
    [
        ({"asked": experiment(**LONG | {"training__epochs": 5})}, "settings"),
        ({"code": "0"}, "code"),
        ({"threads": "17"}, "threads"),
        ({"torch version": "1.0"}, "torch version"),
    ],
)
def test_a_checkpoint_of_another_job_is_not_used(foreign, name, tmp_path, monkeypatch):
    asked = foreign.pop("asked", None)
    made = checkpoint.key
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "key", lambda *given: made(*given) | foreign)
        path = killed_at(4, tmp_path, monkeypatch, asked=asked)
    _, about = train(tmp_path)
    line = f"checkpoint {path} not used: it belongs to other {name}; kept as sgd.pt.before until the job is done"
    assert about["notes"] == [line]
    assert [file.name for file in path.parent.iterdir()] == ["sgd.parquet"]


def test_who_takes_an_edit_back_goes_on_from_the_checkpoint_of_before(tmp_path, monkeypatch):
    straight = train(tmp_path / "straight")
    killed_at(6, tmp_path, monkeypatch)
    edited = experiment(**LONG | {"training__epochs": 5})
    killed_at(2, tmp_path, monkeypatch, asked=edited)
    killed_at(2, tmp_path, monkeypatch, asked=edited)
    resumed = train(tmp_path)
    assert_equal(resumed, straight)
    assert "went on from ensemble 1, step 12" in resumed[1]["notes"][0] and len(resumed[1]["notes"]) == 1
    assert [file.name for file in (tmp_path / "tiny").iterdir()] == ["sgd.parquet"]


def test_a_damaged_checkpoint_leaves_the_one_of_before_alone(tmp_path, monkeypatch):
    path = killed_at(4, tmp_path, monkeypatch, asked=experiment(**LONG | {"training__epochs": 5}))
    killed_at(2, tmp_path, monkeypatch)
    damage_bit(path)
    before = path.with_name("sgd.pt.before").read_bytes()
    assert Checkpoint(path, {"code": "1"}).load() == (None, f"checkpoint {path} not used: is damaged")
    assert path.with_name("sgd.pt.before").read_bytes() == before


def test_a_checkpoint_holds_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    path = tmp_path / "a.pt"
    Checkpoint(path, {}, 0).offer(lambda: {"step": Evil()})
    assert Checkpoint(path, {}).load() == (None, f"checkpoint {path} not used: is damaged")


def test_checkpoints_keep_their_distance_and_their_share_of_the_time(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoint, "SHARE", 0.02)
    monkeypatch.setattr(checkpoint, "_save", lambda content, file: now.__setitem__(0, now[0] + 5) or file.write(b"x"))
    kept, made = Checkpoint(tmp_path / "a.pt", {}, 60), []

    def offer(moment):
        now[0] = moment
        before = kept.spent
        kept.offer(lambda: made.append(0) or {"U": torch.zeros(2, 2, dtype=torch.float32)})
        return kept.spent > before

    # 5 s to write, so 250 s apart: the next one at 100 + (5 + 5) / 0.02
    assert [offer(moment) for moment in (159, 160, 226, 414, 599, 601, 662)] == [False, True, False, False, False, True, False]


def test_the_first_checkpoint_of_a_large_state_waits_until_it_is_worth_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint, "perf_counter", lambda: now[0])
    monkeypatch.setattr(checkpoint, "SHARE", 0.02)
    monkeypatch.setattr(checkpoint, "RATE", 100.0)
    kept, state = (
        Checkpoint(tmp_path / "a.pt", {}, 15),
        {"U": [torch.zeros(50, dtype=torch.float32)]},
    )  # 200 bytes: 2 s, due after 100
    for now[0], there in ((15, False), (99, False), (100, True)):
        kept.offer(lambda: dict(state))
        assert kept.path.exists() is there


def test_a_large_state_is_written_without_copies_of_the_whole(tmp_path):
    code = f"""
import resource, torch
from pathlib import Path
from sibp.training import checkpoint
state = {{"U": [torch.ones(2**23) for _ in range(12)]}}  # 12 tensors of 32 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open({str(tmp_path / "a.pt")!r}, "wb") as file:
    checkpoint._save(state, file)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 2**20)
assert all(map(torch.equal, checkpoint._read(Path({str(tmp_path / "a.pt")!r}))["U"], state["U"]))
"""
    mebibytes = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert mebibytes < 3 * 32


def test_why_a_checkpoint_cannot_be_written_is_said(tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left")

    hashed = checkpoint._Hashed
    monkeypatch.setattr(checkpoint, "_Hashed", lambda file: hashed(Full()))
    with pytest.raises(records.RecordError, match=r"a\.pt: No space left"):
        Checkpoint(tmp_path / "a.pt", {}, 0).offer(lambda: {"W": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_without_an_output_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(None)
    assert not list(tmp_path.iterdir())


MOMENTS = experiment(
    training={"steps": 120, "batch_size": 20, "ensemble": 2, "evaluate_every": {"steps": 40}},
    methods={"adam": {"grid": {"eta": [0.1, 0.01]}}},
)


def train_moments(out):
    checkpoint.SHARE, trainer.CHECK_EVERY = 1e9, 10
    train(out, "adam", MOMENTS)


def test_a_sigkill_at_any_moment_loses_nothing(tmp_path):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["sibp.training.runs", "tests.unit.training.test_checkpoint"])

    def started():
        process = processes.Process(target=train_moments, args=(tmp_path / "killed",))
        process.start()
        return process, time.perf_counter()

    straight = train(tmp_path / "straight", "adam", MOMENTS)
    for _ in range(2):  # the first one waits for the server's imports
        process, begin = started()
        process.join()
    whole, moments, kills = time.perf_counter() - begin, random.Random(0), 0
    while kills < 20:
        process, _ = started()
        process.join(moments.uniform(0, 0.6) * whole)
        kills += process.is_alive()
        process.kill()
        process.join()
    process, _ = started()
    process.join()
    assert process.exitcode == 0
    path = tmp_path / "killed" / "tiny" / "adam.parquet"
    run = records.read(path)
    assert_equal((run.rows, run.record), straight)
    assert sorted(file.name for file in path.parent.iterdir()) == ["adam.parquet"]
