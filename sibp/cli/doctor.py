"""What this machine has, what `--scale auto` chooses on it, and about how long the experiments take."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

import sibp.data as data
from sibp.bench import cost, rates
from sibp.bench.rates import Device
from sibp.core import cuda, paths
from sibp.experiments import specs, yaml_file
from sibp.results import environment

__all__ = ["as_json", "as_table", "as_text", "examine", "exhibits"]


def examine(experiments: Path, root: str | None = None) -> dict[str, Any]:
    """Report on this machine.

    Args:
        experiments: folder of experiment files; where there are none, no time is estimated.
        root: the data cache; None takes the user's.

    Returns:
        The report; keys are words, values are plain JSON.
    """
    fault = cuda.fault()
    device = torch.device("cpu" if fault else "cuda")
    scale = specs.automatic_scale(device.type)
    surroundings = environment.environment(device)
    cache = _cache(root)
    measured = rates.measured(device)
    report = {
        **surroundings["versions"],
        **{key: surroundings[key] for key in ("platform", "device", "driver", "kernels")},
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
        "gflop_per_second": round(measured.flops[torch.float32] / 1e9, 1),
        "gb_per_second": round(measured.memory / 1e9, 1),
    }
    return report | _minutes(experiments, scale, measured)


def exhibits(experiments: Path, scale: str, device: str | Device) -> dict[str, Any]:
    """Return what each experiment of a folder takes at a scale, counted without a device: see `sibp.bench.cost`.

    Args:
        experiments: folder of experiment files, whose neighbour `scales` has the scales.
        scale: its name, or the path of its file.
        device: of `sibp.bench.rates.DEVICES`, or rates of one's own.

    Returns:
        The device, the scale, seconds in all, and for each experiment that trains anything: seconds, those of training alone, the most
        kernels of a step, and the most bytes at a time. A scale or an experiment that is wrong is a SpecError.
    """
    limits, rows = specs.load_scale(scale, experiments.parent / "scales"), {}
    for name in yaml_file.names(experiments):
        experiment = specs.resolve(specs.load_experiment(experiments / f"{name}.yaml"), limits)
        if labels := [cost.estimate(experiment.trained, label, device) for label in experiment.labels]:
            rows[name] = {
                "seconds": round(sum(label.seconds for label in labels), 1),
                "training_seconds": round(sum(label.train for label in labels), 1),
                "kernels": max(label.kernels for label in labels),
                "bytes": max(label.bytes for label in labels),
            }
    head = {"device": device if isinstance(device, str) else device.name, "scale": limits.name, "how": "counted, not measured"}
    return head | {"seconds": round(sum(row["seconds"] for row in rows.values()), 1), "experiments": rows}


def as_table(counted: dict[str, Any]) -> str:
    """Lay out what `exhibits` returns for people.

    Args:
        counted: its result.

    Returns:
        Aligned lines.
    """
    lines = [f"{'experiment':14} {'seconds':>9} {'training':>9} {'kernels a step':>15} {'MiB':>8}"]
    for name, row in counted["experiments"].items():
        numbers = f"{row['seconds']:9.0f} {row['training_seconds']:9.0f} {row['kernels']:15} {row['bytes'] / 2**20:8.0f}"
        lines.append(f"{name:14} {numbers}")
    words = f"on {counted['device']} at scale {counted['scale']}; {counted['how']}"
    return "\n".join(
        [*lines, f"{'all':14} {counted['seconds']:9.0f}  ({counted['seconds'] / 3600:.1f} h), one job after another, {words}"]
    )


def as_json(report: dict[str, Any]) -> str:
    """Return the report as JSON.

    Args:
        report: of `examine` or `exhibits`.

    Returns:
        Indented JSON.
    """
    return json.dumps(report, indent=2)


def as_text(report: dict[str, Any]) -> str:
    """Lay out what `examine` returns for people.

    Args:
        report: its result.

    Returns:
        Aligned lines.
    """
    return "\n".join(f"{name.replace('_', ' '):18} {_words(value)}" for name, value in report.items())


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items()) or "-"
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "-"}[value]
    return str(value)


def _minutes(folder: Path, scale: str, device: Device) -> dict[str, Any]:
    """Return the minutes that each experiment of a folder should take at a scale, by this machine's rates."""
    if not yaml_file.names(folder):
        return {"minutes": {}, "minutes_in_all": None}
    counted = exhibits(folder, scale, device)
    minutes = {name: round(row["seconds"] / 60, 1) for name, row in counted["experiments"].items()}
    return {"minutes": minutes, "minutes_in_all": round(counted["seconds"] / 60, 1)}


def _cache(root: str | None) -> Path | str:
    """Return the cache's folder, or why there is none."""
    try:
        return paths.cache_folder(root)
    except OSError as fault:
        return fault.strerror or str(fault)


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
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))  # Path.exists may raise, unpermitted


def _gib(size: int) -> float:
    return round(size / 2**30, 1)
