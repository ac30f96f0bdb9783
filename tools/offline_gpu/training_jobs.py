"""The workflow's training jobs, for those who run them elsewhere: which are left, what each is, and what makes it the same job."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sibp.bench import cost
from sibp.experiments import specs
from sibp.experiments.jobs import Job
from sibp.experiments.schema import Trained
from workflow.scripts import claims_file
from workflow.scripts.findings import ENOUGH_SEEDS

ALONE = ["-m", "tools.single_instance", sys.executable, "-m", "snakemake", "--cores", "1"]
CLAIMS = Path("workflow/claims.yaml")


class CampaignError(RuntimeError):
    """Something is wrong with a bundle or with what came back; the message is one line."""


def snakemake(*words: str, scale: str, root: str) -> str:
    """Run Snakemake in this folder on jobs one by one, and return what it prints on standard output.

    Raises:
        CampaignError: with its last line, if it fails.
    """
    command = [sys.executable, *ALONE, *words, "--config", f"scale={scale}", f"root={root}", "job=label"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        printed = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise CampaignError(f"snakemake {' '.join(words)[:60]}: {printed[-1] if printed else 'failed'}")
    return done.stdout


def pending(scale: str, root: str) -> dict[tuple[str, str], bool]:
    """Return for each training job, by exhibit and label, whether Snakemake would run it."""
    summary = snakemake("--summary", "--nolock", "all", "selection", scale=scale, root=root)
    jobs: dict[tuple[str, str], bool] = {}
    for line in summary.splitlines():
        file, _, rule, *_, plan = line.split("\t") if line.count("\t") > 2 else ("", "", "", "")
        if rule.startswith("train"):
            name = Path(file).parent.name, Path(file).stem
            jobs[name] = jobs.get(name, False) or plan != "no update"
    return jobs


def experiment(name: str, scale: str) -> tuple[Path, Trained]:
    """Return an experiment's file and the experiment as it runs at a scale.

    Raises:
        SpecError: if there is no such experiment, its file is wrong, or it trains nothing.
    """
    places = [Path(f"workflow/{kind}/{name}.yaml") for kind in ("experiments", "selection")]
    path = next((place for place in places if place.is_file()), places[0])
    return path, specs.resolve(specs.load_experiment(path), specs.load_scale(scale)).trained


def counted(run: Job, device: str) -> tuple[float, int]:
    """Return a job's seconds and bytes as they are counted for a device, without the start of its worker, which takes others after it.

    A job that cannot be counted takes for ever, so it comes last.
    """
    try:
        estimate = cost.estimate(run.experiment, run.label, device)
    except RuntimeError as fault:  # an operation that stand-ins for the device do not know
        print(f"{run.name}: cannot be counted, so it comes last ({fault})", file=sys.stderr)
        return math.inf, 0
    return round(estimate.seconds - estimate.start, 1), estimate.bytes


def enough(run: Job) -> int:
    """Return how many of a job's ensembles, from the first on, hold the seeds that a final verdict takes."""
    needed = set(range(min(ENOUGH_SEEDS, len(run.seeds)) * len(run.members) // len(run.seeds)))
    return max(number for number, group in enumerate(run.groups, 1) if needed & set(group))


def job(path: Path, experiment: Trained, label: str, devices: Sequence[str]) -> dict[str, Any]:
    """Return what a machine needs to know of a job: what to run, how long it takes, and which settings and code it stands for.

    `devices` are those whose seconds are counted, see `sibp.bench.rates`; the first one's decide the order.
    """
    run = Job(experiment, label)
    counts = {name: counted(run, name) for name in devices}
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
        "ensembles": [len(group) for group in run.groups],
        "enough": enough(run),
        "seconds": counts[devices[0]][0],
        "kinds": {name: seconds for name, (seconds, _) in counts.items()},
        "bytes": counts[devices[0]][1],
        "settings": run.digest,
        "code": run.code,
    }


def open_claims(judged: Path, jobs: set[str]) -> dict[str, list[str]]:
    """Return for each claim without a verdict at the papers' size that is final the names of the jobs that it still needs, of those given.

    A provisional verdict, from too few seeds, leaves its claim open.

    Args:
        judged: claims.json of the shipped results; where there is none, all claims are open.
        jobs: names of jobs that are not done.
    """
    rows = json.loads(judged.read_text(encoding="utf-8")) if judged.is_file() else []
    decided = {row["id"] for row in rows if row["size"] == "papers'" and not row["provisional"]}
    needed = {
        claim.id: sorted(f"{exhibit}/{label}" for exhibit, label in claim.sources if f"{exhibit}/{label}" in jobs)
        for claim in claims_file.load(CLAIMS)
        if claim.id not in decided
    }
    return {claim: names for claim, names in needed.items() if names}
