"""One folder goes to a machine without a network, one file comes back, and Snakemake has nothing left to train."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from sibp import data
from sibp.data import dataset as data_set
from sibp.data import registry
from sibp.experiments.jobs import Job
from sibp.results import records
from tests.unit.tiny import experiment
from tests.workflow.conftest import ROOT, copy_repository, jobs, run, snakemake
from tools.offline_gpu import calls, data_chunks, import_runs, order, training_jobs, workers
from tools.offline_gpu.training_jobs import CampaignError

HAS = ["torch", "typing-extensions", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "rich", "pillow", "filelock"]
WORDS = ("--config", "scale=smoke", "root=out", "job=label")
LABELS = ("sgd-full", "sgd-stochastic", "sibp-full", "sibp-full-armijo", "sibp-stochastic", "sibp-stochastic-armijo")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")


def python(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, *words)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A copy of the repository that already holds another result of one of the jobs, and its bundle."""
    few = ("j-fig3", "j-table2", "a-table1", "mnist-small")  # all would be long to count
    folder = copy_repository(tmp_path_factory.mktemp("home"), *few)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    file = folder / "workflow/scales/smoke.yaml"
    scale = yaml.safe_load(file.read_text(encoding="utf-8"))
    scale["experiments"]["j-fig3"]["training"]["ensemble"] = 8  # two ensembles a job
    text = yaml.safe_dump(scale)
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
    assert "6 jobs are in out/results/runs, done for Snakemake at scale smoke, as long as it is told job=label" in said
    planned = jobs(snakemake(home, "--dry-run", "out/results/summary/j-fig3.csv", *WORDS))
    assert planned == {"summary": 1}
    record = records.read_record(home / "out/results/runs/j-fig3/sgd-full.parquet")
    assert record["training"]["steps"] == 30


def test_the_plan_comes_first_and_what_is_done_is_not_trained_again(node):
    before = {file: file.stat().st_mtime_ns for file in (node / "back/runs").rglob("*")}
    said = trained(node).splitlines()
    assert said[0] == "part j-fig3, scale smoke, cpu: 6 jobs, 6 done; the rest takes about 0.0 min on h100, as counted"
    assert [line.split()[0] for line in said[2:8]] == [f"j-fig3/{label}" for label in LABELS]
    assert {file: file.stat().st_mtime_ns for file in (node / "back/runs").rglob("*")} == before


def test_a_job_trained_by_two_machines_an_ensemble_each_is_the_whole_job_to_the_bit(node, home, tmp_path, monkeypatch):
    words = ("bundle/run.py", "--part", "j-fig3/sgd-full", "--unit", "ensemble", "--out", str(tmp_path))
    first = run(node, sys.executable, *words, "--share", "1/2", PYTHONPATH="")
    assert "1 of 1 ensembles are done" in first and not (tmp_path / "runs/j-fig3/sgd-full.parquet").exists()
    said = run(node, sys.executable, *words, "--status", PYTHONPATH="").splitlines()
    assert said[0] == "scale smoke: 1 of 2 done" and said[3] == "to come      1  j-fig3/sgd-full.2of2"
    assert said[4:] == ["0.00 hours left on h100, as counted"]
    run(node, sys.executable, *words, PYTHONPATH="")
    assert run(node, sys.executable, *words, "--status", PYTHONPATH="").startswith("scale smoke: 2 of 2 done\n")
    ours, theirs = (pd.read_parquet(out / "runs/j-fig3/sgd-full.parquet") for out in (tmp_path, node / "back"))
    pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"), check_exact=True)
    monkeypatch.chdir(home)
    _, here, refused = import_runs.take(tmp_path / "returned.zip", str(tmp_path))
    assert (here, refused) == (["j-fig3/sgd-full"], [])


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
    """Edit a job's run and give it the right hash: what a careful forger, or another version of the runner, would do."""
    file = f"runs/{name}.parquet"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        path.write_bytes(contents[file])
        records.write(path, edit(records.read(path)))
        contents[file] = path.read_bytes()
    manifest["jobs"][name]["files"][file] = hashlib.sha256(contents[file]).hexdigest()


