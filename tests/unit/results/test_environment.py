"""What a run's record says of the machine and the code."""

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sibp.results import environment

CPU = torch.device("cpu")


def test_the_environment_names_versions_device_and_commit():
    about = environment.environment(CPU)
    assert about["versions"]["torch"] == torch.__version__.split("+")[0] or about["versions"]["torch"] == torch.__version__
    assert about["device"]
    assert about["started"].endswith("+00:00")
    assert json.loads(json.dumps(about)) == about
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    assert about["git"] is None or about["git"]["commit"] == head.stdout.strip()


def test_peak_memory_counts_bytes():
    assert 2**27 < environment.peak_memory(CPU) < 2**37  # torch alone takes more than 128 MiB


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="elsewhere a process inherits the peak of the one that started it"
)
def test_the_memory_of_a_process_is_not_that_of_the_one_that_started_it():
    code = (
        "import torch; from sibp.results import environment as e; from sibp.bench.memory import _trim\n"
        "print(e.peak_memory(torch.device('cpu')))"
    )
    with mmap.mmap(-1, 2**29) as large:
        large[:: mmap.PAGESIZE] = bytes(len(large) // mmap.PAGESIZE)
        peak = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        assert peak < environment.peak_memory(CPU) - 2**28


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_memory_of_a_job_is_not_that_of_the_one_before_in_the_same_process():
    with mmap.mmap(-1, 2**28) as large:  # from the system itself: what an allocator is given back it may keep
        large[:: mmap.PAGESIZE] = bytes(len(large) // mmap.PAGESIZE)
        before = environment.peak_memory(CPU)
    environment.reset_peak_memory(CPU)
    assert environment.peak_memory(CPU) < before - 2**27
