"""The cache is whole or absent, whatever happens while it is written."""

import errno
import fcntl
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from sibp.core.paths import cache_folder
from sibp.data import DataError, UnreadableError, fetch, load
from sibp.data import cache as cache_module
from sibp.data.sources import Folder
from tests.unit.data import rawfiles
from tests.unit.data.rawfiles import Given, write


class Failing:
    def __init__(self, name: str, error: Exception):
        self.name, self.error = name, error

    def read(self, entry, scratch, report):
        raise self.error


def visible(cache: Path) -> list[str]:
    return sorted(p.name for p in cache.iterdir() if p.suffix != ".lock")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_what_is_fetched_is_loaded_again_bit_for_bit(tiny, cache, name):
    fetch(name, sources=[Given()])
    dataset = load(name, verify=True)
    for key, array in rawfiles.arrays(name).items():
        np.testing.assert_array_equal(getattr(dataset, key), array)
    assert (dataset.source, dataset.generated, len(dataset.classes)) == ("a test", False, 10)
    assert dataset.hashes == tiny[name].hashes


def test_the_cached_files_and_arrays_are_read_only(tiny, cache):
    dataset = fetch("mnist", sources=[Given()])
    assert visible(cache) == ["mnist"]
    assert {p.stat().st_mode & 0o777 for p in (cache / "mnist").iterdir()} == {0o444}
    with pytest.raises(ValueError, match="read-only"):
        dataset.train_images[0] = 0


def test_a_cached_data_set_is_not_fetched_again(tiny, cache):
    source = Given()
    fetch("mnist", sources=[source])
    fetch("MNIST", sources=[source])
    assert source.asked == 1


