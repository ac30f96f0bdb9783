"""Jobs as forks of a server that has imported their module: what they are given, how they end, and who ends with whom."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT
from workflow.scripts import forked

MODULE = """
import os, signal, sys, threading, time
from pathlib import Path
PARENT = os.getpid()  # of the process that imported this
LOADS = []
def preload():
    LOADS.append(PARENT)
def main():
    words = sys.argv[1:]
    if words[0] == "show":
        forked = PARENT != os.getpid()
        print(Path.cwd().name, os.environ.get("COLOUR"), *words, sys.stdin.read(), "forked" if forked else "here")
        print(len(os.listdir("/proc/self/task")), "thread", file=sys.stderr)
    elif words[0] == "loads":
        print(len(LOADS))
    elif words[0] == "wait":
        def stop(*_):
            Path("stopped").touch()
            sys.exit(7)
        signal.signal(signal.SIGTERM, stop)
        Path("waits").write_text(str(os.getpid()))
        time.sleep(60)
    elif words[0] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return int(words[-1])
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Start a server of a small module; return a function that starts a command of it."""
    (tmp_path / "small.py").write_text(MODULE)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(tmp_path)]))
    monkeypatch.setenv(forked.SERVERS, "")
    forked.start(["small"])
    server = forked.started.pop()

    def start(*words: str, **options) -> subprocess.Popen:
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        prefix = [sys.executable, "-m", "workflow.scripts.forked", "small"]
        return subprocess.Popen([*prefix, *words], cwd=tmp_path / "here", text=True, **pipes, **options)

    start.server = server
    yield start
    server.stdin.close()
    assert server.wait(20) == 0
    assert not folder().exists()


def folder() -> Path:
    return Path(json.loads(os.environ[forked.SERVERS])[1])


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def test_a_fork_has_the_words_folder_environment_and_streams_of_its_command(command):
    done = command("show", "a b", "3", env=os.environ | {"COLOUR": "blue"})
    assert done.communicate("typed") == ("here blue show a b 3 typed forked\n", "1 thread\n")
    assert done.returncode == 3


def test_what_forks_share_is_loaded_once(command):
    assert [command("loads", "0").communicate()[0] for _ in range(2)] == ["1\n", "1\n"]


def test_a_fork_that_is_killed_is_told_by_its_commands_exit_code(command):
    done = command("die", "0")
    done.communicate()
    assert done.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_is_terminated_with_its_command_which_waits_for_it(command, tmp_path, how):
    waiting, here = command("wait", "0"), tmp_path / "here"
    wait_for(lambda: (here / "waits").exists())
    waiting.send_signal(how)
    waiting.communicate()
    assert waiting.returncode == (7 if how == signal.SIGTERM else -how)
    wait_for(lambda: (here / "stopped").exists())


def test_a_server_that_is_left_waits_for_its_forks(command, tmp_path):
    waiting, here = command("wait", "0"), tmp_path / "here"
    number = wait_for(lambda: (here / "waits").exists() and (here / "waits").read_text())
    command.server.stdin.close()
    wait_for(lambda: not folder().exists())  # it takes no more
    os.kill(int(number), signal.SIGTERM)
    waiting.communicate()
    assert waiting.returncode == 7


def test_without_a_server_the_command_imports_the_module_itself(command, tmp_path, monkeypatch):
    monkeypatch.setenv(forked.SERVERS, json.dumps(["/another/environment", str(folder())]))
    done = command("show", "5")
    assert done.communicate("") == ("here None show 5  here\n", "1 thread\n")
    assert done.returncode == 5
    done = command("show", "5", env={name: value for name, value in os.environ.items() if name != forked.SERVERS})
    assert done.communicate("")[0] == "here None show 5  here\n"


def test_the_output_of_a_command_that_dies_before_it_has_asked_is_closed(command):
    output, end = os.pipe()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder() / "small"))
        socket.send_fds(connection, [struct.pack("!I", 100)], [end] * 3)
    os.close(end)
    assert command("loads", "0").communicate(timeout=60)[0] == "1\n"  # taken up after it
    assert select.select([output], [], [], 10)[0] and os.read(output, 1) == b""
    os.close(output)
