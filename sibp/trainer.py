"""One training run: all members of one label of an experiment, from data to records."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from sibp import ensemble, evaluation, losses, models, precision, records, sampling, specs
from sibp.loop import Problem, Trainer, total_steps
from sibp.progress import Clock, Progress
from sibp.schema import Experiment
from sibp.specs import Member

__all__ = ["run"]


def run(
    experiment: Experiment,
    label: str,
    device: str = "cpu",
    threads: int | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    root: str | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train all members of one label and return the rows and their provenance.

    Args:
        experiment: resolved at a scale, see `sibp.specs`.
        label: one of its methods.
        device: ``cpu`` or ``cuda``; an experiment of tiny products may insist on ``cpu``.
        threads: CPU threads; None leaves torch's choice.
        out: where to write ``<id>/<label>.parquet`` and ``.json``, at the end and whole; None writes nothing.
        progress: what to tell while training.
        root: the data cache; None takes the user's.

    Raises:
        SpecError: if there is no such label.
        DataError: if the data set is not in the cache.
        RecordError: if the results cannot be written.
        MemoryError: if an ensemble cannot fit on the device.
    """
    target = torch.device("cpu" if experiment.training_of(label).device == "cpu" else device)
    members, clock = specs.members(experiment, label), Clock(target)
    applied = precision.configure(threads)
    about = records.environment(target)
    if target.type == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    with clock("total"):
        with clock("data"):
            problem, about["data"] = _problem(experiment, label, target, root)
        rows, outcome = _train(problem, experiment, label, members, clock, progress or Progress())
    about |= {"precision": applied, "threads": torch.get_num_threads()}
    about |= {"peak_memory_bytes": records.peak_memory(target), "seconds": clock.seconds}
    provenance = _settings(experiment, label, problem, members) | outcome | about
    if out is not None:
        records.write_run(Path(out) / experiment.id, label, rows, provenance)
    return rows, provenance


def _problem(
    experiment: Experiment, label: str, device: torch.device, root: str | None
) -> tuple[Problem, dict[str, Any]]:
    splits, about = sampling.load(experiment.data, root)
    asked = experiment.network_of(label)
    network = models.build(**asked.settings())
    loss, training = losses.get(experiment.loss), experiment.training_of(label)
    placed = {name: samples.shaped(network.input_shape, device) for name, samples in splits.items()}
    return Problem(network, loss, asked.init, training, placed, device), about


def _train(
    problem: Problem, experiment: Experiment, label: str, members: list[Member], clock: Clock, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Train all ensembles of a label, one after another; return their rows and how they ended."""
    training, algorithm = problem.training, experiment.algorithm(label)
    size = 1 if training.mode == "timed" else training.ensemble
    groups = ensemble.groups(algorithm, [member.options for member in members], size)
    _check_memory(problem, max(map(len, groups)))
    steps = total_steps(training, len(problem.splits["train"]))
    rows, diverged, pruned = [], [], []
    progress.start(f"{experiment.id} {label}", steps * len(groups))
    try:
        for group in groups:
            trained = Trainer(problem, algorithm, [members[i] for i in group], clock, progress).train()
            rows += trained.rows
            pruned += evaluation.pruned(problem, trained.parameters, group, training.prune)
            ends = zip(group, trained.diverged_at.tolist(), strict=True)
            diverged += [{"member": number, "step": step} for number, step in ends if step >= 0]
    finally:
        progress.finish()
    table = pd.DataFrame(rows).sort_values(["member", "step"], ignore_index=True)
    for position, column in enumerate({"exhibit": experiment.id, "method": label, "algorithm": algorithm}.items()):
        table.insert(position, *column)
    return table, {"ensembles": groups, "diverged": diverged, "pruned": pruned}


def _settings(experiment: Experiment, label: str, problem: Problem, members: list[Member]) -> dict[str, Any]:
    """Return everything that was asked for, as it was understood."""
    return {
        "exhibit": experiment.id,
        "method": label,
        "algorithm": experiment.algorithm(label),
        "scale": experiment.scale,
        "digest": specs.digest(experiment),
        "settings": experiment.model_dump(mode="json", exclude_none=True),
        "training": problem.training.model_dump(mode="json", exclude_none=True),
        "network": {"name": problem.network.name, "parameters": problem.network.parameter_count},
        "seeds": sorted({member.seed for member in members}),
        "members": [{"member": m.number, "seed": m.seed, **m.options.model_dump()} for m in members],
    }


def _check_memory(problem: Problem, members: int) -> None:
    """Refuse an ensemble that cannot fit on a CUDA device, before it is built."""
    if problem.device.type != "cuda":
        return
    batch = problem.training.batch_size
    batch = len(problem.splits["train"]) if batch == "full" else batch
    need = members * ensemble.bytes_per_member(problem.network, batch, problem.dtype)
    free, _ = torch.cuda.mem_get_info(problem.device)
    if need > free:
        gib = 2**30
        raise MemoryError(
            f"training.ensemble: {members} members need about {need / gib:.1f} GiB, {free / gib:.1f} GiB are free"
        )
