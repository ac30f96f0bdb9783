"""Which jobs run beside which on a machine without a network, and what becomes of them when one fails or the time is over."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from tools.offline_gpu import run, workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def job(name: str, device: str = "cuda", timed: bool = False) -> dict:
    return {"name": name, "device": device, "timed": timed}


class NoWorker:
    """Stands in for a process: takes jobs and never ends them."""

    def __init__(self, device):
        self.device, self.job = device, None

    def start(self, job, command, log):
        self.job = job


@pytest.fixture
def pool(tmp_path) -> workers.Pool:
    pool = workers.Pool(workers.Results(tmp_path, {"jobs": [], "scale": "smoke", "git": None}), time.monotonic(), [])
    pool.cores = 4
    return pool


@pytest.fixture
def idle_pool(pool, monkeypatch) -> workers.Pool:
    """A pool of four cores on a machine with a GPU, whose jobs only note that they were started."""
    monkeypatch.setattr(workers, "Worker", NoWorker)
    monkeypatch.setattr(pool, "command", lambda job: [job["name"]])
    return pool


def names(pool: workers.Pool) -> list[str]:
    return [worker.job["name"] for worker in pool.busy]


def test_one_job_is_on_the_gpu_and_others_are_on_the_cores_beside_it(idle_pool):
    waiting = [job("a"), job("b"), *(job(f"c{i}", "cpu") for i in range(4))]
    idle_pool.start_what_may(waiting)
    assert names(idle_pool) == ["a", "c0", "c1", "c2"]
    assert [one["name"] for one in waiting] == ["b", "c3"]


def test_more_jobs_may_be_on_the_gpu_but_none_beside_a_timed_one(idle_pool):
    idle_pool.on_gpu = 2
    waiting = [job("a"), job("b"), job("c"), job("t", timed=True)]
    idle_pool.start_what_may(waiting)
    assert names(idle_pool) == ["a", "b"] and [left["name"] for left in waiting] == ["c", "t"]


def test_a_timed_job_waits_for_all_and_is_not_overtaken(idle_pool):
    waiting = [job("a"), job("t", timed=True), job("c", "cpu")]
    idle_pool.start_what_may(waiting)
    assert names(idle_pool) == ["a"]
    idle_pool.busy[0].job = None
    idle_pool.start_what_may(waiting)
    assert names(idle_pool) == ["t"]
    assert len(idle_pool.workers) == 1  # the process that trained `a` trains `t`


@pytest.fixture
def commands(pool, monkeypatch):
    """Let jobs run `said.py` in place of `sibp`: what they print is the name and the process id, and they end as they are told."""

    def main(words):
        name, *rest = words
        os.write(1, f"{name} {os.getpid()}\n".encode())  # not by way of pytest's own capture
        if "sleeps" in rest:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                return 130
        if "dies" in rest:
            os.kill(os.getpid(), 9)
        return int("fails" in rest)

    monkeypatch.setattr("sibp.cli.main", main)
    monkeypatch.setattr(pool, "command", lambda job: job["name"].split("-"))
    monkeypatch.setattr(pool.results, "add", lambda job: pool.results.done.update({job["name"]: {}}))
    return pool


def printed(pool: workers.Pool, name: str) -> list[str]:
    return pool.log(job(name)).read_text().split()


FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@FORKS
def test_one_process_trains_one_job_after_another_and_each_has_its_log(commands):
    commands.work([job("a"), job("b"), job("c")], end=time.monotonic() + 60)
    said = [printed(commands, name) for name in "abc"]
    assert [name for name, _ in said] == ["a", "b", "c"]
    assert len({process for _, process in said}) == 1
    assert list(commands.results.done) == ["a", "b", "c"] and not commands.failed and not commands.workers


@FORKS
def test_workers_without_a_job_end_by_themselves(commands):
    idle = [workers.Worker("cpu"), workers.Worker("cpu")]  # the second one holds our end of the first one's connection
    for worker in idle:
        worker.close()
    assert [worker.process.exitcode for worker in idle] == [0, 0]


@FORKS
def test_after_a_failure_or_a_death_another_process_goes_on(commands, capfd):
    commands.work([job("a-fails"), job("b-dies"), job("c")], end=time.monotonic() + 60)
    assert commands.failed == ["a-fails", "b-dies"] and list(commands.results.done) == ["c"]
    assert len({printed(commands, name)[1] for name in ("a-fails", "b-dies", "c")}) == 3
    assert "a-fails FAILED with exit code 1" in (said := capfd.readouterr().out) and "b-dies FAILED with exit code -9" in said


@FORKS
def test_jobs_are_stopped_when_the_time_is_over_and_are_then_neither_done_nor_failed(commands, capfd):
    begun = time.monotonic()
    commands.work([job("a-sleeps"), job("b")], end=begun + 0.5)
    assert not commands.workers and not commands.failed and not commands.results.done
    assert "a-sleeps stopped" in capfd.readouterr().out
    assert time.monotonic() - begun < 30


# --- in which order -------------------------------------------------------------------------------------------------------------


def test_what_runs_is_told_as_long_as_its_process_lives(tmp_path):
    results = workers.Results(tmp_path, {"jobs": [], "scale": "smoke", "git": None})
    results.running(["a"])
    assert results.now_running() == {"a"}
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "running.json").write_text(json.dumps({"process": ended.pid, "jobs": ["a"]}))
    assert results.now_running() == set()


def test_a_gpu_that_torch_has_no_code_for_is_none(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (3, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    assert run.find_device("auto") == "cpu"
    with pytest.raises(SystemExit):
        run.find_device("cuda")
    assert "has no code for an old GPU" in capsys.readouterr().err
