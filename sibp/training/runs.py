"""One training run: all members of one label of an experiment, from data to records."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sibp.core import precision
from sibp.experiments.jobs import Job
from sibp.experiments.schema import Trained
from sibp.kernels import native
from sibp.kernels.status import status
from sibp.methods import Method, registry
from sibp.nets import losses, papers
from sibp.results import environment, records
from sibp.results.progress import Clock, Progress
from sibp.training import checkpoint, gpu_lock, sampling
from sibp.training.checkpoint import Checkpoint
from sibp.training.ensembles import Ensembles, bytes_per_member
from sibp.training.problem import Problem

__all__ = ["run", "slower_code"]


def run(
    experiment: Trained,
    label: str,
    device: str = "cpu",
    threads: int | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    root: str | None = None,
    checkpoint_seconds: float = checkpoint.SECONDS,
    ensemble: int | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train all members of one label and return the rows and their provenance.

    Args:
        experiment: resolved at a scale, see `sibp.experiments.specs`.
        label: one of its methods.
        device: ``cpu`` or ``cuda``; an experiment of tiny products may insist on ``cpu``.
        threads: CPU threads; None leaves torch's choice.
        out: where to write ``<id>/<label>.parquet``, at the end and whole; None writes nothing. Until then a checkpoint is in
            ``<id>/<label>.pt``, from which the same call goes on if it is killed.
        progress: observer of the training; None shows nothing.
        root: the data cache; None takes the user's.
        checkpoint_seconds: least time between two checkpoints, >= 0.
        ensemble: train only that one of `Job.groups`, counted from 1; its files are named by `Job.part`, and its record says so.

    Returns:
        One row per member and evaluation, and the JSON record. What stops it: a SpecError if there is no such label or ensemble, a
        DataError if the data set is not in the cache, a RecordError if the results or a checkpoint cannot be written, a MemoryError if
        a single member cannot fit on the device, and `Stopped` after a signal.
    """
    job = Job(experiment, label)
    observer = progress or Progress()
    name = label if ensemble is None else job.part(ensemble)
    path = None if out is None else Path(out) / experiment.id / f"{name}.pt"
    applied = precision.configure(threads)
    with gpu_lock.turn(torch.device(job.device(device)), root, observer.note) as target:
        file = Checkpoint(path, checkpoint.key(job, target) | {"ensemble": name}, checkpoint_seconds)
        rows, provenance = _train(job, target, file, observer, root=root, ensemble=ensemble)
    provenance |= {"precision": applied, "threads": torch.get_num_threads()}
    if path is not None:
        records.write(path.with_name(f"{name}.parquet"), records.Run(rows, provenance, records.roles(rows, job.options)))
        file.remove()
    return rows, provenance


def slower_code(experiment: Trained, labels: Iterable[str], device: str) -> str:
    """Return whether training on the CPU has to do without the compiled kernels, for who starts runs to say once for all labels.

    Args:
        experiment: resolved at a scale.
        labels: of its methods.
        device: ``cpu`` or ``cuda``, as for `run`.

    Returns:
        One line that says why; empty where the kernels run, or none are needed.
    """
    return native.fallback() if any(Job(experiment, label).device(device) == "cpu" for label in labels) else ""


def _train(
    job: Job, device: torch.device, file: Checkpoint, progress: Progress, *, root: str | None, ensemble: int | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    clock, record = Clock(device), environment.environment(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    environment.reset_peak_memory(device)
    with clock("total"):
        with clock("data"):
            problem, record["data"] = _problem(job, device, root)
        _check_memory(problem, registry.get(job.algorithm))
        groups = job.groups if ensemble is None else [job.groups[ensemble - 1]]
        ensembles = Ensembles(job, problem, clock, progress, checkpoint=file, record=record, groups=groups)
        rows, outcome = ensembles.train()
    record |= {"peak_memory_bytes": ensembles.peak_memory(), "seconds": clock.seconds}
    record["kernels"] = status(device)  # which ran is known at the end: they compile when they are needed
    part = {} if ensemble is None else {"ensemble": ensemble}
    return rows, _settings(job, problem) | part | outcome | record


def _problem(job: Job, device: torch.device, root: str | None) -> tuple[Problem, dict[str, Any]]:
    splits, origin = sampling.load(job.experiment.data, root)
    network, loss = papers.build(**job.network.settings()), losses.get(job.experiment.loss)
    placed = {name: samples.shaped(network.input_shape, device) for name, samples in splits.items()}
    return Problem(network, loss, job.network.init, job.training, placed, device), origin


def _settings(job: Job, problem: Problem) -> dict[str, Any]:
    """Return the job's settings, resolved, for its record."""
    return {
        "exhibit": job.experiment.id,
        "method": job.label,
        "algorithm": job.algorithm,
        "scale": job.experiment.scale,
        "training": job.training.model_dump(mode="json", exclude_none=True),
        "network": {"name": problem.network.name, "parameters": problem.network.parameter_count},
        **job.in_record,
    }


def _check_memory(problem: Problem, method: type[Method]) -> None:
    """Refuse a job of which not even one member can fit on a CUDA device, before it is built; larger ensembles are halved.

    Raises:
        MemoryError: with what it needs and what is free.
    """
    if problem.device.type != "cuda":
        return
    batch = problem.training.batch(len(problem.splits["train"]))
    need = bytes_per_member(problem.network, batch, problem.dtype, method)
    free, _ = torch.cuda.mem_get_info(problem.device)
    if need > free:
        gib = 2**30
        raise MemoryError(f"network: one member needs about {need / gib:.2g} GiB, {free / gib:.2g} GiB are free")
