"""Pictures of runs, and a page that holds all there is to see of them in one file: drawn with matplotlib, which only these need."""

import html
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sibp.core import atomic
from sibp.results import chart
from sibp.results.curves import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "write_page", "write_picture"]

PICTURES = (".png", ".svg", ".pdf")

COLUMNS = 2
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
svg { width: 100%; height: auto } div { overflow-x: auto }
table { border-collapse: collapse } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } pre { overflow-x: auto; background: #f5f5f5; padding: 1rem; font-size: 13px }
"""


def figure(runs: Runs, axis: str) -> "Figure":
    """Return a figure with a panel for each measure.

    Raises:
        ImportError: in one line, if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("show: pictures need the package matplotlib: python -m pip install matplotlib") from None
    rows = math.ceil(len(runs.measures) / COLUMNS)
    drawing = Figure(figsize=(11, 3.8 * rows), layout="constrained")
    for place, measure in enumerate(runs.measures, 1):
        panel = drawing.add_subplot(rows, COLUMNS, place, xlabel=axis, title=measure.replace("_", " "))
        curves = chart.best(runs.curves, measure)
        for curve in curves:
            panel.plot(curve.table[axis], curve.table[measure], label=curve.name, marker="." if len(curve.table) == 1 else None)
        if curves and chart.is_logarithmic(np.concatenate([curve.values(measure) for curve in curves]), measure):
            panel.set_yscale("log")
        panel.grid(alpha=0.3)
        if curves:
            panel.legend(fontsize="small")
    return drawing


def write_picture(runs: Runs, path: Path, axis: str) -> None:
    """Write a picture with a panel for each measure; its kind is the file's ending: png, svg or pdf.

    Raises:
        ImportError: if matplotlib is not installed.
        OSError: if the file cannot be written.
    """
    drawing = figure(runs, axis)
    atomic.write(path, lambda file: drawing.savefig(file, format=path.suffix.removeprefix("."), dpi=150))


def write_page(runs: Runs, path: Path, axis: str) -> None:
    """Write one HTML file that needs no other: the picture, a table of the last values, and each label's record.

    Raises:
        ImportError: if matplotlib is not installed.
        OSError: if the file cannot be written.
    """
    title = html.escape(str(next(iter(runs.records.values())).get("settings", {}).get("title") or runs.name))
    text = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>Mean over the seeds that did not diverge.</p>
{_svg(runs, axis)}
<h2>At the end</h2>
{_table(runs)}
<h2>Records</h2>
{_records(runs)}</body>
</html>
"""
    atomic.write(path, text)


def _svg(runs: Runs, axis: str) -> str:
    buffer = io.StringIO()
    figure(runs, axis).savefig(buffer, format="svg")
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]  # what comes before names a file on the network


def _table(runs: Runs) -> str:
    rows = [["curve", "seeds", *(measure.replace("_", " ") for measure in runs.measures)]]
    for curve in runs.curves:
        seeds = f"{curve.seeds - curve.diverged} / {curve.seeds}"
        rows.append([curve.name, seeds, *(f"{curve.last(measure):.4g}" for measure in runs.measures)])
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return "<div><table>" + "\n".join(lines) + "</table></div>"


def _records(runs: Runs) -> str:
    blocks = []
    for label, record in runs.records.items():
        text = html.escape(json.dumps(record, indent=2))
        blocks.append(f"<details><summary>{html.escape(label)}</summary><pre>{text}</pre></details>\n")
    return "".join(blocks)
