"""The schema of experiment and scale files, as docs/architecture.md describes them."""

import itertools
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import override

from sibp.core import messages
from sibp.data.registry import CHAIN
from sibp.experiments import drawing, faults
from sibp.experiments.yaml_file import SpecError

Model = TypeVar("Model", bound=BaseModel)
Count = Annotated[int, Field(ge=0)]
Measure = Literal["train", "validation", "test", "first_weight_change", "first_gradient_norm", "sparsity"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def _check_file_name(name: str) -> None:
    """Refuse a name of files that would lead elsewhere or fit on no disk.

    Raises:
        ValueError: saying what is allowed.
    """
    if not FILE_NAME.fullmatch(name):
        shown = repr(name if len(name) <= 40 else f"{name[:40]}...")
        need = "a name for files: 1 to 100 letters, digits, '_', '.' and '-', not beginning with '.' or '-'"
        raise ValueError(f"got {shown}, need {need}")


def _checked_file_names(value: Any) -> Any:
    """Return a name or a collection of names, of which files are made.

    Raises:
        ValueError: for two that differ in capitals alone.
    """
    first: dict[str, str] = {}
    for name in [value] if isinstance(value, str) else value or ():
        _check_file_name(name)
        if (other := first.setdefault(name.lower(), name)) != name:
            raise ValueError(f"got {other!r} and {name!r}, which are one file where capitals do not count")
    return value


def parse(model: type[Model], mapping: Mapping[str, Any], context: str, place: str = "") -> Model:
    """Validate a mapping strictly; as JSON, whose lists may stand for tuples.

    Args:
        model: its schema.
        mapping: what to validate.
        context: the file or what else a fault is in.
        place: the mapping's path inside it.

    Returns:
        The model.

    Raises:
        SpecError: ``context: place.path: fault`` in one line.
    """
    try:
        return model.model_validate_json(json.dumps(mapping, default=str), strict=True)
    except ValidationError as error:
        fault = faults.explain(error, model, place)
        raise SpecError(f"{context}: {fault}" if context else fault) from None


def _batch_size(value: Any) -> int | Literal["full"]:
    if value == "full" or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"got {value!r}, need a whole number >= 1 or full")


def _exactly_one(model: BaseModel, *keys: str) -> None:
    given = [key for key in keys if getattr(model, key) is not None]
    if len(given) != 1:
        raise ValueError(f"got {' and '.join(given) or 'none'}, need exactly one of {', '.join(keys)}")


