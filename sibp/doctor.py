"""What this machine has, what `--scale auto` chooses on it, and about how long the experiments take."""

import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from sibp import data
from sibp.core import cuda, paths
from sibp.experiments import specs, yaml_file
from sibp.experiments.jobs import Job
from sibp.experiments.schema import Experiment
from sibp.nets import papers
from sibp.results import records

__all__ = ["Cost", "as_json", "as_text", "cost", "examine", "rates"]

# Of one step, for each method: products in forward passes, and operations launched per layer. Counted on 784-500-10 and on a
# chain of seven scalars; good for an order of magnitude.
STEP = {"sgd": (2.5, 5), "adam": (3.5, 15), "rmsprop": (3.5, 12), "proxprop": (5, 60), "proxbp": (4, 60), "sibp": (5, 80)}
OTHER = (10, 60)


@dataclass(frozen=True)
class Cost:
    """Work of training: floating-point operations, operations that are launched one after another, and the most seconds allowed."""

    flops: float
    launches: float
    limit: float = math.inf

    def seconds(self, flops: float, launches: float) -> float:
        """Return about how long it takes at so many operations and launches per second."""
        return min(self.flops / flops + self.launches / launches, self.limit)


def examine(experiments: Path, root: str | None = None) -> dict[str, Any]:
    """Return a report of this machine; keys are words, values are plain JSON.

    Args:
        experiments: folder of experiment files; where there are none, no time is estimated.
        root: the data cache; None takes the user's.
    """
    fault = cuda.fault()
    device = torch.device("cpu" if fault else "cuda")
    scale = "full" if device.type == "cuda" else "laptop"
    about = records.environment(device)
    cache = _cache(root)
    flops, launches = rates(device)
    report = {
        **about["versions"],
        "platform": about["platform"],
        "device": about["device"],
        "driver": about["driver"],
        "kernels": about["kernels"],
        "cuda_usable": device.type == "cuda",
        "cuda_fault": f"torch {torch.__version__} {fault}" if fault else None,
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _gib(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "cuda_memory_gib": _gib(torch.cuda.mem_get_info()[1]) if device.type == "cuda" else None,
        "disk_free_gib": _gib(shutil.disk_usage(_existing(cache)).free) if isinstance(cache, Path) else None,
        "cache": str(cache),
        "data": {name: _present(name, root) for name in data.names()} if isinstance(cache, Path) else None,
        "scale": scale,
        "gflop_per_second": round(flops / 1e9, 1),
        "launches_per_second": round(launches),
    }
    return report | _estimate(experiments, scale, (flops, launches))


def rates(device: torch.device, seconds: float = 0.3) -> tuple[float, float]:
    """Return measured operations per second of batched float32 products as in training, and launches per second."""
    A, B = torch.rand(25, 100, 784, device=device), torch.rand(25, 784, 500, device=device)
    tiny = torch.zeros(25, 1, 1, device=device)

    def per_second(work: Callable[[], Tensor]) -> float:
        work().sum().item()
        begin, done = perf_counter(), 0
        while perf_counter() - begin < seconds:
            for _ in range(10):
                result = work()
            result.sum().item()
            done += 10
        return done / (perf_counter() - begin)

    return 2 * A.numel() * B.shape[-1] * per_second(lambda: A @ B), per_second(lambda: tiny + 1)


def cost(experiment: Experiment, label: str) -> Cost:
    """Return about how much work a label's training is: the steps of all its ensembles, and evaluations."""
    job, sizes = Job(experiment, label), experiment.data.sizes()
    network, groups = papers.build(**job.network.settings()), len(job.groups)
    passes, operations = STEP.get(job.algorithm, OTHER)
    evaluated = len(job.evaluation_points) * sum(sizes.get(name, 0) for name in job.training.measure)
    flops = len(job.members) * 2 * network.multiply_adds * (passes * job.steps * job.batch + evaluated)
    return Cost(flops, groups * job.steps * len(network.layers) * operations, groups * (job.training.max_seconds or math.inf))


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


def _estimate(folder: Path, scale: str, per_second: tuple[float, float]) -> dict[str, Any]:
    """Return the minutes that each experiment of a folder should take at a scale."""
    files = [folder / f"{name}.yaml" for name in yaml_file.names(folder)]
    if not files:
        return {"minutes": {}, "minutes_in_all": None}
    limits = specs.load_scale(scale, folder.parent / "scales")
    minutes = {}
    for path in files:
        experiment = specs.resolve(specs.load_experiment(path), limits)
        if experiment.methods:
            seconds = sum(cost(experiment, label).seconds(*per_second) for label in experiment.methods)
            minutes[path.stem] = round(seconds / 60, 1)
    return {"minutes": minutes, "minutes_in_all": round(sum(minutes.values()), 1)}


def _cache(root: str | None) -> Path | str:
    """Return the cache's folder, or why there is none."""
    try:
        return paths.cache_folder(root)
    except OSError as fault:
        return fault.strerror


def _present(name: str, root: str | None) -> str:
    try:
        data.load(name, root)
        return "present"
    except data.MissingError:
        return "missing"
    except data.UnreadableError as fault:
        return str(fault).rpartition(": ")[2]
    except data.DataError:
        return "damaged"


def _existing(folder: Path) -> Path:
    return next(
        there for there in (folder, *folder.absolute().parents) if os.path.exists(there)
    )  # Path.exists may raise, unpermitted


def _gib(size: int) -> float:
    return round(size / 2**30, 1)
