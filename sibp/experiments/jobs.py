"""Training jobs: one label of an experiment as it runs at a scale, and all that follows from its settings.

The one place that says which members a job has, which of them train together, and when two jobs give the same numbers. Importing it takes
no torch; only `members` and `groups` ask the methods.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from sibp.core.options import Options, describe
from sibp.experiments import code, schema
from sibp.experiments.schema import Experiment, Trained
from sibp.experiments.settings import Network, Training
from sibp.experiments.yaml_file import SpecError

__all__ = ["Job", "Member", "jobs", "of_record"]


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes:
        number: within the job.
        seed: of its initial parameters and its order of samples.
        options: of the method, checked.
    """

    number: int
    seed: int
    options: Options


@dataclass(frozen=True)
class Job:
    """One label of an experiment.

    Args:
        experiment: resolved at a scale, see `specs.resolve`.
        label: one of its methods.

    Raises:
        SpecError: if there is no such label.
    """

    experiment: Trained
    label: str

    def __post_init__(self) -> None:
        self.experiment.method(self.label)

    @property
    def name(self) -> str:
        """The job's name, ``<id>/<label>``; its results are below that path."""
        return f"{self.experiment.id}/{self.label}"

    @property
    def algorithm(self) -> str:
        """The name of the method it trains with."""
        return self.experiment.algorithm(self.label)

    @cached_property
    def training(self) -> Training:
        """How it trains: the experiment's settings with the label's own over them."""
        return self.experiment.training_of(self.label)

    @cached_property
    def network(self) -> Network:
        """What it trains: the experiment's network with the label's own keys over it."""
        return self.experiment.network_of(self.label)

    @property
    def batch(self) -> int:
        """Samples in a mini-batch."""
        return self.training.batch(self.experiment.data.train)

    @property
    def steps(self) -> int:
        """Steps of each member."""
        return self.training.total_steps(self.experiment.data.train)

    @property
    def evaluation_points(self) -> list[int]:
        """The numbers of steps after which its members are evaluated."""
        return self.training.evaluation_points(self.experiment.data.train)

    def device(self, kind: str) -> str:
        """Return the kind of device it runs on.

        Args:
            kind: what there is, ``cpu`` or ``cuda``.

        Returns:
            That kind, or ``cpu`` where the job insists on it.
        """
        return "cpu" if self.training.device == "cpu" else kind

    @cached_property
    def members(self) -> list[Member]:
        """Its members: seed by seed, and within a seed the grid, whose last key varies fastest."""
        from sibp.experiments import checks

        points = [checks.options(self.experiment, self.label, point) for point in self.experiment.method(self.label).points()]
        pairs = itertools.product(self.seeds, points)
        return [Member(number, seed, options) for number, (seed, options) in enumerate(pairs)]

    @property
    def options(self) -> tuple[str, ...]:
        """The names of its method's options."""
        return tuple(describe(type(self.members[0].options)))

    @property
    def seeds(self) -> range:
        """The seeds of its members."""
        return range(self.experiment.first_seed, self.experiment.first_seed + self.experiment.seeds)

    @cached_property
    def groups(self) -> list[list[int]]:
        """Its members, by number, that train together: equal non-float options, at most `Training.ensemble_size` at a time.

        The size comes from the experiment file, never from free memory, because batched products round differently with their number.
        Groups and the members in them keep the members' order.
        """
        from sibp.methods import registry

        key, size = registry.get(self.algorithm).group_key, self.training.ensemble_size
        alike: dict[object, list[int]] = {}
        for member in self.members:
            alike.setdefault(key(member.options), []).append(member.number)
        return [numbers[i : i + size] for numbers in alike.values() for i in range(0, len(numbers), size)]

    @property
    def code_paths(self) -> set[tuple[object, ...]]:
        """What chooses between paths of the code, member by member: the method, dense or not, and the options that are no counts.

        Jobs that share one run the same code there.
        """
        from sibp.methods import registry

        key, is_dense = registry.get(self.algorithm).group_key, self.network.kind == "mlp"
        chosen = {tuple((name, value) for name, value in key(m.options) if type(value) is not int) for m in self.members}
        return {(self.algorithm, is_dense, *options) for options in chosen}

    def part(self, ensemble: int) -> str:
        """Return the name, beside those of labels, of one of its `groups` that is trained on its own.

        Args:
            ensemble: its number, counted from 1.

        Returns:
            ``<label>.<ensemble>of<ensembles>``.

        Raises:
            SpecError: if there is no such ensemble.
        """
        if not 1 <= ensemble <= len(self.groups):
            raise SpecError(f"{self.name}: ensemble: got {ensemble}, need 1 to {len(self.groups)}")
        return f"{self.label}.{ensemble}of{len(self.groups)}"

    def settings(self) -> dict[str, Any]:
        """Return all that decides its numbers, and nothing else: neither names and notes, nor scale, nor other labels.

        Returns:
            Plain JSON.
        """
        experiment, method = self.experiment, self.experiment.method(self.label)
        return {
            "data": experiment.data.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json", exclude_none=True),
            "loss": experiment.loss,
            "training": self.training.model_dump(mode="json", exclude_none=True),
            "seeds": [self.seeds.start, self.seeds.stop],
            "algorithm": self.algorithm,
            "options": method.options,
            "grid": {key: list(values) for key, values in method.grid.items()},
        }

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of `settings`: equal for jobs that give equal numbers with equal code."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def in_record(self) -> dict[str, Any]:
        """What its run's record says of it, from which `of_record` makes it again: plain JSON."""
        return {
            "digest": self.digest,
            "settings": self.experiment.model_dump(mode="json", exclude_none=True),
            "seeds": list(self.seeds),
            "members": [{"member": each.number, "seed": each.seed, **asdict(each.options)} for each in self.members],
        }

    @property
    def code(self) -> str:
        """The fingerprint, in hex, of the code that makes its numbers."""
        return code.fingerprint(self.algorithm)


def of_record(record: Mapping[str, Any], label: str, context: str) -> Job:
    """Return the job that a run's record tells of.

    Args:
        record: of the run, see `sibp.results.records`.
        label: that was trained.
        context: the record's file, or what else a fault is in.

    Returns:
        The job as it ran.

    Raises:
        SpecError: in one line, if it tells of none.
    """
    return Job(schema.experiment(record["settings"], context, "settings").trained, label)


def jobs(experiment: Experiment) -> Iterator[Job]:
    """Yield the jobs of an experiment, label by label.

    Args:
        experiment: resolved at a scale.

    Returns:
        The jobs; none if it trains nothing.
    """
    return (Job(experiment.trained, label) for label in experiment.labels)
