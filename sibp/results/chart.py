"""A chart of plain characters, for a terminal or a pipe."""

import math
from string import ascii_lowercase

import numpy as np

from sibp.results.curves import Curve, Runs
from sibp.results.quantities import is_higher_better

__all__ = ["HEIGHT", "LETTERS", "best", "text"]

HEIGHT, NARROWEST = 16, 40  # rows of a chart, least columns
LETTERS = ascii_lowercase[:9]  # more curves than these cannot be told apart
SPREAD = 100.0  # from this ratio of the largest to the smallest value on, losses are shown on a logarithmic axis


def text(runs: Runs, measure: str, axis: str = "epoch", width: int = 80) -> str:
    """Return a chart of one measure and below it a line for each curve, none wider than `width` characters (at least 40).

    Args:
        runs: what to draw; of more curves than there are letters, the best.
        measure: one of `runs.measures`.
        axis: ``epoch``, ``step`` or ``seconds``.
        width: in characters.

    Returns:
        Lines.
    """
    width = max(width, NARROWEST)
    drawn = dict(zip(LETTERS, best(runs.curves, measure), strict=False))
    lines = [
        f"{runs.name}: {measure.replace('_', ' ')} against {axis}, mean over the seeds",
        *_chart(drawn, measure, axis, width),
        "",
    ]
    letters = {id(curve): letter for letter, curve in drawn.items()}
    longest = min(max(len(curve.name) for curve in runs.curves), width - 30)
    for curve in runs.curves:
        seeds = f"{curve.seeds} seed{'s' * (curve.seeds > 1)}"
        seeds = f"{curve.seeds - curve.diverged} of {seeds}" if curve.diverged else seeds
        last = "diverged" if curve.diverged == curve.seeds else f"{curve.last(measure):.4g}"
        lines.append(f"  {letters.get(id(curve), ' ')}  {curve.name[:longest]:{longest}}  {last:>9}  {seeds}")
    return "\n".join(line[:width].rstrip() for line in lines)


def best(curves: list[Curve], measure: str) -> list[Curve]:
    """Return the curves to be drawn: of each label the best, then others.

    Args:
        curves: of all labels.
        measure: by whose last value they are compared.

    Returns:
        Those that have values, in their order, at most as many as there are letters.
    """
    sign = -1 if is_higher_better(measure) else 1
    ranked = sorted((curve for curve in curves if math.isfinite(curve.last(measure))), key=lambda curve: sign * curve.last(measure))
    first = list({curve.label: curve for curve in reversed(ranked)}.values())
    chosen = [*sorted(first, key=ranked.index), *(curve for curve in ranked if curve not in first)][: len(LETTERS)]
    return [curve for curve in curves if curve in chosen]


def is_logarithmic(values: np.ndarray, measure: str) -> bool:
    """Return whether values are spread so wide that only a logarithmic axis shows them.

    Args:
        values: at least one.
        measure: their name.

    Returns:
        False for an accuracy, whatever its spread.
    """
    return not is_higher_better(measure) and values.min() > 0 and values.max() / values.min() >= SPREAD


def _chart(drawn: dict[str, Curve], measure: str, axis: str, width: int) -> list[str]:
    points = {letter: _points(curve, measure, axis) for letter, curve in drawn.items()}
    if not points:
        return ["(no values: every seed diverged)"]
    x = np.concatenate([x for x, _ in points.values()])
    y = np.concatenate([y for _, y in points.values()])
    logarithmic = is_logarithmic(y, measure)
    scaled = np.log if logarithmic else np.asarray
    low, high = scaled(y.min()), scaled(y.max())
    margin, columns = 10, width - 11
    rows = [[" "] * columns for _ in range(HEIGHT)]
    for letter, (xs, ys) in points.items():
        places = (columns - 1) * (xs - x.min()) / (np.ptp(x) or 1)
        heights = (HEIGHT - 1) * (scaled(ys) - low) / ((high - low) or 1)
        reach = np.arange(math.ceil(places[0]), math.floor(places[-1]) + 1)
        for column, height in zip(reach, np.interp(reach, places, heights), strict=True):
            rows[HEIGHT - 1 - round(height)][column] = letter
    marks = {row: low + (high - low) * (1 - row / (HEIGHT - 1)) for row in range(0, HEIGHT, 5)}
    values = {row: f"{math.exp(mark) if logarithmic else mark:.4g}" for row, mark in marks.items()}
    chart = [f"{values.get(row, ''):>{margin - 1}} |{''.join(cells)}" for row, cells in enumerate(rows)]
    ends = f"{x.min():g}", f"{x.max():g} {axis}"
    return [*chart, " " * margin + "+" + "-" * columns, " " * (margin + 1) + ends[0] + ends[1].rjust(columns - len(ends[0]))]


def _points(curve: Curve, measure: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    table = curve.table[[axis, measure]].replace([np.inf, -np.inf], np.nan).dropna()
    return table[axis].to_numpy(float), table[measure].to_numpy(float)
