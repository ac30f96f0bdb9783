"""One folder goes to a machine without a network, one file comes back, and Snakemake has nothing left to train."""

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sibp.results import records
from tests.workflow.conftest import ROOT, copy_repository, jobs, link_kernels, run, snakemake
from tools.offline_gpu import bundle, import_runs
from tools.offline_gpu import run as runner
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
    link_kernels(folder)
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


@pytest.mark.parametrize("size", ["0", "-1", "nan", "much"])
def test_pieces_of_no_size_are_refused_in_a_line(size, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bundle", "--chunk", size])
    with pytest.raises(SystemExit):
        bundle.main()
    assert f"argument --chunk: got '{size}', need a number of MiB greater than 0" in capsys.readouterr().err


def test_what_the_machine_has_is_packed_for_no_other_package_either(tmp_path, monkeypatch):
    def install(command, **_):
        options = dict(itertools.pairwise(command))
        assert Path(options["--override"]).read_text() == "torch ; python_version < '3'\nnumpy ; python_version < '3'\n"
        assert "rich" in command and "scipy" not in command  # summaries, which need it, are made at home
        (Path(options["--target"]) / "rich-1.dist-info").mkdir(parents=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bundle.subprocess, "run", install)
    monkeypatch.setattr(bundle, "_mirror", dict)
    assert bundle.packages(tmp_path, "3.12", "any", ["torch", "numpy"]) == ["rich 1"]
    assert zipfile.ZipFile(tmp_path / "packages.zip").namelist() == ["rich-1.dist-info/"]


def test_a_machine_that_lacks_a_package_is_refused_and_names_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(runner.importlib.util, "find_spec", lambda name: None if name in ("filelock", "scipy") else name)
    with pytest.raises(SystemExit):
        runner.make_importable()
    assert capsys.readouterr().err.startswith("run: this Python has no filelock: name what it does have, make gpu-bundle")


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
            lambda m, c: rewritten(m, c, "j-fig3/sgd-full", lambda run: with_settings(run, seeds=0)),
            "j-fig3/sgd-full: settings.seeds: got 0, need greater than 0",
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


# --- data in pieces -------------------------------------------------------------------------------------------------------------


def test_the_bundle_checks_the_device_it_is_on(home, tmp_path):
    shutil.copytree(home / ".bundle", tmp_path / "bundle")
    words = ("bundle/check.py", "--device", "cpu", "--only", "products", "--out", "back")
    assert "PASS  products" in run(tmp_path, sys.executable, *words, PYTHONPATH="")
    assert json.loads((tmp_path / "back/check.json").read_text())["passed"]
