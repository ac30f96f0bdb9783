"""A copy of the repository to run Snakemake in, and what its experiment files say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "sibp", "workflow", "tools", "envs", "profiles", "paper/report.typ", "docs/deviations.md", "CITATION.cff")
EXPERIMENTS = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in (ROOT / "workflow/experiments").glob("*.yaml")
}
EXHIBITS = sorted(name for name, content in EXPERIMENTS.items() if content.keys() & {"figure", "table", "notebook"})
FIGURES = {name for name in EXHIBITS if "figure" in (*EXPERIMENTS[name], EXPERIMENTS[name].get("notebook"))}


def copy_repository(folder: Path, *only: str) -> Path:
    """Copy what the workflow reads, and nothing that it has written, into a folder.

    Args:
        folder: which is there.
        only: experiments and searches; where some are named, the copy has no others, so that Snakemake starts in half the time.

    Returns:
        The folder.
    """
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copyfile(source, target)
    if only:
        leave(folder / "workflow", {*only, "chosen"})
    link_kernels(folder)
    return folder


def leave(workflow: Path, names: set[str]) -> None:
    """Delete all experiments and searches but these, and what scales say of the others."""
    for file in (*workflow.glob("experiments/*.yaml"), *workflow.glob("selection/*.yaml")):
        if file.stem not in names:
            file.unlink()
    for file in workflow.glob("scales/*.yaml"):
        scale = yaml.safe_load(file.read_text(encoding="utf-8"))
        scale["experiments"] = {name: content for name, content in scale.get("experiments", {}).items() if name in names}
        file.write_text(yaml.safe_dump(scale), encoding="utf-8")


def link_kernels(folder: Path) -> None:
    """Let what `run` starts in a folder use the compiled kernels of this process: compiling takes ten seconds."""
    from sibp.core.paths import cache_folder
    from sibp.kernels import native

    native.status()
    (folder / "cache").mkdir()
    (folder / "cache/native").symlink_to(cache_folder() / "native")


def run(folder: Path, *words: str, **environment: str) -> str:
    """Run a command in a folder, without a network and with an empty data cache; return what it prints, and insist on success."""
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    own = {"SIBP_CACHE": str(folder / "cache"), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=folder, env=os.environ | nowhere | own | environment, capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-5000:]
    return printed


def snakemake(folder: Path, *words: str, **environment: str) -> str:
    return run(folder, sys.executable, "-m", "snakemake", "--cores", "2", *words, **environment)


def jobs(printed: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run would start."""
    if "Nothing to be done" in printed:
        return {}
    table = printed.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    return {rule: int(count) for rule, count in (line.split() for line in table) if rule != "total"}


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which nothing has been made; for dry runs only."""
    return copy_repository(tmp_path_factory.mktemp("repository"))
