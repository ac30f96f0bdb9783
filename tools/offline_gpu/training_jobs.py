"""The workflow's training jobs, for those who run them elsewhere: which are left, what each is, and what makes it the same job."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from sibp import doctor
from sibp.experiments import specs
from sibp.experiments.jobs import Job
from sibp.experiments.schema import Experiment
from sibp.nets import papers
from sibp.training.ensembles import bytes_per_member

ALONE = ["-m", "tools.single_instance", sys.executable, "-m", "snakemake", "--cores", "1"]
PARTS = ("J", "A", "I", "P", "extra", "search")  # in the order in which they run
NEVER = 1e9  # seconds; JSON knows no infinity
LAUNCH = 1e7  # a launch takes about as long as so many floating-point operations


class CampaignError(RuntimeError):
    """Something is wrong with a bundle or with what came back; the message is one line."""


def snakemake(*words: str, scale: str, root: str) -> str:
    """Run Snakemake in this folder on jobs one by one, and return what it prints on standard output.

    Raises:
        CampaignError: with its last line, if it fails.
    """
    command = [sys.executable, *ALONE, *words, "--config", f"scale={scale}", f"root={root}", "jobs=apart"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise CampaignError(f"snakemake {' '.join(words)[:60]}: {said[-1] if said else 'failed'}")
    return done.stdout


def pending(scale: str, root: str) -> dict[tuple[str, str], bool]:
    """Return for each training job, by exhibit and label, whether Snakemake would run it."""
    told = snakemake("--summary", "--nolock", "all", "selection", scale=scale, root=root)
    jobs: dict[tuple[str, str], bool] = {}
    for line in told.splitlines():
        file, _, rule, *_, plan = line.split("\t") if line.count("\t") > 2 else ("", "", "", "")
        if rule == "train":
            name = Path(file).parent.name, Path(file).stem
            jobs[name] = jobs.get(name, False) or plan != "no update"
    return jobs


def experiment(name: str, scale: str) -> tuple[Path, Experiment]:
    """Return an experiment's file and the experiment as it runs at a scale.

    Raises:
        SpecError: if there is no such experiment, or its file is wrong.
    """
    places = [Path(f"workflow/{kind}/{name}.yaml") for kind in ("experiments", "selection")]
    path = next((place for place in places if place.is_file()), places[0])
    return path, specs.resolve(specs.load_experiment(path), specs.load_scale(scale))


def job(path: Path, experiment: Experiment, label: str) -> dict[str, Any]:
    """Return what a machine needs to know of a job: what to run, about how much work it is, and which settings and code it stands for."""
    run = Job(experiment, label)
    network = papers.build(**run.network.settings())
    work = doctor.cost(experiment, label)
    paper = experiment.paper.source if experiment.paper else "extra"
    return {
        "name": run.name,
        "part": "search" if path.parent.name == "selection" else paper,
        "file": path.as_posix(),
        "data": experiment.data.name if experiment.data.is_real else None,
        "timed": run.training.is_timed,
        "cpu": run.training.device == "cpu",
        "members": len(run.members),
        "steps": run.steps,
        "flops": work.flops,
        "launches": work.launches,
        "limit": min(work.limit, NEVER),
        "bytes": max(map(len, run.groups)) * bytes_per_member(network, run.batch),
        "settings": run.digest,
        "code": run.code,
    }


def in_order(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return jobs part by part, an exhibit's jobs together, small exhibits first: the more are whole when time is over."""
    work: dict[str, float] = {}
    for one in jobs:
        exhibit = one["name"].partition("/")[0]
        work[exhibit] = work.get(exhibit, 0.0) + one["flops"] + LAUNCH * one["launches"]
    return sorted(jobs, key=lambda one: (PARTS.index(one["part"]), work[one["name"].partition("/")[0]], one["name"]))