class Strict(BaseModel):
    """A frozen part of a file; unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Paper(Strict):
    """Where an exhibit comes from: J, A or I (the three versions of SIBP) or P (ProxProp)."""

    source: Literal["J", "A", "I", "P"]
    exhibit: str
    section: str | None = None


class Data(Strict):
    """A data set and its split: the first `train` training samples, `validation` more, and the first `test` test samples.

    `merge_test` adds those test samples to the validation set instead (A and I do); `generated` trains on a stand-in.
    """

    name: str
    train: PositiveInt
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
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] | None = None
    input_shape: Annotated[tuple[PositiveInt, ...], Field(min_length=3, max_length=3)] | None = None
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    pools: Count | None = None
    classes: PositiveInt | None = None
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

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    log_points: PositiveInt | None = None

    @model_validator(mode="after")
    def _exactly_one_length(self) -> Self:
        _exactly_one(self, "epochs", "steps", "log_points")
        return self


class Training(Strict):
    """How a method is trained: length, mini-batches, evaluation, and how many members share one set of products.

    `prune` lists shares of the weights; after training, that share of the smallest is set to zero and the result measured.
    `fixed_layers` is how many layers, counted from the input, stay as they were drawn.
    """

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch_size: Annotated[int | Literal["full"], PlainValidator(_batch_size)] = 100
    sampling: Literal["permutation", "replacement"] = "permutation"
    dtype: Literal["float32", "float64"] = "float32"
    evaluate_every: Every = Every(epochs=1)
    measure: tuple[Measure, ...] = ("train", "test")
    mode: Literal["ensemble", "timed"] = "ensemble"
    device: Literal["any", "cpu"] = "any"
    ensemble: PositiveInt = 25
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    prune: tuple[Fraction, ...] = ()
    fixed_layers: PositiveInt | None = None  # None, not 0: settings that do not name it keep their digest

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


class Bench(Strict):
    """One set of measurements of `sibp bench`.

    Attributes:
        threads: CPU threads; None leaves torch's choice.
        cases: the networks, all by default.
        seconds: for the rounds of each.
        quick: whether small networks stand in.
    """

    threads: PositiveInt | None = None
    cases: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 20.0
    quick: bool = False


class Fit(Strict):
    """A network of `sibp.bench.fits.networks` and how it is trained."""

    network: str
    data: Data
    steps: PositiveInt
    batch_size: PositiveInt = 100


class Fits(Strict):
    """Networks beyond the papers' kinds, trained with the optimizers of `sibp.bench.fits.methods`.

    Each method's points are tried with one seed, the best on validation data is trained with `seeds` others; all for as many steps.
    """

    seeds: PositiveInt = 3
    evaluations: PositiveInt = 10
    methods: Annotated[dict[str, Method], Field(min_length=1)]
    networks: Annotated[dict[str, Fit], Field(min_length=1)]

    @field_validator("methods", "networks")
    @classmethod
    def _names_of_files(cls, value: Any) -> Any:
        return _checked_file_names(value)


def _names(value: Any) -> Any:
    """Return a name, or a list of them, as a tuple; anything else as it is."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Experiment(Strict):
    """What all kinds of experiments have: `Trained`, `Drawn` and `Computed`; `experiment` reads the one that a file holds.

    `figure` or `table` says what it shows; `notebook` says which of both workflow/notebooks/<id>.py computes. What has none of the three is
    trained for others. None of them is part of a run's settings. `note` says in words what the papers leave unsaid and how it was chosen;
    `scale` is set by `specs.resolve`.
    """

    id: Annotated[str, AfterValidator(_checked_file_names)]
    title: str
    paper: Paper | None = None
    note: str | None = None
    scale: str | None = None
    figure: Annotated[drawing.Figure | None, Field(exclude=True)] = None
    table: Annotated[drawing.Table | None, Field(exclude=True)] = None
    notebook: Annotated[Literal["figure", "table"] | None, Field(exclude=True)] = None

    @model_validator(mode="after")
    def _shows_one_thing(self) -> Self:
        shown = [key for key in ("figure", "table", "notebook") if getattr(self, key) is not None]
        if len(shown) > 1:
            raise ValueError(f"got {' and '.join(shown)}, need at most one of figure, table, notebook")
        return self

    @property
    def shows(self) -> Literal["figure", "table"] | None:
        """What it shows, drawn from its settings or by its notebook; None for what is no exhibit."""
        return self.notebook or ("figure" if self.figure else "table" if self.table else None)

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of the experiments that it is drawn from."""
        return (self.id,)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it trains."""
        return ()

    @property
    def measurements(self) -> tuple[str, ...]:
        """The names of its measurements of what steps cost."""
        return ()

    @property
    def fitted(self) -> tuple[str, ...]:
        """The names of the networks that it fits, which name files."""
        return ()

    @property
    def origin(self) -> str:
        """Where its numbers come from, in words."""
        return "computed"

    @property
    def trained(self) -> "Trained":
        """The experiment itself, which trains methods.

        Raises:
            SpecError: if it is of another kind.
        """
        raise SpecError(f"{self.id}: has no methods to train, it is {self.origin}")


class Drawn(Experiment):
    """An exhibit that is drawn from the runs of other experiments."""

    runs: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_checked_file_names)]

    @property
    @override
    def sources(self) -> tuple[str, ...]:
        return self.runs

    @property
    @override
    def origin(self) -> str:
        return f"drawn from the runs of {', '.join(self.runs)}"