def with_settings(run: records.Run, **settings: object) -> records.Run:
    return replace(run, record=run.record | {"settings": run.record["settings"] | settings})


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
        (lambda m, c: c.pop("runs/j-fig3/sgd-full.parquet"), "j-fig3/sgd-full: runs/j-fig3/sgd-full.parquet is missing"),
        (
            lambda m, c: m["jobs"]["j-fig3/sgd-full"].update(code="0" * 64),
            "j-fig3/sgd-full: was trained by other code of sibp than this checkout's",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda run: with_settings(run, seeds=3)),
            "j-fig3/sgd-full: was trained with other settings (seeds) than this checkout's",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda run: replace(run, record={})),
            "j-fig3/sgd-full: its record lacks 'settings'",
        ),
        (
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda run: with_settings(run, title="Another", note="x")),
            None,  # words decide nothing
        ),
    ],
)
def test_a_job_that_is_not_this_checkouts_is_refused_and_the_others_are_taken(changed, change, line):
    here, refused = changed(change)
    assert refused == ([line] if line else [])
    assert len(here) == len(LABELS) - bool(line)


def test_a_job_whose_members_are_not_all_at_their_end_is_refused(changed):
    def cut(manifest, contents):
        rewritten(
            manifest,
            contents,
            "j-fig3/sgd-full",
            lambda run: replace(run, rows=run.rows[run.rows["step"] < run.rows["step"].max()]),
        )

    assert changed(cut)[1] == ["j-fig3/sgd-full: 0 of 16 members have come to their end"]


def test_a_file_that_the_manifest_does_not_list_refuses_all(changed):
    with pytest.raises(CampaignError, match=r"holds '\.\./evil', which its manifest does not list"):
        changed(lambda manifest, contents: contents.update({"../evil": b""}))


def test_a_job_from_outside_is_refused_whatever_its_name(changed):
    def add(manifest, contents):
        files = {"runs/../x/sgd.parquet": hashlib.sha256(b"").hexdigest()}
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


# --- who runs beside whom -------------------------------------------------------------------------------------------------------


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


def of(name: str, part: str, seconds: float) -> dict:
    return {"name": name, "part": part, "seconds": seconds}


JOBS = [of("small/a", "J", 2), of("small/b", "J", 1), of("big/a", "J", 9), of("tiny/a", "A", 1), of("s/a", "search", 1)]


def test_short_exhibits_come_first_within_a_part_and_the_jobs_of_one_stay_together():
    listed = [of("big/a", "J", 9), of("small/b", "J", 1), of("big/c", "J", 1), of("small/a", "J", 2), of("tiny/a", "A", 0)]
    assert [one["name"] for one in order.by_parts(listed)] == ["small/a", "small/b", "big/a", "big/c", "tiny/a"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tiny", "small/b", "J"], ["tiny/a", "small/b", "small/a", "big/a"]),
        (["all"], ["small/a", "small/b", "big/a", "tiny/a"]),
        (["P", "search"], ["s/a"]),  # nothing of P is left
    ],
)
def test_jobs_run_in_the_order_in_which_they_are_named(words, expected):
    assert [one["name"] for one in order.as_named(JOBS, words)] == expected


def test_a_name_of_nothing_is_refused():
    with pytest.raises(
        LookupError, match="part: got 'huge', need all, J, A, I, P, extra, search, or an exhibit or a job such as small/a"
    ):
        order.as_named(JOBS, ["huge"])


def test_most_claims_per_second_come_first_and_jobs_that_no_claim_needs_last():
    claims = {"1": ["big/a"], "2": ["tiny/a"], "3": ["small/a", "small/b"], "4": ["small/a", "small/b"], "5": ["elsewhere/a"]}
    chosen = [one["name"] for one in order.by_claims(JOBS, claims)]
    assert chosen == ["tiny/a", "small/a", "small/b", "big/a", "s/a"]  # 1 a second, 2 in three seconds, 1 in nine