def test_the_cache_follows_the_environment(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SIBP_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "sibp"
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("SIBP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "sibp"


def test_a_missing_data_set_says_what_to_run(tiny, cache):
    with pytest.raises(DataError) as caught:
        load("mnist")
    assert str(caught.value) == f"data set 'mnist' is not in the cache ({cache}): run 'sibp data mnist'"
    with pytest.raises(DataError, match=r"run 'sibp data mnist --dir /nowhere'$"):
        load("mnist", root="/nowhere")
    with pytest.raises(DataError, match=r"run 'sibp data mnist --dir '/no where''$"):
        load("mnist", root="/no where")


def _shorten(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-10])


def _lengthen(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"more")


def _flip(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def _fill(text: str):
    def fill(path: Path) -> None:
        path.unlink()
        path.write_text(text)

    return fill


DAMAGE = {
    "a truncated array": ("train_images.npy", _shorten, "train_images.npy is truncated"),
    "a too long array": ("test_images.npy", _lengthen, "test_images.npy has not the size"),
    "a missing array": ("test_labels.npy", Path.unlink, "test_labels.npy is missing"),
    "an empty array": ("test_labels.npy", _fill(""), "test_labels.npy is truncated"),
    "a foreign array": ("test_labels.npy", _fill("<html>" * 99), "test_labels.npy is truncated or no npy file"),
    "a changed pixel": ("test_images.npy", _flip, "test_images: SHA-256"),
    "no manifest": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "half a manifest": ("manifest.json", _shorten, "manifest.json is not JSON"),
    "another manifest": ("manifest.json", _fill("[]"), "manifest.json does not list the hashes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_told_in_one_line_and_repaired(tiny, cache, damage):
    fetch("mnist", sources=[Given()])
    file, harm, message = DAMAGE[damage]
    harm(cache / "mnist" / file)
    with pytest.raises(DataError) as caught:
        load("mnist", verify=True)
    text = str(caught.value)
    assert text.startswith(f"data set 'mnist' in the cache ({cache}) is damaged: {message}")
    assert text.endswith("'sibp data mnist' repairs it") and "\n" not in text
    said = []
    fetch("mnist", sources=[Given("a second test")], report=said.append)
    assert load("mnist", verify=True).source == "a second test"
    assert said[0] == text
    assert visible(cache) == ["mnist"]


def test_a_file_in_the_place_of_the_data_set_is_replaced(tiny, cache):
    write(cache, {"mnist": b"not a folder"})
    with pytest.raises(DataError, match="damaged"):
        load("mnist")
    fetch("mnist", sources=[Given()])
    assert visible(cache) == ["mnist"]


def test_total_failure_names_every_source_with_its_reason_in_one_line(tiny, cache):
    sources = [
        Failing("a folder", DataError("not set")),
        Failing("a server", TimeoutError(errno.ETIMEDOUT, "Connection timed out")),
        Failing("a package", DataError("npm is not\ninstalled")),
    ]
    with pytest.raises(DataError) as caught:
        fetch("mnist", sources=sources)
    reasons = "a folder: not set; a server: connection timed out; a package: npm is not installed"
    assert str(caught.value) == f"data set 'mnist' cannot be fetched: {reasons}"
    assert visible(cache) == []


def test_the_next_source_is_asked_after_a_bad_one(tiny, cache, tmp_path):
    bad = write(tmp_path / "bad", rawfiles.idx("fashion-mnist"))
    good = write(tmp_path / "good", rawfiles.idx("mnist"))
    said = []
    dataset = fetch("mnist", report=said.append, sources=[Folder(bad, "bad"), Folder(good, "good"), Given("late")])
    assert dataset.source == "good"
    assert said[0].startswith("mnist: bad: train_images: SHA-256") and said[-1] == "mnist: from good, all hashes agree"


def test_the_folder_of_the_environment_comes_first(tiny, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SIBP_DATA", str(write(tmp_path / "own", rawfiles.idx("mnist"))))
    assert fetch("mnist").source == "folder SIBP_DATA"


def test_a_full_disk_is_told_and_leaves_nothing(tiny, cache, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_module.os, "fsync", full)
    late = Given("late")
    with pytest.raises(DataError, match=r"cannot be fetched: a test: no space left on device$"):
        fetch("mnist", sources=[Given(), late])
    assert late.asked == 0  # another source would not help
    assert visible(cache) == []


def test_a_cache_that_cannot_be_made_is_told(tiny, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"^data set 'mnist': cannot write the cache \(.*file/cache\): not a directory$"):
        fetch("mnist", root=tmp_path / "file" / "cache", sources=[Given()])


def test_an_interrupted_fetch_leaves_nothing(tiny, cache):
    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", sources=[Failing("x", KeyboardInterrupt())])
    assert visible(cache) == []


def test_a_tilde_is_the_home_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SIBP_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"


@pytest.mark.parametrize("named", ["", "~/own"])
def test_without_a_home_folder_one_line_names_the_way_out(tiny, monkeypatch, named):
    def home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("SIBP_CACHE", named)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name in ("home", "expanduser"):
        monkeypatch.setattr(Path, name, home)
    for call in (load, fetch):
        with pytest.raises(DataError, match="no home folder for the cache; set SIBP_CACHE or XDG_CACHE_HOME"):
            call("mnist")


@pytest.fixture
def stranger(tmp_path_factory):
    """A cache that is somebody else's and closed to this user, who is not root meanwhile."""
    folder = Path(tempfile.mkdtemp())  # all above it may be passed by everybody
    cache = folder / "cache"
    (cache / "mnist").mkdir(parents=True)
    folder.chmod(0o755)
    cache.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield cache
    os.seteuid(user)
    cache.chmod(0o755)
    shutil.rmtree(folder)


def test_a_cache_that_may_not_be_looked_into_says_whose_it_is(tiny, stranger):
    owner = pwd.getpwuid(stranger.stat().st_uid).pw_name
    with pytest.raises(UnreadableError) as caught:
        load("mnist", stranger)
    assert f"cannot be read: no permission for {stranger}, which belongs to {owner}; " in str(caught.value)
    with pytest.raises(DataError, match=r"cannot write the cache .*: permission denied; SIBP_CACHE names another"):
        fetch("mnist", stranger)


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_does_not_matter(tiny, cache, monkeypatch, error):
    def flock(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = []
    assert fetch("mnist", sources=[Given()], report=said.append).source
    assert len([line for line in said if "no locks" in line and "SIBP_CACHE" in line]) == 1
    load("mnist", verify=True)


# Several processes

SCRIPT = """
import os, sys, time
from pathlib import Path
from sibp.data import cache, fetch, registry
from tests.unit.data import rawfiles

entries = registry.parse(rawfiles.registry())
registry._registry = lambda: entries
folder = Path(sys.argv[1])

class Slow:
    name = f"process {sys.argv[2]}"
    def read(self, entry, scratch, report):
        (folder / f"asked-{sys.argv[2]}").touch()
        time.sleep(0.3)
        return rawfiles.arrays("mnist")

def stuck(descriptor):
    print("writing", flush=True)
    time.sleep(60)

if sys.argv[2] == "killed":
    os.fsync = stuck
fetch("mnist", sources=[Slow()], report=lambda text: print(text, flush=True))
print("done", flush=True)
"""


def start(folder: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(folder), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


def test_a_process_killed_while_writing_leaves_no_half_data_set(tiny, cache, tmp_path):
    with start(tmp_path, "killed") as process:
        assert "writing" in process.stdout.readline()
        process.kill()
    assert any(name.endswith(".tmp") for name in visible(cache))
    with pytest.raises(DataError, match="is not in the cache"):
        load("mnist")
    fetch("mnist", sources=[Given()])
    load("mnist", verify=True)
    assert visible(cache) == ["mnist"]


def test_of_racing_processes_one_fetches_and_the_others_use_it(tiny, cache, tmp_path):
    processes = [start(tmp_path, str(k)) for k in range(3)]
    said = [process.communicate()[0] for process in processes]
    assert all(text.endswith("done\n") for text in said)
    assert len(list(tmp_path.glob("asked-*"))) == 1
    load("mnist", verify=True)
    assert visible(cache) == ["mnist"]
