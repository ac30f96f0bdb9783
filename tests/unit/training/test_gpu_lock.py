"""GPUs are taken in turns."""

import threading
from contextlib import ExitStack

import pytest
import torch

from sibp.core.errors import InputError
from sibp.training import gpu_lock

CUDA = torch.device("cuda")


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are so many GPUs."""
    monkeypatch.setattr(gpu_lock, "PAUSE", 0.01)
    return lambda count: monkeypatch.setattr(gpu_lock, "gpus", lambda device: {f"cuda:{i}": f"gpu {i}" for i in range(count)})


def test_a_second_job_waits_until_the_first_is_done(gpus, tmp_path):
    gpus(1)
    order, told = [], threading.Event()

    def second():
        with gpu_lock.turn(CUDA, tmp_path, lambda text: told.set()) as device:
            order.append(f"second on {device}")

    thread = threading.Thread(target=second)
    with gpu_lock.turn(CUDA, tmp_path, order.append) as device:
        thread.start()
        assert told.wait(timeout=30)
        order.append(f"first on {device}")
    thread.join()
    assert order == ["first on cuda:0", "second on cuda:0"]


def test_each_job_takes_a_gpu_that_is_free(gpus, tmp_path):
    gpus(2)
    notes = []
    with gpu_lock.turn(CUDA, tmp_path, notes.append) as first, gpu_lock.turn(CUDA, tmp_path, notes.append) as second:
        assert {str(first), str(second)} == {"cuda:0", "cuda:1"}
    assert notes == []


def test_jobs_share_a_gpu_where_that_is_wanted_and_an_empty_one_comes_first(gpus, tmp_path, monkeypatch):
    gpus(2)
    monkeypatch.setenv("SIBP_GPU_JOBS", "2")
    with ExitStack() as jobs:
        taken = [str(jobs.enter_context(gpu_lock.turn(CUDA, tmp_path, pytest.fail))) for _ in range(4)]
    assert taken == ["cuda:0", "cuda:1"] * 2


@pytest.mark.parametrize("words", ["0", "-1", "two", ""])
def test_a_wrong_number_of_jobs_is_refused(words, gpus, tmp_path, monkeypatch):
    gpus(1)
    monkeypatch.setenv("SIBP_GPU_JOBS", words)
    with pytest.raises(InputError, match="SIBP_GPU_JOBS: got"), gpu_lock.turn(CUDA, tmp_path, pytest.fail):
        pass


def test_a_job_that_fails_gives_its_gpu_back(gpus, tmp_path):
    gpus(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), gpu_lock.turn(CUDA, tmp_path, pytest.fail):
            raise ZeroDivisionError


def test_the_cpu_is_shared(tmp_path):
    cpu = torch.device("cpu")
    with gpu_lock.turn(cpu, tmp_path, pytest.fail) as first, gpu_lock.turn(cpu, tmp_path, pytest.fail) as second:
        assert first == second == cpu
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_hold_locks_is_no_obstacle(gpus, tmp_path):
    gpus(1)
    (tmp_path / "file").touch()
    notes = []
    with gpu_lock.turn(CUDA, tmp_path / "file" / "cache", notes.append) as device:
        assert device == CUDA
    assert len(notes) == 1 and "going on without" in notes[0]
