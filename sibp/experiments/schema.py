"""The schema of experiment and scale files, as docs/architecture.md describes them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, field_validator, model_validator
from typing_extensions import override

from sibp.core import messages
from sibp.experiments import drawing
from sibp.experiments.settings import Data, Method, Network, Training
from sibp.experiments.strict import Count, PositiveCount, Strict, checked_file_names, parse
from sibp.experiments.yaml_file import SpecError


class Paper(Strict):
    """Where an exhibit comes from: J, A or I (the three versions of SIBP) or P (ProxProp)."""

    source: Literal["J", "A", "I", "P"]
    exhibit: str
    section: str | None = None


class Bench(Strict):
    """One set of measurements of `sibp bench`.

    Attributes:
        threads: CPU threads; None leaves torch's choice.
        cases: the networks, all by default.
        seconds: for the rounds of each.
        quick: whether small networks stand in.
    """

    threads: PositiveCount | None = None
    cases: tuple[str, ...] = ()
    seconds: Annotated[float, Field(gt=0)] = 20.0
    quick: bool = False


class Fit(Strict):
    """A network of `sibp.bench.fits.networks` and how it is trained."""

    network: str
    data: Data
    steps: PositiveCount
    batch_size: PositiveCount = 100


class Fits(Strict):
    """Networks beyond the papers' kinds, trained with the optimizers of `sibp.bench.fits.methods`.

    Each method's points are tried with one seed, the best on validation data is trained with `seeds` others; all for as many steps.
    """

    seeds: PositiveCount = 3
    evaluations: PositiveCount = 10
    methods: Annotated[dict[str, Method], Field(min_length=1)]
    networks: Annotated[dict[str, Fit], Field(min_length=1)]

    @field_validator("methods", "networks")
    @classmethod
    def _names_of_files(cls, value: Any) -> Any:
        return checked_file_names(value)


def _names(value: Any) -> Any:
    """Return a name, or a list of them, as a tuple; anything else as it is."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Experiment(Strict):
    """What all kinds of experiments have: `Trained`, `Drawn` and `Computed`; `experiment` reads the one that a file holds.

    `figure` or `table` says what it shows; `notebook` says which of both workflow/notebooks/<id>.py computes. What has none of the three is
    trained for others. None of them is part of a run's settings. `note` says in words what the papers leave unsaid and how it was chosen;
    `scale` is set by `specs.resolve`.
    """

    id: Annotated[str, AfterValidator(checked_file_names)]
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

    runs: Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(checked_file_names)]

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

    bench: Annotated[Mapping[str, Bench], AfterValidator(checked_file_names)] = {}
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
    seeds: PositiveCount = 1
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 0  # a column of 64 bits holds it
    methods: Annotated[dict[str, Method], Field(min_length=1), AfterValidator(checked_file_names)]

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

    seeds: PositiveCount | None = None
    epochs: PositiveCount | None = None
    steps: PositiveCount | None = None
    train: PositiveCount | None = None
    validation: Count | None = None
    test: Count | None = None
    batch_size: PositiveCount | None = None


class Scale(Strict):
    """How much of the papers' settings is run; `experiments` is merged over an experiment after the limits.

    `job` is what the workflow trains in one process.
    """

    name: str
    job: Literal["label", "experiment"] = "label"
    data: Literal["real", "generated"] = "real"
    limits: Limits = Limits()
    experiments: Mapping[str, dict[str, JsonValue]] = {}
