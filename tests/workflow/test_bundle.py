"""One folder goes to a machine without a network, one file comes back, and Snakemake has nothing left to train."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sibp import data
from sibp.data import registry
from tests.workflow.conftest import ROOT, copy_repository, jobs, run, snakemake
from tools.offline_gpu import data_chunks, import_runs, workers
from tools.offline_gpu.training_jobs import CampaignError, in_order

HAS = ["torch", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "rich", "pillow", "filelock"]
WORDS = ("--config", "scale=smoke", "root=out")
LABELS = ("sgd-full", "sgd-stochastic", "sibp-full", "sibp-stochastic")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def python(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, *words)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A copy of the repository that already holds another result of one of the jobs, and its bundle."""
    folder = copy_repository(tmp_path_factory.mktemp("home"))
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    file = folder / "workflow/scales/smoke.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("steps: 30", "steps: 20"), encoding="utf-8")
    snakemake(folder, "out/results/runs/j-fig3/sgd-full.parquet", "--quiet", *WORDS)
    file.write_text(text, encoding="utf-8")
    python(folder, "-m", "tools.offline_gpu.bundle", "--scale", "smoke", "--root", "out", "--has", *HAS)
    return folder


@pytest.fixture(scope="module")
def node(home, tmp_path_factory) -> Path:
    """A folder with nothing but the bundle, in which one exhibit has been trained."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(home / ".bundle", folder / "bundle")
    trained(folder)
    return folder


def trained(node: Path) -> str:
    return run(node, sys.executable, "bundle/run.py", "--part", "j-fig3", "--out", "back", PYTHONPATH="")


def test_what_comes_back_is_done_for_snakemake(home, node):
    said = python(home, "-m", "tools.offline_gpu.import_runs", str(node / "back"), "--root", "out")
    assert "4 jobs are in out/results/runs, done for Snakemake at scale smoke" in said
    planned = jobs(snakemake(home, "--dry-run", "out/results/summary/j-fig3.csv", *WORDS))
    assert planned == {"summary": 1}
    record = json.loads((home / "out/results/runs/j-fig3/sgd-full.json").read_text())
    assert record["training"]["steps"] == 30
    assert not list((home / "out/results/runs").rglob(".part-*"))


def test_the_plan_comes_first_and_what_is_done_is_not_trained_again(node):
    before = {file: file.stat().st_mtime_ns for file in (node / "back/runs").rglob("*")}
    said = trained(node).splitlines()
    assert said[0].startswith("part j-fig3, scale smoke, cpu: 4 jobs, 4 done; the rest takes about 0.0 min")
    assert [line.split()[0] for line in said[2:6]] == [f"j-fig3/{label}" for label in LABELS]
    assert {file: file.stat().st_mtime_ns for file in (node / "back/runs").rglob("*")} == before


def test_a_bundle_that_was_changed_is_refused_in_one_line(node, tmp_path):
    shutil.copytree(node / "bundle", tmp_path / "bundle")
    (tmp_path / "bundle/sibp/training/trainer.py").write_text("broken = True\n")
    done = subprocess.run([sys.executable, "bundle/run.py", "--out", "back"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"run: {tmp_path / 'bundle/sibp/training/trainer.py'} is missing or not as it was packed: copy the bundle anew\n"
    )


# --- what is refused ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def changed(home, node, tmp_path, monkeypatch):
    """Change the returned file, and import it into an empty folder of results."""
    monkeypatch.chdir(home)

    def take(change) -> tuple[list[str], list[str]]:
        with zipfile.ZipFile(node / "back/returned.zip") as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(contents["manifest.json"])
        change(manifest, contents)
        contents["manifest.json"] = json.dumps(manifest).encode()
        with zipfile.ZipFile(tmp_path / "returned.zip", "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
        _, here, refused = import_runs.take(tmp_path / "returned.zip", str(tmp_path))
        assert {path.stem for path in tmp_path.glob("results/runs/*/*")} == {name.partition("/")[2] for name in here}
        return here, refused

    return take


def rewritten(manifest: dict, contents: dict, name: str, edit) -> None:
    """Edit a job's record and give it the right hash: what a careful forger, or another version of the runner, would do."""
    record = json.loads(contents[f"runs/{name}.json"])
    edit(record)
    contents[f"runs/{name}.json"] = json.dumps(record).encode()
    manifest["jobs"][name]["files"][f"runs/{name}.json"] = hashlib.sha256(contents[f"runs/{name}.json"]).hexdigest()


