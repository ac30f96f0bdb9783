"""The archive: complete, the same bytes each time, and able to check itself."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tools import artifact


def in_git():
    command = ["git", "-C", str(artifact.ROOT), "rev-parse", "HEAD"]
    return shutil.which("git") and subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not in_git(), reason="the source is taken from git")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Pack the last commit and a made-up result; return the archive and what it was made of."""
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "figures").mkdir()
    (folder / "figures/a.png").write_bytes(b"picture")
    (folder / "figures/.b.png.k3").write_bytes(b"half")
    files, when = artifact.contents(folder, "HEAD")
    artifact.pack(files, when, "sibp-0", folder / "a.tar.gz")
    return folder / "a.tar.gz", files, when


@pytest.fixture
def unpacked(packed, tmp_path):
    with tarfile.open(packed[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "sibp-0"


def verify(folder: Path):
    done = subprocess.run([sys.executable, folder / "verify.py"], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_it_checks_itself(unpacked):
    code, said = verify(unpacked)
    assert code == 0, said
    assert said[0].endswith("files are as they were packed")


def test_every_change_is_named(unpacked):
    (unpacked / "source/Makefile").write_text("changed")
    (unpacked / "source/LICENSE").unlink()
    (unpacked / "more.txt").touch()
    assert verify(unpacked) == (1, ["missing: source/LICENSE", "not listed: more.txt", "changed: source/Makefile"])


def test_it_holds_source_lock_results_and_descriptions(packed):
    names = set(packed[1])
    assert names >= {"source/Snakefile", "source/envs/requirements.lock", "results/figures/a.png", "CITATION.cff", "codemeta.json"}
    assert not [name for name in names if ".k3" in name or ".venv" in name]


def test_the_same_files_give_the_same_bytes(packed, tmp_path):
    archive, files, when = packed
    artifact.pack(dict(reversed(files.items())), when, "sibp-0", tmp_path / "b.tar.gz")
    assert (tmp_path / "b.tar.gz").read_bytes() == archive.read_bytes()


def test_the_crate_lists_every_file_and_its_links_lead_somewhere(packed):
    files = packed[1]
    graph = {part["@id"]: part for part in json.loads(files["ro-crate-metadata.json"])["@graph"]}
    listed = {part["@id"] for part in graph["./"]["hasPart"]}
    assert listed == files.keys() - {"ro-crate-metadata.json", "MANIFEST.sha256"}
    assert listed | {graph["./"]["mainEntity"]["@id"], "#snakemake"} <= graph.keys()
    assert "ComputationalWorkflow" in graph["source/Snakefile"]["@type"]


def test_the_software_s_description_is_that_of_the_package(packed):
    about = json.loads(packed[1]["codemeta.json"])
    assert (about["name"], about["license"][-3:]) == ("sibp", "MIT")
    assert any(need.startswith("torch") for need in about["softwareRequirements"])
