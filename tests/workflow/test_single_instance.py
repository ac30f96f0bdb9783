"""One workflow in a folder at a time, and a killed one leaves nothing that stops the next."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import single_instance

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


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """The script as a module, in an empty folder with a home that can be written."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "SIBP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return single_instance


def refused(*folders):
    """Return an `os.access` that finds these folders, and all below them, read-only."""
    plain = os.access

    def access(path, mode, **options):
        below = any(Path(path).absolute().is_relative_to(folder) for folder in folders)
        return plain(path, mode, **options) and not (mode & os.W_OK and below)

    return access


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_gets_one_line(inside, tmp_path, monkeypatch, capsys, error):
    def flock(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(single_instance.fcntl, "flock", flock)
    (tmp_path / ".snakemake").mkdir()
    single_instance.hold().close()
    said = capsys.readouterr().err
    assert said.startswith("sibp: no locks on this file system") and said.count("\n") == 1


def test_a_snakemake_whose_python_has_moved_is_run_by_this_one(tmp_path):
    script = tmp_path / "snakemake"
    script.write_text("#!/nowhere/python\n")
    script.chmod(0o755)
    command = [sys.executable, "-m", "tools.single_instance", script, "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_that_can_be_written_stays_the_cache(inside, capsys):
    single_instance.find_cache()
    assert "XDG_CACHE_HOME" not in os.environ and capsys.readouterr().err == ""


def test_where_home_is_read_only_snakemake_gets_a_cache_and_data_are_taken_from_home(inside, tmp_path, monkeypatch, capsys):
    home = tmp_path / "home"
    (home / ".cache/sibp").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(os, "access", refused(home))
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # so that it is put back afterwards
    monkeypatch.setenv("SIBP_CACHE", "")
    del os.environ["SIBP_CACHE"]
    single_instance.find_cache()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / ".snakemake/cache")
    assert os.environ["SIBP_CACHE"] == str(home / ".cache/sibp")
    said = capsys.readouterr().err
    assert "XDG_CACHE_HOME and SIBP_CACHE name others" in said and said.count("\n") == 1


def test_without_any_home_snakemake_gets_a_cache(inside, tmp_path, monkeypatch, capsys):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(single_instance.Path, "home", home)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    single_instance.find_cache()
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / ".snakemake/cache")
    assert "XDG_CACHE_HOME and SIBP_CACHE name others" in capsys.readouterr().err


def test_a_read_only_checkout_is_worked_on_from_the_results_folder(inside, tmp_path, monkeypatch):
    checkout, root = tmp_path / "checkout", tmp_path / "results here"
    (checkout / "workflow").mkdir(parents=True)
    (checkout / "Snakefile").write_text(SNAKEFILE)
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(os, "access", refused(checkout))
    for _ in range(2):  # a second time it is there already
        single_instance.find_folder(["snakemake", "--config", "scale=smoke", f"root={root}"])
        assert Path.cwd() == root / ".checkout"
        assert Path("Snakefile").read_text() == SNAKEFILE and Path("workflow").is_dir()
        monkeypatch.chdir(checkout)
    assert sorted(path.name for path in checkout.iterdir()) == ["Snakefile", "workflow"]


@pytest.mark.parametrize("words", [[], ["--config", "root=out"]])
def test_a_read_only_checkout_without_a_results_folder_elsewhere_is_one_line(inside, tmp_path, monkeypatch, words):
    monkeypatch.setattr(os, "access", refused(tmp_path))
    with pytest.raises(SystemExit) as stop:
        single_instance.find_folder(["snakemake", *words])
    assert (
        stop.value.code.startswith(f"sibp: this checkout cannot be written ({tmp_path}): make ARGS=")
        and "\n" not in stop.value.code
    )