def test_unchanged_it_is_taken_whole(changed):
    here, refused = changed(lambda manifest, contents: None)
    assert (sorted(here), refused) == ([f"j-fig3/{label}" for label in LABELS], [])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda m, c: c.update({"runs/j-fig3/sgd-full.parquet": c["runs/j-fig3/sgd-full.parquet"][:-9]}),
            "j-fig3/sgd-full: runs/j-fig3/sgd-full.parquet is not as it was written there",
        ),
        (lambda m, c: c.pop("runs/j-fig3/sgd-full.json"), "j-fig3/sgd-full: runs/j-fig3/sgd-full.json is missing"),
        (
            lambda m, c: m["jobs"]["j-fig3/sgd-full"].update(code="0" * 64),
            "j-fig3/sgd-full: was trained by other code of sibp than this checkout's",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda record: record["settings"].update(seeds=3)),
            "j-fig3/sgd-full: was trained with other settings (seeds) than this checkout's",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda record: record.pop("settings")),
            "j-fig3/sgd-full: its record lacks 'settings'",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda record: record["settings"].update(title="Another", note="x")),
            None,  # words decide nothing
        ),
    ],
)
def test_a_job_that_is_not_this_checkouts_is_refused_and_the_others_are_taken(changed, change, line):
    here, refused = changed(change)
    assert refused == ([line] if line else [])
    assert len(here) == (3 if line else 4)


def test_a_job_whose_members_are_not_all_at_their_end_is_refused(changed):
    def cut(manifest, contents):
        name, file = "j-fig3/sgd-full", "runs/j-fig3/sgd-full.parquet"
        table = pd.read_parquet(io.BytesIO(contents[file]))
        content = table[table["step"] < table["step"].max()].to_parquet(index=False)
        contents[file] = content
        manifest["jobs"][name]["files"][file] = hashlib.sha256(content).hexdigest()

    assert changed(cut)[1] == ["j-fig3/sgd-full: 0 of 16 members have come to their end"]


def test_a_file_that_the_manifest_does_not_list_refuses_all(changed):
    with pytest.raises(CampaignError, match=r"holds '\.\./evil', which its manifest does not list"):
        changed(lambda manifest, contents: contents.update({"../evil": b""}))


def test_a_job_from_outside_is_refused_whatever_its_name(changed):
    def add(manifest, contents):
        files = {f"runs/../x/sgd{suffix}": hashlib.sha256(b"").hexdigest() for suffix in (".parquet", ".json")}
        manifest["jobs"] = {"../x/sgd": {"code": "", "settings": "", "files": files}}
        contents.clear()
        contents.update(dict.fromkeys(files, b""))

    here, refused = changed(add)
    assert here == [] and len(refused) == 1 and refused[0].startswith("../x/sgd: ")