class Computed(Experiment):
    """An exhibit that trains no methods.

    Its notebook computes it, `bench` names measurements of what steps cost, or `fits` trains torch modules.
    """

    bench: Annotated[dict[str, Bench], AfterValidator(_checked_file_names)] = {}
    fits: Fits | None = None

    @property
    @override
    def measurements(self) -> tuple[str, ...]:
        return tuple(self.bench)

    @property
    @override
    def fitted(self) -> tuple[str, ...]:
        return tuple(self.fits.networks) if self.fits else ()

    @property
    @override
    def origin(self) -> str:
        return "measured" if self.bench else "fitted" if self.fits else "computed"


class Trained(Experiment):
    """An experiment that trains methods, each under a label."""

    data: Data
    network: Network
    loss: str
    training: Training
    seeds: PositiveInt = 1
    first_seed: Count = 0
    methods: Annotated[dict[str, Method], Field(min_length=1), AfterValidator(_checked_file_names)]

    @model_validator(mode="after")
    def _draws_its_labels(self) -> Self:
        if self.figure and (unknown := [label for label in self.figure.lines if label not in self.methods]):
            raise ValueError(f"figure.lines: {messages.need(unknown[0], self.methods)}")
        return self

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        return tuple(self.methods)

    @property
    @override
    def origin(self) -> str:
        return "trained"

    @property
    @override
    def trained(self) -> "Trained":
        return self

    def method(self, label: str) -> Method:
        """Return the settings of a label.

        Args:
            label: one of `methods`.

        Returns:
            Its settings.

        Raises:
            SpecError: if the experiment has no such label.
        """
        if label not in self.methods:
            raise SpecError(f"{self.id}: methods: {messages.need(label, self.methods)}")
        return self.methods[label]

    def algorithm(self, label: str) -> str:
        """Return the name of the method that a label trains with.

        Args:
            label: one of `methods`.

        Returns:
            A key of `sibp.methods.METHODS`, unless the file is wrong.
        """
        return self.method(label).method or label

    def training_of(self, label: str) -> Training:
        """Return the training settings of a label: the experiment's, with the label's own keys over them.

        Args:
            label: one of `methods`.

        Returns:
            The settings.
        """
        own = self.method(label).training
        base = self.training.model_dump(mode="json", exclude_unset=True)
        for given, other in (("epochs", "steps"), ("steps", "epochs")):
            if given in own and other not in own:
                base.pop(other, None)
        return parse(Training, base | own, "", f"methods.{label}.training")

    def network_of(self, label: str) -> Network:
        """Return the network of a label: the experiment's, with the label's own keys over it, those of `init` key by key.

        Args:
            label: one of `methods`.

        Returns:
            The network.
        """
        own = self.method(label).network
        base = self.network.model_dump(mode="json", exclude_unset=True)
        init = base.get("init", {}) | (own.get("init") or {})
        return parse(Network, base | own | {"init": init}, "", f"methods.{label}.network")


def experiment(mapping: Mapping[str, Any], context: str, place: str = "") -> Experiment:
    """Validate the content of an experiment file, whose keys say its kind: `runs`, some that only `Trained` has, or neither.

    Args:
        mapping: the content; ``methods: {}`` says the same as no methods.
        context: the file or what else a fault is in.
        place: the mapping's path inside it.

    Returns:
        An experiment of that kind.

    Raises:
        SpecError: ``context: place.path: fault`` in one line.
    """
    content = {key: value for key, value in mapping.items() if value != {} or key not in ("methods", "bench")}
    trains = sorted(content.keys() & Trained.model_fields.keys() - Experiment.model_fields.keys())
    if "runs" in content and trains:
        raise SpecError(f"{context}: got runs and {', '.join(trains)}, need one or the other")
    return parse(Drawn if "runs" in content else Trained if trains else Computed, content, context, place)


class Limits(Strict):
    """Upper bounds that a scale puts on every experiment."""

    seeds: PositiveInt | None = None
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    train: PositiveInt | None = None
    validation: Count | None = None
    test: Count | None = None
    batch_size: PositiveInt | None = None


class Scale(Strict):
    """How much of the papers' settings is run; `experiments` is merged over an experiment after the limits.

    `job` is what the workflow trains in one process.
    """

    name: str
    job: Literal["label", "experiment"] = "label"
    data: Literal["real", "generated"] = "real"
    limits: Limits = Limits()
    experiments: dict[str, dict[str, JsonValue]] = {}
