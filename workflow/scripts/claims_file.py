"""The papers' claims as workflow/claims.yaml states them: read, checked, and completed with the papers' numbers.

Every fault is a `SpecError` of one line that names the claim, the place inside it, the value and what is allowed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from sibp.core import messages
from sibp.experiments.strict import Strict, parse
from sibp.experiments.yaml_file import SpecError
from sibp.results.quantities import Quantity
from workflow.figures import papers
from workflow.scripts.findings import QUESTIONS

BOUNDS = ("at_least", "at_most", "near")
FORMS = (  # of a test: what it asks of runs, what of an exhibit's table
    *("quantity at_least", "quantity at_most", "quantity near within", "quantity is than", "quantity is by than"),
    *("table column equals", "table where column equals"),
)


class RunQuantity(BaseModel):
    """A quantity of a label: all keys but these are those of `Quantity.parse`. The claim's `runs` decide, unless it names an exhibit."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    label: str
    exhibit: str | None = None

    @property
    def quantity(self) -> Quantity:
        """What is asked of the runs."""
        return Quantity.parse(self.model_extra or {})

    @model_validator(mode="after")
    def _asks_a_quantity(self) -> Self:
        assert self.quantity
        return self


class Test(Strict):
    """A test of a claim, in one of `FORMS`; a bound may be the name of one of the claim's numbers."""

    quantity: RunQuantity | None = None
    at_least: float | str | None = None
    at_most: float | str | None = None
    near: float | str | None = None
    within: Annotated[float, Field(gt=0)] | None = None
    side: Annotated[Literal["above", "below"] | None, Field(alias="is")] = None
    by: float = 0.0
    than: RunQuantity | None = None
    table: str | None = None
    where: Mapping[str, str | tuple[str, ...]] = {}
    column: str | None = None
    equals: bool | str | None = None

    @model_validator(mode="after")
    def _has_a_form(self) -> Self:
        keys = ["is" if key == "side" else key for key in type(self).model_fields if key in self.model_fields_set]
        if sorted(keys) not in [sorted(form.split()) for form in FORMS]:
            raise ValueError(f"got {' '.join(keys) or 'no keys'}, need the keys of one of: {', '.join(FORMS)}")
        return self

    @property
    def quantities(self) -> list[RunQuantity]:
        """What it asks of runs: one quantity, or two that it compares, or none."""
        return [quantity for quantity in (self.quantity, self.than) if quantity]


def _question(value: str) -> str:
    if value not in QUESTIONS:
        raise ValueError(messages.need(value, QUESTIONS))
    return value


class Claim(Strict):
    """A claim: what a paper says, what must hold of runs or tables for a verdict, and what makes these.

    `about` is speed where steps and seconds are told with the verdict. `numbers` says where in workflow/papers.yaml the numbers stand
    that `says`, `paper` and the tests' bounds name.
    """

    id: str
    place: str
    question: Annotated[str, AfterValidator(_question)]
    says: str
    about: Literal["speed"] | None = None
    paper: str
    numbers: Mapping[str, dict[str, JsonValue]] = {}
    exhibit: str
    runs: str | None = None
    criterion: str
    tests: Annotated[tuple[Test, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_its_runs(self) -> Self:
        if self.runs is None and any(not quantity.exhibit for quantity in self.quantities):
            raise ValueError("runs: missing, the tests ask a quantity of runs")
        return self

    @property
    def quantities(self) -> list[RunQuantity]:
        """What its tests ask of runs."""
        return [quantity for test in self.tests for quantity in test.quantities]

    def source(self, quantity: RunQuantity) -> tuple[str, str]:
        """Return the experiment and the label whose run a quantity is read off."""
        exhibit = quantity.exhibit or self.runs
        assert exhibit is not None  # `_names_its_runs` has seen to it
        return exhibit, quantity.label

    @property
    def sources(self) -> set[tuple[str, str]]:
        """The experiments and labels whose runs its tests need."""
        return {self.source(quantity) for quantity in self.quantities}


def load(path: Path) -> list[Claim]:
    """Return the claims of a file, with the papers' numbers, which stand in papers.yaml beside it, in place of their names.

    Raises:
        SpecError: in one line that names the claim, if anything in it is wrong, or a number that it names is not there.
    """
    stated = papers.read(path.with_name("papers.yaml"))
    return [with_numbers(claim(mapping), stated) for mapping in yaml.safe_load(path.read_text(encoding="utf-8"))]


def claim(mapping: dict[str, Any]) -> Claim:
    """Return a claim as its file has it.

    Raises:
        SpecError: as `load`.
    """
    return parse(Claim, mapping, f"claims.yaml: {mapping.get('id')}")


def with_numbers(claim: Claim, stated: dict[str, dict[str, Any]]) -> Claim:
    """Return a claim with the papers' numbers in its texts and bounds.

    Args:
        claim: whose `numbers` say where in the papers' file each of its numbers stands.
        stated: what the papers say, by exhibit.

    Raises:
        SpecError: as `load`.
    """
    try:
        numbers = {
            name: papers.number(stated[str(reference.get("exhibit", claim.exhibit))], reference)
            for name, reference in claim.numbers.items()
        }
        texts = {key: getattr(claim, key).format_map(numbers) for key in ("says", "paper")}
        tests = tuple(test.model_copy(update=_bounds(test, numbers)) for test in claim.tests)
    except LookupError as fault:
        raise SpecError(f"claims.yaml: {claim.id}: numbers: {fault.args[0]}") from None
    texts = {key: re.sub(r"(\d)%", r"\1 %", text) for key, text in texts.items()}
    return claim.model_copy(update=texts | {"tests": tests})


def _bounds(test: Test, numbers: dict[str, float]) -> dict[str, float]:
    """Return a test's bounds that are names of numbers as these numbers."""
    return {key: numbers[name] for key in BOUNDS if isinstance(name := getattr(test, key), str)}