def test_a_file_that_is_cut_short_is_refused(node, tmp_path):
    whole = (node / "back/returned.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CampaignError, match=r"cut\.zip: cut short or no zip file"):
        import_runs.read(tmp_path / "cut.zip")


def test_results_are_replaced_as_a_pair_or_not_at_all(tmp_path):
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/a.parquet").write_bytes(b"old")
    (tmp_path / "runs/x/.part-a.json").mkdir()  # in the way of the second file
    with pytest.raises(OSError):
        import_runs.put({"runs/x/a.parquet": b"new", "runs/x/a.json": b"new"}, tmp_path)
    assert (tmp_path / "runs/x/a.parquet").read_bytes() == b"old"


# --- who runs beside whom -------------------------------------------------------------------------------------------------------


def job(name: str, device: str = "cuda", timed: bool = False) -> dict:
    return {"name": name, "device": device, "timed": timed}


@pytest.fixture
def team(tmp_path, monkeypatch) -> workers.Crew:
    """A crew of four cores on a machine with a GPU, whose jobs only note that they were started."""
    team = workers.Crew(workers.Results(tmp_path, {"jobs": [], "scale": "smoke", "git": None}), time.monotonic(), [])
    team.cores = 4
    started = iter(range(1, 100))
    monkeypatch.setattr(workers.together, "fork", lambda command: (next(started), None))
    monkeypatch.setattr(team, "command", lambda job: [job["name"]])
    return team


def test_one_job_is_on_the_gpu_and_others_are_on_the_cores_beside_it(team):
    waiting = [job("a"), job("b"), *(job(f"c{i}", "cpu") for i in range(4))]
    team.start_what_may(waiting)
    assert [one["name"] for one, *_ in team.working.values()] == ["a", "c0", "c1", "c2"]
    assert [one["name"] for one in waiting] == ["b", "c3"]


def test_a_timed_job_waits_for_all_and_is_not_overtaken(team):
    waiting = [job("a"), job("t", timed=True), job("c", "cpu")]
    team.start_what_may(waiting)
    assert [one["name"] for one, *_ in team.working.values()] == ["a"]
    team.working.clear()
    team.start_what_may(waiting)
    assert [one["name"] for one, *_ in team.working.values()] == ["t"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_jobs_are_stopped_when_the_time_is_over_and_are_then_neither_done_nor_failed(tmp_path, monkeypatch, capfd):
    (tmp_path / "sleeps.py").write_text(
        "import sys, time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    team = workers.Crew(workers.Results(tmp_path, {"jobs": [], "scale": "smoke", "git": None}), time.monotonic(), [])
    monkeypatch.setattr(team, "command", lambda job: [str(tmp_path / "sleeps.py")])
    begun = time.monotonic()
    workers.work(team, [job("a"), job("b")], end=begun + 0.5)
    assert not team.working and not team.failed and not team.results.done
    assert "a stopped" in capfd.readouterr().out
    assert time.monotonic() - begun < 30


def test_small_exhibits_come_first_within_a_part_and_the_jobs_of_one_stay_together():
    def of(name: str, part: str, flops: float) -> dict:
        return {"name": name, "part": part, "flops": flops, "launches": 0}

    listed = [of("big/a", "J", 9), of("small/b", "J", 1), of("big/c", "J", 1), of("small/a", "J", 2), of("tiny/a", "A", 0)]
    assert [one["name"] for one in in_order(listed)] == ["small/a", "small/b", "big/a", "big/c", "tiny/a"]


# --- data in pieces -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A little data set of colour images in pieces, and its entry of the registry."""
    monkeypatch.setattr(data_chunks, "RAW", 4096)
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (8, 3, 16, 16), np.uint8), np.arange(8, dtype=np.uint8)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:2].copy(), "test_labels": labels[:2].copy()}
    specs = {name: registry.ArraySpec(array.shape, registry.digest(array)) for name, array in arrays.items()}
    entry = registry.Entry("toy", "Toy", (), (), registry.Package("npm", "none", ".", "none"), specs)
    dataset = registry.Dataset("toy", **arrays, hashes=entry.hashes, source="drawn", classes=())
    return entry, dataset, data_chunks.pack(dataset, tmp_path / "toy"), tmp_path


def test_pieces_are_small_and_give_the_same_pixels(packed):
    entry, dataset, listed, folder = packed
    assert [name for name in listed if name.startswith("train_images")] == ["train_images.0.xz", "train_images.1.xz"]
    read = data_chunks.Pieces(folder).read(entry, folder, lambda text: None)
    assert all(np.array_equal(read[name], getattr(dataset, name)) for name in data_chunks.ARRAYS)


def test_pieces_that_are_there_are_not_written_again(packed):
    _, dataset, listed, folder = packed
    before = (folder / "toy/train_images.0.xz").stat().st_mtime_ns
    assert data_chunks.pack(dataset, folder / "toy") == listed
    assert (folder / "toy/train_images.0.xz").stat().st_mtime_ns == before


def test_a_piece_that_is_missing_or_damaged_is_named(packed):
    entry, _, _, folder = packed
    piece = folder / "toy/train_images.1.xz"
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(data.DataError, match=r"train_images\.1\.xz is cut short or changed"):
        data_chunks.Pieces(folder).read(entry, folder, lambda text: None)
    piece.unlink()
    with pytest.raises(data.DataError, match=r"lacks train_images\.1\.xz"):
        data_chunks.Pieces(folder).read(entry, folder, lambda text: None)