def test_a_claim_waits_for_the_ensembles_of_three_seeds_and_the_others_come_after_all_that_claims_need():
    kinds = {"cpu": 10, "h100": 1}
    split = {"ensembles": [3, 3, 3, 1], "enough": 2, "kinds": kinds}
    single = {"ensembles": [1], "enough": 1, "kinds": kinds}
    units = order.ensembles([of("long/a", "J", 10) | split, of("short/a", "J", 9) | single])
    assert [(unit["name"], unit["seconds"], unit["kinds"]["h100"]) for unit in units[:4:3]] == [
        ("long/a.1of4", 3, 0.3),
        ("long/a.4of4", 1, 0.1),
    ]
    claims = order.claims_on(units, {"1": ["long/a"], "2": ["short/a"]})
    chosen = [one["name"] for one in order.by_claims(units, claims)]
    assert chosen == ["long/a.1of4", "long/a.2of4", "short/a.1of1", "long/a.3of4", "long/a.4of4"]  # 1 in six seconds, 1 in nine
    assert [one["name"] for one in order.shared(reversed(units), units, (2, 2))] == ["long/a.4of4", "long/a.2of4"]
    assert order.as_named(units, ["long/a"]) == units[:4]


@pytest.mark.parametrize(("ensemble", "seeds", "expected"), [(2, 5, 3), (4, 5, 2), (40, 5, 1), (2, 1, 1)])
def test_enough_ensembles_are_those_of_three_seeds(ensemble, seeds, expected):
    assert training_jobs.enough(Job(experiment(training__ensemble=ensemble, seeds=seeds), "sgd")) == expected  # two settings a seed


def test_what_runs_is_told_as_long_as_its_process_lives(tmp_path):
    results = workers.Results(tmp_path, {"jobs": [], "scale": "smoke", "git": None})
    results.running(["a"])
    assert results.now_running() == {"a"}
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "running.json").write_text(json.dumps({"process": ended.pid, "jobs": ["a"]}))
    assert results.now_running() == set()


def test_what_is_done_costs_nothing():
    claims = {"1": ["big/a", "tiny/a"], "2": ["small/a"]}
    assert [one["name"] for one in order.by_claims(JOBS, claims, done=["big/a"])][:2] == ["tiny/a", "small/a"]


