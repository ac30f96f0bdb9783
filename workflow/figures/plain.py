"""Exhibits that their experiment file describes whole, under `figure` or `table` (see `sibp.experiments.drawing`)."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from sibp.experiments import drawing
from workflow.figures import step_size_table, style
from workflow.figures.columns import Column, column
from workflow.figures.curves import Curves
from workflow.figures.exhibit import Exhibit
from workflow.figures.layout import Table
from workflow.figures.papers import SECOND


def draw(exhibit: Exhibit) -> Table:
    """Draw and save an exhibit, and return its table.

    Raises:
        LookupError: if its experiment file has neither `figure` nor `table`.
    """
    style.use()
    if exhibit.experiment.figure:
        return _figure(exhibit, exhibit.experiment.figure)
    if exhibit.experiment.table:
        return _table(exhibit, exhibit.experiment.table)
    raise LookupError(f"{exhibit.id}: its experiment file has neither figure nor table; need workflow/notebooks/{exhibit.id}.py")


def _figure(exhibit: Exhibit, settings: drawing.Figure) -> Table:
    curves = Curves(exhibit, _looks(exhibit, settings.lines), settings.axis, settings.levels, settings.symbols)
    figure = _rows(curves, settings) if settings.rows else curves.draw(*settings.panels, log_axis=settings.log_axis)
    columns = [column for entry in settings.table for column in _columns(curves, entry)]
    return curves.save(settings.caption, figure, columns, settings.differences)


def _table(exhibit: Exhibit, settings: drawing.Table) -> Table:
    data = step_size_table.long_form(exhibit)
    verdict = step_size_table.settle(exhibit) if "contradiction" in exhibit.paper else ""
    table = step_size_table.table(exhibit, data, exhibit.caption(f"{settings.caption} {verdict}".strip()))
    exhibit.save(table.caption, table, data)
    return table


def _looks(exhibit: Exhibit, lines: Mapping[str, drawing.Line]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Return each label's name and look: its method's, or a tint of it where several main labels have the same method."""
    algorithms = {label: exhibit.source.experiment.trained.algorithm(label) for label in lines}
    by_algorithm = defaultdict(list)
    for label, line in lines.items():
        by_algorithm[algorithms[label]] += [] if line.like or label.endswith(SECOND) else [label]
    named = {label: style.look(label, algorithm) for label, algorithm in algorithms.items()}
    looks: dict[str, Mapping[str, Any]] = {label: look for label, (_, look) in named.items()}
    for algorithm, labels in by_algorithm.items():
        if len(labels) > 1:
            looks |= dict(zip(labels, style.tints(algorithm, len(labels)), strict=True))
    return {label: (line.name or named[label][0], looks[line.like or label]) for label, line in lines.items()}


def _rows(curves: Curves, settings: drawing.Figure) -> Figure:
    """Return a figure with named rows of panels that share their axes; the first row's lines are the legend's."""
    size = (style.WIDTH, 2.5 * len(settings.rows))
    figure, panels = plt.subplots(len(settings.rows), len(settings.panels), figsize=size, sharex=True, sharey="col", squeeze=False)
    for number, (row, (title, labels)) in enumerate(zip(panels, settings.rows.items(), strict=True)):
        for ax, metric in zip(row, settings.panels, strict=True):
            curves.panel(ax, metric, labels, settings.log_axis, named=number == 0)
            ax.set(xlabel=ax.get_xlabel() if number == len(panels) - 1 else "")
        row[0].set_ylabel(f"{title}\n{row[0].get_ylabel()}")
    style.letter(panels.ravel())
    curves.legend(figure)
    return figure


def _columns(curves: Curves, entry: drawing.Column) -> list[Column]:
    if entry.best:
        return [column(entry.metric, "best")]
    if entry.shares:
        shared = curves.exhibit.runs.groupby(["method", "member"])["seconds"].max().min()
        return [column(entry.metric, "within", share * shared) for share in entry.shares]
    return curves.columns(entry.metric)
