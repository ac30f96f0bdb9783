"""One workflow in a folder at a time, and a killed one leaves nothing that stops the next."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SNAKEFILE = """
rule all:
    output: "done.txt"
    shell: "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo made > {output}"
"""


@pytest.fixture
def start(tmp_path):
    """Start the workflow in a folder of its own, in a process group of its own; stop what is left at the end."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    started = []

    def begin():
        command = [sys.executable, "-m", "tools.single_instance", SNAKEMAKE, "--cores", "1", "--rerun-incomplete"]
        pipe = subprocess.PIPE
        own = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "start_new_session": True}
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **own))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def begun(folder, process):
    while not (folder / "begun").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def test_a_killed_workflow_goes_on_by_the_same_command(start, tmp_path):
    killed = start()
    begun(tmp_path, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list((tmp_path / ".snakemake/locks").iterdir())
    (tmp_path / "go").touch()
    _, said = (again := start()).communicate(timeout=120)
    assert again.returncode == 0, said
    assert (tmp_path / "done.txt").read_text() == "made\n"
    assert said.startswith("sibp: the last workflow in this folder was killed; going on")


def test_a_second_workflow_gets_one_line_and_does_not_disturb_the_first(start, tmp_path):
    first = start()
    begun(tmp_path, first)
    out, said = (second := start()).communicate(timeout=60)
    assert (second.returncode, out) == (1, "")
    assert said == f"sibp: another workflow is running in this folder (process {first.pid}): wait for it, or stop it with Ctrl-C\n"
    (tmp_path / "go").touch()
    assert first.wait(timeout=60) == 0
