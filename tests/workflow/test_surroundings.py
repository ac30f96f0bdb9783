"""What Snakemake makes of a machine and a folder that are not as on the developers': GPUs, editors' files, faults in files, odd folders."""

import shutil
import subprocess
import sys

import pytest
import yaml

from sibp.results import records
from tests.workflow.conftest import copy_repository, jobs, run

WORDS = (sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the repository; tests put files into it and take them away."""
    return copy_repository(tmp_path_factory.mktemp("surroundings"), "j-fig2", "j-fig3", "j-fig10")


@pytest.fixture
def put(folder):
    """Write a file of the copy; take it away at the end."""
    written = []

    def write(name, text):
        written.append(folder / name)
        written[-1].write_text(text)

    yield write
    for file in written:
        file.unlink()


def fails(folder, *words):
    """Return the lines that a dry run fails with."""
    done = subprocess.run([*WORDS, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    return (done.stdout + done.stderr).splitlines()


@pytest.fixture
def gpu(tmp_path):
    """A PATH on which `nvidia-smi` lists a GPU; torch, here without a driver, can use none."""
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "GPU 0: An old one (UUID: GPU-0)"\n')
    program.chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


def test_a_gpu_that_torch_cannot_use_is_left_alone_and_told_in_one_line(folder, gpu):
    said = run(folder, *WORDS, "j-fig3", "--printshellcmds", PATH=gpu, CUDA_VISIBLE_DEVICES="7")  # there is none of that number
    assert "--scale laptop --device cpu" in said
    lines = [line for line in said.splitlines() if line.startswith("sibp: ")]
    assert len(lines) == 1 and lines[0].startswith("sibp: the driver lists a GPU, but torch ") and "--config device=cpu" in lines[0]
    asked = run(folder, *WORDS, "j-fig3", "--config", "device=cpu", PATH=gpu, CUDA_VISIBLE_DEVICES="7")
    assert "sibp: " not in asked and "device=cpu" in asked


def test_files_that_editors_leave_are_no_experiments(folder, put):
    for name in (".#j-fig2.yaml", "._j-fig2.yaml", ".j-fig2.yaml.swp", "j-fig2.yaml~", "#j-fig2.yaml#"):
        put(f"workflow/experiments/{name}", "{")
    put("workflow/scales/._full.yaml", "{")
    links = ["workflow/figures/.#plain.py", "sibp/methods/.#sgd.py", "sibp/kernels/csrc/.#kernels.cpp", "sibp/cli/.#doctor.py"]
    for name in links:
        (folder / name).symlink_to("me@nowhere:1")
    try:
        assert jobs(run(folder, *WORDS, "j-fig2", "--config", "scale=smoke"))["j-fig2"] == 1
        code = "from sibp.kernels import native; print(*native._sources())"
        assert ".#" not in run(folder, sys.executable, "-c", code)
    finally:
        for name in links:
            (folder / name).unlink()


FAULTS = {
    "id: zz\ntitle: zz\nmethods:\n\tsgd: {eta: 0.1}\n": "line 4, column 1: found character '\\t' that cannot start any token",
    "id: zz\ntitle: zz\nmethods: [sgd]\n": "methods: got ['sgd'], need ",
    "id: zz\ntitle: zz\nmethods:\n  sgd: 3\n": "methods.sgd: got 3, need ",
    "title: zz\n": "id: missing",
    "id: yy\ntitle: zz\n": "id: got 'yy', need 'zz', the file's name",
    "just words": "got str, need a mapping of names",
    "id: zz\ntitle: zz\nmethods: {../x: {}}\n": "methods: got '../x', need a name for files: ",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_in_a_file_names_the_file(folder, put, text):
    put("workflow/experiments/zz.yaml", text)
    lines = [line for line in fails(folder, "j-fig2") if "zz.yaml" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{folder}/workflow/experiments/zz.yaml: {FAULTS[text]}")


def test_a_scale_of_one_s_own_is_given_by_its_path(folder, tmp_path):
    scale = tmp_path / "my scale.yaml"
    scale.write_text(yaml.safe_dump({"name": "my scale", "data": "generated", "limits": {"seeds": 1}}))
    said = run(folder, *WORDS, "j-fig2", "j-fig3", "--printshellcmds", "--config", f"scale={scale}")
    assert f"--scale '{scale}'" in said
    scale.write_text("limits: {seeds: 0}")
    assert any(line.startswith(f"{scale}: ") for line in fails(folder, "j-fig3", "--config", f"scale={scale}"))


def test_a_results_folder_with_braces_is_refused_in_a_line(folder):
    assert "config root: got 'a{x}', need a folder without braces" in fails(folder, "j-fig2", "--config", "root=a{x}")


def test_jobs_run_the_package_of_this_checkout(folder, put, tmp_path):
    name = "sibp/core/version.py"
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace('VERSION = "', 'VERSION = "copy-'))
    (tmp_path / "torch.py").write_text("raise ImportError('a module system has this one')")
    try:
        file = "one/results/runs/j-fig10/sgd.parquet"
        run(folder, *WORDS[:-1], file, "--config", "scale=smoke", "root=one", PYTHONPATH=str(tmp_path))
        assert records.read_record(folder / file)["versions"]["sibp"].startswith("copy-")
    finally:
        (folder / name).write_text(text)
        shutil.rmtree(folder / "one", ignore_errors=True)
