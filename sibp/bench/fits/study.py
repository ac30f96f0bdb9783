"""A network's study: every method's points on validation data with one seed, the best of them on test data with others.

Each run leaves a file of its own as soon as it is done, so a study that is stopped goes on where it was; at the end one file holds all.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sibp.bench.fits.methods import METHODS
from sibp.bench.fits.networks import NETWORKS
from sibp.bench.fits.training import Problem, train
from sibp.core import atomic, messages, precision
from sibp.experiments import code
from sibp.experiments.schema import Computed, Experiment, Fit, Fits
from sibp.experiments.yaml_file import SpecError
from sibp.results import environment
from sibp.training import sampling

__all__ = ["check", "choose", "study"]

TUNING_SEED = 1000


def check(experiment: Experiment) -> Fits:
    """Refuse what the schema cannot know.

    Args:
        experiment: with ``fits``.

    Returns:
        Its fits.

    Raises:
        SpecError: for a network or method that does not exist, or a network without data to choose by or to be measured on.
    """
    fits = experiment.fits if isinstance(experiment, Computed) else None
    if fits is None:
        raise SpecError(f"{experiment.id}: fits no networks, need the key fits")
    for label, method in fits.methods.items():
        if (name := method.method or label) not in METHODS:
            raise SpecError(f"{experiment.id}: fits.methods.{label}.method: {messages.need(name, METHODS)}")
    for label, fit in fits.networks.items():
        place = f"{experiment.id}: fits.networks.{label}"
        if fit.network not in NETWORKS:
            raise SpecError(f"{place}.network: {messages.need(fit.network, NETWORKS)}")
        for part in ("validation", "test"):
            if not fit.data.sizes()[part]:
                raise SpecError(f"{place}.data.{part}: got 0, need samples to measure on")
    return fits


def study(
    experiment: Experiment, label: str, out: Path, *, device: str = "cpu", threads: int | None = None, root: str | None = None
) -> Path:
    """Make all runs of one network that are not there yet.

    Args:
        experiment: resolved at a scale.
        label: one of its networks.
        out: ``<out>/<id>/<label>.json`` is written, until then ``<out>/<id>/<label>.runs/``, a file for each run.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; None leaves torch's choice.
        root: the data cache; None takes the user's.

    Returns:
        The path of the network's file.

    Raises:
        SpecError: if there is no such network, or see `check`.
        DataError: if the data set is not in the cache.
    """
    fits = check(experiment)
    if label not in fits.networks:
        raise SpecError(f"{experiment.id}: fits.networks: {messages.need(label, fits.networks)}")
    applied = precision.configure(threads)
    problem, provenance = _problem(fits.networks[label], torch.device(device), root)
    runs = _Runs(problem, fits, out / experiment.id / f"{label}.runs")
    everything = list(runs.all())
    result = {
        "experiment": experiment.id,
        "network": label,
        "scale": experiment.scale,
        "settings": {**fits.model_dump(mode="json", exclude={"networks"}), **problem.fit.model_dump(mode="json")},
        "task": problem.task,
        "parameters": sum(p.numel() for p in problem.build(0).parameters()),
        "data": provenance,
        "environment": environment.environment(problem.device) | {"precision": applied, "threads": torch.get_num_threads()},
        "runs": everything,
    }
    path = out / experiment.id / f"{label}.json"
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    atomic.write(path, text)
    shutil.rmtree(runs.folder)
    return path


def _problem(fit: Fit, device: torch.device, root: str | None) -> tuple[Problem, dict[str, Any]]:
    splits, origin = sampling.load(fit.data, root)
    images = splits["train"].inputs
    shape = (1, *images.shape[1:]) if images.ndim == 3 else tuple(images.shape[1:])
    classes = max(int(samples.targets.max()) for samples in splits.values()) + 1
    return Problem(fit, {name: samples.shaped(shape, device) for name, samples in splits.items()}, classes, device), origin


class _Runs:
    """The runs of a study, each made or taken from its file."""

    def __init__(self, problem: Problem, fits: Fits, folder: Path) -> None:
        self.problem, self.fits, self.folder = problem, fits, folder
        folder.mkdir(parents=True, exist_ok=True)

    def all(self) -> Iterator[dict[str, Any]]:
        """Yield every method's tries and then its final runs."""
        for label, method in self.fits.methods.items():
            points = method.points()
            tries = [self.run(label, i, TUNING_SEED, "validation") for i in range(len(points))]
            yield from tries
            best = choose(tries, self.problem.task)
            for seed in range(self.fits.seeds):
                yield self.run(label, best, seed, "test")

    def run(self, label: str, point: int, seed: int, split: str) -> dict[str, Any]:
        """Return a run's settings and curves."""
        method = self.fits.methods[label]
        made = {"method": label, "point": point, "options": method.points()[point], "seed": seed, "split": split}
        given = [made, self.problem.fit.model_dump(mode="json"), self.fits.evaluations, str(self.problem.device)]
        given.append(
            code.fingerprint("every method", entry=__name__)
        )  # after an edit the runs of an unfinished study are made anew
        digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{label}-{point}-{seed}.json"
        if path.is_file() and (stored := json.loads(path.read_text(encoding="utf-8")))["digest"] == digest:
            return stored["run"]
        curves = train(
            self.problem, method.method or label, made["options"], seed=seed, split=split, evaluations=self.fits.evaluations
        )
        text = json.dumps({"digest": digest, "run": made | {"curves": curves}}, allow_nan=False) + "\n"
        atomic.write(path, text)
        return made | {"curves": curves}


def choose(tries: Sequence[Mapping[str, Any]], task: str) -> int:
    """Return the best try by its last measurement: accuracy, or the loss where there are no classes.

    Args:
        tries: runs with ``curves``, see `sibp.bench.fits.training.train`.
        task: ``classify`` or ``denoise``.

    Returns:
        Its number; of equals the first.
    """
    quantity, sign = ("accuracy", 1) if task == "classify" else ("loss", -1)

    def score(number: int) -> float:
        curves = tries[number]["curves"]
        last = curves[quantity][-1]
        return float("-inf") if last is None or curves["loss"][-1] is None else sign * last

    return max(range(len(tries)), key=score)
