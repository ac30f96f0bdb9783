"""What an exhibit shows, as its experiment file says it under `figure` or `table`; workflow/figures draws it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sibp.experiments.strict import Strict

Metric = Literal[
    "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy", "first_gradient_norm"
]
Share = Annotated[float, Field(gt=0, le=1)]


class Line(Strict):
    """A label's line.

    Attributes:
        name: in the legend, by default the method's.
        like: another label whose colour and dashes it shares.
    """

    name: str | None = None
    like: str | None = None


class Column(Strict):
    """What a figure's table takes of a metric.

    By default the last value, with the best of a validation or test accuracy, the value at each epoch for which the paper states one, and
    how long each of the metric's `levels` takes. `best: true` takes the best alone; `shares` the values within these shares of the seconds
    that all runs have.
    """

    metric: Metric
    best: bool = False
    shares: tuple[Share, ...] = ()


def _lines(value: Any) -> Any:
    """Return lines by label, from a list of labels or a mapping of labels to names or lines.

    Raises:
        ValueError: if it is neither.
    """
    lines = dict.fromkeys(value) if isinstance(value, list) else value
    if not isinstance(lines, Mapping) or not lines:
        raise ValueError(f"got {value!r}, need labels")
    return {label: {"name": line} if line is None or isinstance(line, str) else line for label, line in lines.items()}


def _column(value: Any) -> Any:
    """Return a column, from a metric or a mapping."""
    if isinstance(value, str):
        return {"metric": value}
    return (
        value | {"shares": tuple(value["shares"])} if isinstance(value, dict) and isinstance(value.get("shares"), list) else value
    )


class Figure(Strict):
    """A figure of curves: a panel for each metric, a line for each label, and the table of the numbers behind it.

    Labels of the same method are drawn in tints of its colour, in their order. `rows` names rows of panels and the labels in each; without
    them there is one row with all. `levels` are the accuracies whose first reaching is counted, `differences` pairs of labels whose
    difference the table shows seed by seed, `symbols` the letters of the options.
    """

    caption: str
    panels: Annotated[tuple[Metric, ...], Field(min_length=1)]
    lines: Annotated[dict[str, Line], BeforeValidator(_lines)]
    rows: Mapping[str, tuple[str, ...]] = {}
    axis: Literal["epoch", "seconds"] = "epoch"
    log_axis: bool = False
    levels: Mapping[Metric, tuple[float, ...]] = {}
    symbols: Mapping[str, str] = {"eta": "η", "lam": "λ"}
    table: Annotated[tuple[Annotated[Column, BeforeValidator(_column)], ...], Field(min_length=1)]
    differences: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _known(self) -> "Figure":
        named = {
            "lines.like": [line.like for line in self.lines.values() if line.like],
            "rows": [label for labels in self.rows.values() for label in labels],
            "differences": [*self.differences, *self.differences.values()],
        }
        for key, labels in named.items():
            if unknown := [label for label in labels if label not in self.lines]:
                raise ValueError(f"{key}: got {unknown[0]!r}, need one of {', '.join(self.lines)}")
        return self


class Table(Strict):
    """A table of final values in the layout that workflow/papers.yaml gives, the paper's numbers beside ours."""

    caption: str