def test_the_open_claims_are_those_without_a_verdict_at_the_papers_size(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    claims = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
    decided, provisional, smaller = [claim["id"] for claim in claims if claim["exhibit"] == "j-table2"][:3]
    rows = [(decided, "papers'", False), (provisional, "papers'", True), (smaller, "smaller", False)]
    (tmp_path / "claims.json").write_text(json.dumps([dict(zip(("id", "size", "provisional"), row, strict=True)) for row in rows]))
    jobs = {"j-table2/sgd", "j-table2/sibp"}
    needed = training_jobs.open_claims(tmp_path / "claims.json", jobs)
    assert decided not in needed and {provisional, smaller} <= needed.keys()
    assert set().union(*needed.values()) <= jobs


def test_a_job_that_cannot_be_counted_comes_last_and_is_named(monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(training_jobs.cost, "estimate", fails)
    assert training_jobs.counted(SimpleNamespace(name="x/a", experiment=None, label="a"), "h100") == (float("inf"), 0)
    assert capsys.readouterr().err == "x/a: cannot be counted, so it comes last (no such operation)\n"
    jobs = [of("x/a", "J", float("inf")), *JOBS]
    assert [one["name"] for one in order.by_claims(jobs, {"1": ["x/a"], "2": ["big/a"]})][:2] == ["big/a", "x/a"]
    assert json.loads(json.dumps(jobs)) == jobs


# --- what travels with which call -----------------------------------------------------------------------------------------------


def test_files_go_in_turns_none_of_which_is_over_the_budget():
    sizes = {"run.py": 3, "a": 5, "b": 5, "c": 9, "d": 1}
    assert calls.in_turns(sizes, 10) == [["run.py", "a"], ["b"], ["c", "d"]]
    with pytest.raises(SystemExit, match=r"budget: got .* need at least .* for c"):
        calls.in_turns(sizes, 8)


def test_the_program_goes_first_then_data_as_jobs_need_them_and_what_was_unpacked_stays(tmp_path):
    for name in ("run.py", "plan.json", "site/x.py", "data/mnist/0.xz", "data/cifar10/0.xz", "data/fashion-mnist/0.xz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    jobs = [{"data": "mnist"}, {"data": None}, {"data": "cifar10"}, {"data": "mnist"}]
    sizes = calls.sizes_in_order(tmp_path, jobs)
    assert list(sizes) == ["plan.json", "run.py", "data/mnist/0.xz", "data/cifar10/0.xz"]
    calls.lay_out(tmp_path, calls.in_turns(sizes, 40), tmp_path / "calls")
    laid = [path.relative_to(tmp_path / "calls").as_posix() for path in sorted((tmp_path / "calls").rglob("*")) if path.is_file()]
    assert laid == ["1/data/mnist/0.xz", "1/plan.json", "1/run.py", "2/data/cifar10/0.xz"]


# --- data in pieces -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path):
    """A little data set of colour images in pieces, and its entry of the registry."""
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (8, 3, 16, 16), np.uint8), np.arange(8, dtype=np.uint8)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:2].copy(), "test_labels": labels[:2].copy()}
    specs = {name: registry.ArraySpec(array.shape, data_set.digest(array)) for name, array in arrays.items()}
    entry = registry.Entry("toy", "Toy", (), (), registry.Package("npm", "none", ".", "none"), specs)
    dataset = data_set.Dataset("toy", **arrays, hashes=entry.hashes, source="drawn", classes=())
    return entry, dataset, data_chunks.pack(dataset, tmp_path / "toy", 4096), tmp_path


def test_pieces_are_small_and_give_the_same_pixels(packed):
    entry, dataset, listed, folder = packed
    assert [name for name in listed if name.startswith("train_images")] == ["train_images.0.xz", "train_images.1.xz"]
    read = data_chunks.Chunks(folder).read(entry, folder, lambda text: None)
    assert all(np.array_equal(read[name], getattr(dataset, name)) for name in data_chunks.ARRAYS)


def test_pieces_that_are_there_are_not_written_again(packed):
    _, dataset, listed, folder = packed
    before = (folder / "toy/train_images.0.xz").stat().st_mtime_ns
    assert data_chunks.pack(dataset, folder / "toy", 4096) == listed
    assert (folder / "toy/train_images.0.xz").stat().st_mtime_ns == before


def test_a_piece_that_is_missing_or_damaged_is_named(packed):
    entry, _, _, folder = packed
    piece = folder / "toy/train_images.1.xz"
    piece.write_bytes(piece.read_bytes()[:-1])
    with pytest.raises(data.DataError, match=r"train_images\.1\.xz is cut short or changed"):
        data_chunks.Chunks(folder).read(entry, folder, lambda text: None)
    assert data_chunks.Chunks(folder).missing("toy") == []  # damage is no reason to wait
    piece.unlink()
    assert data_chunks.Chunks(folder).missing("toy") == ["train_images.1.xz"]
    assert data_chunks.Chunks(folder).missing("other") == ["pieces.json"]
    with pytest.raises(data.DataError, match=r"lacks train_images\.1\.xz"):
        data_chunks.Chunks(folder).read(entry, folder, lambda text: None)


def test_the_bundle_checks_the_device_it_is_on(home, tmp_path):
    shutil.copytree(home / ".bundle", tmp_path / "bundle")
    words = ("bundle/check.py", "--device", "cpu", "--only", "products", "--out", "back")
    assert "PASS  products" in run(tmp_path, sys.executable, *words, PYTHONPATH="")
    assert json.loads((tmp_path / "back/check.json").read_text())["passed"]
