"""What decides the numbers of a run: data, network, training, and a method's options."""

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, model_validator

from sibp.core import messages
from sibp.data.registry import CHAIN
from sibp.experiments.strict import MOST, Count, PositiveCount, Strict

__all__ = ["Data", "Every", "Init", "Measure", "Method", "Network", "Training"]

Measure = Literal["train", "validation", "test", "first_weight_change", "first_gradient_norm", "sparsity"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _batch_size(value: Any) -> int | Literal["full"]:
    if value == "full" or (type(value) is int and 1 <= value <= MOST):
        return value
    raise ValueError(f"got {messages.shown(value)}, need a whole number from 1 to {MOST} or full")


def _exactly_one(model: BaseModel, *keys: str) -> None:
    given = [key for key in keys if getattr(model, key) is not None]
    if len(given) != 1:
        raise ValueError(f"got {' and '.join(given) or 'none'}, need exactly one of {', '.join(keys)}")


class Data(Strict):
    """A data set and its split: the first `train` training samples, `validation` more, and the first `test` test samples.

    `merge_test` adds those test samples to the validation set instead (A and I do); `generated` trains on a stand-in.
    """

    name: str
    train: PositiveCount
    validation: Count = 0
    test: Count = 0
    merge_test: bool = False
    generated: bool = False

    @property
    def is_chain(self) -> bool:
        """Whether these are the numbers for the chain of scalars (J 5.1), which are drawn from a seed."""
        return self.name == CHAIN

    @property
    def is_real(self) -> bool:
        """Whether this is a data set that is fetched."""
        return not self.generated and not self.is_chain

    def sizes(self) -> dict[str, int]:
        """Return the number of samples of each split.

        Returns:
            ``train``, ``validation`` and ``test``, 0 for one that has none.
        """
        merged = self.test if self.merge_test else 0
        return {"train": self.train, "validation": self.validation + merged, "test": self.test - merged}


class Init(Strict):
    """The initial law, as `sibp.nets.initialisation.initialise` takes it; N(mean, std^2) unless said otherwise."""

    mean: float = 0.0
    std: Annotated[float, Field(ge=0)] = 0.01
    law: Literal["normal", "torch", "he"] = "normal"
    bias: float | None = None


class Network(Strict):
    """A network as `sibp.nets.papers.build` takes it, and its initial law."""

    kind: str = "mlp"
    widths: Annotated[tuple[PositiveCount, ...], Field(min_length=2)] | None = None
    input_shape: Annotated[tuple[PositiveCount, ...], Field(min_length=3, max_length=3)] | None = None
    channels: Annotated[tuple[PositiveCount, ...], Field(min_length=1)] | None = None
    pools: Count | None = None
    classes: PositiveCount | None = None
    activation: str | None = None
    bias: bool | None = None
    init: Init = Init()

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of `sibp.nets.papers.build`.

        Returns:
            Those that the file names.
        """
        return self.model_dump(exclude={"init"}, exclude_none=True)


class Every(Strict):
    """Evaluation points: every so many epochs or steps, or about `log_points` points evenly spaced in log(step)."""

    epochs: PositiveCount | None = None
    steps: PositiveCount | None = None
    log_points: Annotated[int, Field(gt=0, le=10**5)] | None = None

    @model_validator(mode="after")
    def _exactly_one_length(self) -> Self:
        _exactly_one(self, "epochs", "steps", "log_points")
        return self


class Training(Strict):
    """How a method is trained: length, mini-batches, evaluation, and how many members share one set of products.

    `prune` lists shares of the weights; after training, that share of the smallest is set to zero and the result measured.
    `fixed_layers` is how many layers, counted from the input, stay as they were drawn.
    """

    epochs: PositiveCount | None = None
    steps: PositiveCount | None = None
    batch_size: Annotated[int | Literal["full"], PlainValidator(_batch_size)] = 100
    sampling: Literal["permutation", "replacement"] = "permutation"
    dtype: Literal["float32", "float64"] = "float32"
    evaluate_every: Every = Every(epochs=1)
    measure: Annotated[tuple[Measure, ...], Field(min_length=1)] = ("train", "test")
    mode: Literal["ensemble", "timed"] = "ensemble"
    device: Literal["any", "cpu"] = "any"
    ensemble: PositiveCount = 25
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    prune: tuple[Fraction, ...] = ()
    fixed_layers: PositiveCount | None = None  # None, not 0: settings that do not name it keep their digest

    @model_validator(mode="after")
    def _exactly_one_length(self) -> Self:
        _exactly_one(self, "epochs", "steps")
        return self

    @property
    def is_timed(self) -> bool:
        """Whether members train one at a time, for their seconds."""
        return self.mode == "timed"

    @property
    def ensemble_size(self) -> int:
        """The most members that train together."""
        return 1 if self.is_timed else self.ensemble

    def batch(self, samples: int) -> int:
        """Return the size of a mini-batch.

        Args:
            samples: of the training set.

        Returns:
            B, at most all samples.
        """
        return samples if self.batch_size == "full" else min(self.batch_size, samples)

    def steps_per_epoch(self, samples: int) -> int:
        """Return how many steps an epoch has; the last one's mini-batch may be smaller.

        Args:
            samples: of the training set.

        Returns:
            Steps, >= 1.
        """
        return -(-samples // self.batch(samples))

    def total_steps(self, samples: int) -> int:
        """Return how many steps a member makes.

        Args:
            samples: of the training set.

        Returns:
            Steps, >= 1.
        """
        return self.steps or (self.epochs or 0) * self.steps_per_epoch(samples)

    def evaluation_points(self, samples: int) -> list[int]:
        """Return the numbers of steps after which members are evaluated.

        Args:
            samples: of the training set.

        Returns:
            From 0 to `total_steps`, ascending.
        """
        steps, every = self.total_steps(samples), self.evaluate_every
        if every.log_points is None:
            inner = set(range(0, steps, every.steps or (every.epochs or 1) * self.steps_per_epoch(samples)))
        else:
            inner = {round(steps ** (i / every.log_points)) for i in range(every.log_points)}
        return sorted({0, steps} | inner)


class Method(BaseModel):
    """One label of an exhibit: algorithm, options (all other keys), lists of options to cross, own training and network keys.

    `selected` names the search whose choice for this label joins the options, see `sibp.experiments.specs.load_experiment`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    method: str | None = None
    grid: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = {}
    training: dict[str, JsonValue] = {}
    network: dict[str, JsonValue] = {}
    selected: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that are the same for all members."""
        return dict(self.model_extra or {})

    def points(self) -> list[dict[str, Any]]:
        """Return the options of each grid point.

        Returns:
            Values by name; the last grid key varies fastest.
        """
        crossed = itertools.product(*self.grid.values())
        return [self.options | dict(zip(self.grid, point, strict=True)) for point in crossed]
