"""What this machine has, what `--scale auto` chooses on it, and about how long the experiments take."""

import json
import math
import os
import shutil
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from sibp import data, models, records, specs
from sibp.loop import evaluation_points, total_steps
from sibp.schema import Experiment

__all__ = ["as_json", "as_text", "examine", "experiment_flops", "matmul_rate"]

# Products of a step, in forward passes: a gradient step makes 3; the others were counted on 784-500-10 at batch size 100, where
# elementwise work is included at the price of products. Good for an order of magnitude.
PASSES = {"sgd": 3, "adam": 4, "rmsprop": 4, "proxbp": 5, "sibp": 8}
OTHER_PASSES = 10


def examine(experiments: Path, root: str | None = None) -> dict[str, Any]:
    """Return a report of this machine; keys are words, values are plain JSON.

    Args:
        experiments: folder of experiment files; where there are none, no time is estimated.
        root: the data cache; None takes the user's.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scale = "full" if device.type == "cuda" else "laptop"
    about = records.environment(device)
    cache = data.cache_folder(root)
    rate = matmul_rate(device)
    report = {
        **about["versions"],
        "platform": about["platform"],
        "device": about["device"],
        "driver": about["driver"],
        "cuda_usable": device.type == "cuda",
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "cuda_memory_gib": _gib(torch.cuda.mem_get_info()[1]) if device.type == "cuda" else None,
        "disk_free_gib": _gib(shutil.disk_usage(_existing(cache)).free),
        "cache": str(cache),
        "data": {name: _present(name, root) for name in data.names()},
        "scale": scale,
        "gflop_per_second": round(rate / 1e9, 1),
    }
    return report | _estimate(experiments, scale, rate)


def matmul_rate(device: torch.device, seconds: float = 0.3) -> float:
    """Return measured floating-point operations per second of batched float32 products of the size that training uses."""
    A, B = torch.rand(25, 100, 784, device=device), torch.rand(25, 784, 500, device=device)
    flops = 2 * math.prod(A.shape) * B.shape[-1]
    (A @ B).sum().item()
    begin, done = perf_counter(), 0
    while perf_counter() - begin < seconds:
        C = A @ B
        done += 1
        C[0, 0, 0].item()
    return done * flops / (perf_counter() - begin)


def experiment_flops(experiment: Experiment) -> float:
    """Return about how many floating-point operations an experiment takes: training steps and evaluations."""
    if not experiment.methods:
        return 0.0
    network = models.build(**experiment.network.settings())
    forward = 2 * network.parameter_count * math.prod(network.input_shape[1:])  # of one sample; a bound for convolutions
    sizes, total = experiment.data.sizes(), 0.0
    for label in experiment.methods:
        training, members = experiment.training_of(label), len(specs.members(experiment, label))
        batch = sizes["train"] if training.batch_size == "full" else training.batch_size
        steps = total_steps(training, sizes["train"])
        points = evaluation_points(training.evaluate_every, steps, -(-sizes["train"] // batch))
        trained = steps * batch * PASSES.get(experiment.algorithm(label), OTHER_PASSES)
        evaluated = len(points) * sum(sizes.get(name, 0) for name in training.measure)
        total += members * forward * (trained + evaluated)
    return total


def as_json(report: dict[str, Any]) -> str:
    """Return the report as JSON."""
    return json.dumps(report, indent=2)


def as_text(report: dict[str, Any]) -> str:
    """Return the report as aligned lines for people."""
    return "\n".join(f"{name.replace('_', ' '):18} {_words(value)}" for name, value in report.items())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items()) or "-"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "-"}[value]
    return str(value)


def _estimate(folder: Path, scale: str, rate: float) -> dict[str, Any]:
    """Return the minutes that each experiment of a folder should take at a scale."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        return {"minutes": {}, "minutes_in_all": None}
    limits = specs.load_scale(scale, folder.parent / "scales")
    experiments = [specs.resolve(specs.load_experiment(path), limits) for path in paths]
    minutes = {e.id: round(experiment_flops(e) / rate / 60, 1) for e in experiments if e.methods}
    return {"minutes": minutes, "minutes_in_all": round(sum(minutes.values()))}


def _present(name: str, root: str | None) -> str:
    try:
        data.load(name, root)
        return "present"
    except data.DataError as fault:
        return "missing" if "is not in the cache" in str(fault) else "damaged"


def _existing(folder: Path) -> Path:
    return next(there for there in (folder, *folder.absolute().parents) if there.exists())


def _gib(size: int) -> float:
    return round(size / 2**30, 1)
