"""Figures of curves, and the numbers behind them: a line for each label, its seeds as a band, the paper's numbers in grey.

`Curves(exhibit, labels)` draws with `draw`, or panel by panel, and writes all of it with `save`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sibp.results.quantities import Quantity, diverged
from sibp.results.statistics import over_seeds
from workflow.figures import curve_table, papers, style
from workflow.figures.columns import TITLES, Column, column
from workflow.figures.exhibit import Exhibit
from workflow.figures.hyperparameters import SYMBOLS, band, in_words
from workflow.figures.layout import Table, number

AXES = {"epoch": "epoch", "seconds": "training time [s]"}
UNITS = {"accuracy": "accuracy", "norm": "norm of the gradient"}
LOSSES = {"cross-entropy": "mean cross-entropy", "squared": "mean squared error"}


@dataclass(frozen=True)
class Line:
    """One label: its name, its look and all its rows."""

    label: str
    name: str
    setting: str
    look: Mapping[str, Any]
    rows: pd.DataFrame


class Curves:
    """The lines of one exhibit.

    Args:
        exhibit: drawn from one experiment, each of whose labels has one setting.
        labels: which to draw and in what order; a mapping gives each its name and its look, a sequence leaves both to the method.
        axis: `epoch` or `seconds`.
        levels: for a metric, the accuracies whose first reaching is counted.
        symbols: the letters of the step sizes.
    """

    def __init__(
        self,
        exhibit: Exhibit,
        labels: Sequence[str] | Mapping[str, tuple[str, Mapping[str, Any]]],
        axis: str = "epoch",
        levels: Mapping[Any, Sequence[float]] | None = None,
        symbols: Mapping[str, str] = SYMBOLS,
    ) -> None:
        self.exhibit, self.axis, self.levels = exhibit, axis, levels or {}
        looks = labels if isinstance(labels, Mapping) else {}
        self.lines = {label: self._line(label, looks.get(label), symbols) for label in labels}
        distinct = len({line.setting for line in self.lines.values()}) > 1  # else a legend need not repeat it
        self.names = {label: f"{line.name}, {line.setting}" if distinct else line.name for label, line in self.lines.items()}
        self.drawn: list[str] = []

    def _line(self, label: str, look: tuple[str, Mapping[str, Any]] | None, symbols: Mapping[str, str]) -> Line:
        rows = self.exhibit.runs[self.exhibit.runs["method"] == label].sort_values(["member", "step"])
        algorithm = rows["algorithm"].iloc[0]
        named, drawn = look or style.look(label, algorithm)
        return Line(label, named, in_words(rows.iloc[0], symbols), drawn, rows)

    def draw(self, *metrics: str, log_axis: bool = False, width: float = style.WIDTH) -> Figure:
        """Return a row of panels, one a metric: losses and norms on logarithmic axes; the legend stands below them."""
        figure, panels = plt.subplots(1, len(metrics), figsize=(width, 2.9), squeeze=False)
        for ax, metric in zip(panels[0], metrics, strict=True):
            self.panel(ax, metric, log_axis=log_axis)
        if len(metrics) > 1:
            style.letter(panels[0])
        self.legend(figure)
        return figure

    def panel(self, ax: Axes, metric: str, labels: Iterable[str] | None = None, log_axis: bool = False, named: bool = True) -> None:
        """Draw one metric against the axis; `named` puts the lines into the legend."""
        lines = [self.lines[label] for label in (self.lines if labels is None else labels)]
        bands = [band(line.rows, self.axis, metric) for line in lines]
        log_axis &= min(map(len, bands)) > 3  # a run that short needs its start to be a line
        for level in self.levels.get(metric, ()):
            ax.axhline(level, **style.PAPER | {"linewidth": 0.6}, label=f"mark of the table: {number(level)}")
        for dash, (name, value) in zip(style.PAPER_DASHES, self._paper_values(metric, lines), strict=False):
            ax.axhline(value, **style.PAPER, linestyle=dash, label=name if named else None)
        for line, whole in zip(lines, bands, strict=True):
            curve = whole[whole.index > 0] if log_axis else whole
            ax.plot(curve.index, curve["mean"], **line.look, label=self.names[line.label] if named else None)
            if self.exhibit.seeds > 1:
                ax.fill_between(curve.index, curve["min"], curve["max"], color=line.look["color"], alpha=0.2, lw=0)
        self._axes(ax, metric, log_axis)
        if metric in ("validation_accuracy", "test_accuracy"):
            ax.set_ylim(bottom=_after_take_off(bands))
        for line in lines:
            self._crosses(ax, line, metric)
        self.drawn += [metric] if metric not in self.drawn else []

    def _axes(self, ax: Axes, metric: str, log_axis: bool) -> None:
        units = UNITS | {"loss": LOSSES[self.exhibit.source.experiment.trained.loss]}
        ax.set(xlabel=AXES[self.axis], ylabel=units[metric.rsplit("_", 1)[1]], title=TITLES[metric])
        if log_axis:
            style.logarithmic(ax, "x")
            ax.xaxis.set_major_formatter("{x:g}")
        elif self.axis == "epoch":
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if not metric.endswith("accuracy"):
            start = max(line.rows[metric][line.rows["step"] == 0].max() for line in self.lines.values())
            style.logarithmic(ax, "y")
            if metric.endswith("loss") and ax.get_ylim()[1] > 10 * start:  # a method that explodes leaves the panel
                ax.set_ylim(top=10 * start)

    def _crosses(self, ax: Axes, line: Line, metric: str) -> None:
        """Mark where each lost seed was last seen, inside the panel."""
        has_diverged = diverged(line.rows)
        for member, seed in line.rows.groupby("member"):
            alive = seed[seed["status"] != "diverged"]
            if has_diverged[member] and len(alive):
                x, y = alive[self.axis].iloc[-1], min(alive[metric].iloc[-1], ax.get_ylim()[1])
                ax.plot(max(x, ax.get_xlim()[0]), y, "x", color=line.look["color"], markersize=5, clip_on=False, zorder=5)

    def legend(self, figure: Figure) -> None:
        """Put one legend for all panels below them, each entry once."""
        entries: dict[str, Any] = {}
        for ax in figure.axes:
            entries |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        own = {name: entries[name] for name in self.names.values() if name in entries}
        entries = own | {name: handle for name, handle in entries.items() if name not in own}
        if any(diverged(line.rows).any() for line in self.lines.values()):
            entries["a seed lost"] = Line2D([], [], color="0.3", marker="x", linestyle="none", markersize=5)
        ncols = 3 if max(map(len, entries)) < 34 else 2
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=ncols, fontsize="small")

    def _paper_values(self, metric: str, lines: Sequence[Line]) -> list[tuple[str, float]]:
        """Return what the paper states for this metric, with a name for the legend."""
        names = {line.label: line.name for line in lines}
        stated = [value for value in papers.values(self.exhibit.paper) if value.quantity.metric == metric and value.label in names]
        return [(f"paper, {names[s.label]}: {number(s.value)}{_when(s.quantity)}", s.value) for s in stated]

    def columns(self, *metrics: str) -> list[Column]:
        """Return the last value of each metric, the best of a test or validation accuracy, and what paper and `levels` need."""
        stated = [value.quantity for value in papers.values(self.exhibit.paper) if value.quantity.take == "epoch"]
        columns = []
        for metric in metrics:
            columns.append(column(metric))
            if metric in ("validation_accuracy", "test_accuracy"):
                columns.append(column(metric, "best"))
            columns += [column(metric, "epoch", at) for at in dict.fromkeys(q.at for q in stated if q.metric == metric)]
            duration = {"epoch": "epochs_to", "seconds": "seconds_to"}[self.axis]
            columns += [column(metric, duration, level) for level in self.levels.get(metric, ())]
        return columns

    def alt(self, metric: str) -> str:
        """Return what the figure shows in words: its panels, its lines, and which of them ends highest and lowest in a metric."""
        titles = ", ".join(TITLES[name] for name in self.drawn)
        names = ", ".join(line.name for line in self.lines.values())
        text = f"Line chart of {titles} against {AXES[self.axis].split(' [')[0]} for {names}."
        ends = {line.name: over_seeds(Quantity(metric).per_seed(line.rows)).mean for line in self.lines.values()}
        alive = pd.Series(ends).dropna()
        if len(alive):
            text += f" The highest {TITLES[metric]} at the end is {alive.max():.3g} ({alive.idxmax()})"
            text += f", the lowest {alive.min():.3g} ({alive.idxmin()})." if len(alive) > 1 else "."
        lines = [name for name, value in ends.items() if np.isnan(value)]
        return f"{text} All seeds of {' and '.join(lines)} diverged." if lines else text

    def save(self, caption: str, figure: Figure, columns: Sequence[Column], pairs: Mapping[str, str] | None = None) -> Table:
        """Write the exhibit; the caption goes on to say what bands, crosses and grey lines are.

        Args:
            caption: what the figure shows.
            figure: from `draw`, or made of `panel` and `legend`.
            columns: of the table.
            pairs: labels whose difference, seed by seed, the table shows as well: the first minus the second.
        """
        exhibit, lines = self.exhibit, self.lines
        own = curve_table.numbers(lines, columns, papers.values(exhibit.paper))
        data = pd.concat([own, curve_table.differences(lines, pairs or {}, columns)], ignore_index=True)
        table = curve_table.table(data, columns, exhibit.paper.get("claims", []))
        metrics = [column.quantity.metric for column in reversed(columns)]
        metric = next((name for name in metrics if name in self.drawn), self.drawn[-1])
        long = data.assign(exhibit=exhibit.id, scale=exhibit.scale)
        exhibit.save(exhibit.caption(f"{caption} {self._key()}"), table, long, figure, self.alt(metric))
        return table

    def _key(self) -> str:
        parts = ["Lines: mean over the seeds that did not diverge; bands: their range."] if self.exhibit.seeds > 1 else []
        if any(diverged(line.rows).any() for line in self.lines.values()):
            parts.append("A cross is where a seed was last seen before it diverged.")
        if any(self._paper_values(metric, list(self.lines.values())) for metric in self.drawn):
            parts.append("Broken grey lines: the paper's numbers.")
        if any(self.levels.get(metric) for metric in self.drawn):
            parts.append("Grey lines: the accuracies to which the table counts.")
        return " ".join(parts)


def _after_take_off(bands: Sequence[pd.DataFrame]) -> float | None:
    """Return where an axis may begin so that the first tenth of the curves leaves it and the ends can be told apart."""
    late = [curve["min"][curve.index >= curve.index.to_numpy(float).max() / 10].min() for curve in bands if len(curve) > 20]
    top = max((curve["max"].max() for curve in bands), default=1.0)
    return min(late) - 0.05 * (top - min(late)) if late else None


def _when(quantity: Quantity) -> str:
    return {"best": " (best)", "epoch": f" at epoch {number(quantity.at)}"}.get(quantity.take, "")
