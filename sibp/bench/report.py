"""A bench's measurements as tables for people."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from sibp.results import processor

__all__ = ["show", "tables"]

Rows = Sequence[Sequence[str]]


def show(result: dict[str, Any], file: TextIO | None = None) -> None:
    """Print all tables: drawn on a terminal, plain columns elsewhere.

    Args:
        result: what `measure.measure` returns.
        file: where to; None is the standard output.
    """
    file = file or sys.stdout
    for title, head, rows in tables(result):
        if file.isatty():
            table = Table(title=title, title_justify="left")
            for i, name in enumerate(head):
                table.add_column(name, justify="right" if i else "left", no_wrap=not i)
            for row in rows:
                table.add_row(*row)
            Console(file=file).print(table)
        else:
            print(_plain(title, head, rows), file=file)


def tables(result: dict[str, Any]) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """Lay the measurements out.

    Args:
        result: what `measure.measure` returns.

    Yields:
        Title, head and rows of each table.
    """
    machine = result["environment"]
    yield (
        f"{machine['device']}, threads: {machine['threads']}, torch {machine['versions']['torch']}, kernels: {machine['kernels']}, "
        f"processor: {processor.in_words(machine['processor'])}, load {machine['load_before']:.1f} to {machine['load_after']:.1f}",
        ("largest product rate, GFLOP/s",),
        [(f"{result['ceiling'] / 1e9:.0f}",)],
    )
    for case in result["cases"]:
        best = "; ".join(f"{name} at its best: {label}" for name, label in case["best"].items())
        title = f"{case['case']}: {case['parameters']:,} parameters, batch {case['batch']}; {best}"
        yield title, CASE_HEAD, [_step_row(row) for row in case["steps"]]
    group = result["ensemble"]
    title = f"{group['case']}: {group['members']} members, one step of one member"
    yield title, ("step", "median ms", "least ms"), [(r["step"], *_milliseconds(r)) for r in group["steps"]]
    rows = [(s["step"], s["over"], ", ".join(map(str, s["sizes"])), f"{s['exponent']:.2f}") for s in result["scaling"]]
    yield "How time grows: seconds ~ size^p", ("step", "size", "from", "p"), rows
    if result["bounds"]:
        yield (
            "Promises",
            ("case", "step", "against", "at most", "measured", "least", "kept"),
            [_bound_row(b) for b in result["bounds"]],
        )


RATIOS = {
    "x SGD": "ratio",
    "x best SGD": "best_ratio",
    "floor": "floor",
    "x Adam": "adam_ratio",
    "x best Adam": "best_adam_ratio",
    "x SGD, least": "min_ratio",
    "x SGD, processor": "cpu_ratio",
}
CASE_HEAD = ("step", "median ms", "least ms", *RATIOS, "GFLOP/s", "of the largest", "peak MB")


def _step_row(row: dict[str, Any]) -> Sequence[str]:
    if "skipped" in row:
        return (row["step"], f"left out: {row['skipped']}", *[""] * (len(CASE_HEAD) - 2))
    rate, share, peak = (row.get(key) for key in ("operations_per_second", "share_of_ceiling", "peak_bytes"))
    return (
        row["step"],
        *_milliseconds(row),
        *(_number(row.get(key)) for key in RATIOS.values()),
        "" if rate is None else f"{rate / 1e9:.0f}",
        "" if share is None else f"{share:.0%}",
        "" if peak is None else f"{peak / 2**20:.0f}",
    )


def _bound_row(bound: dict[str, Any]) -> Sequence[str]:
    verdict = "yes" if bound["kept"] else "no"
    numbers = (f"{bound[key]:.2f}" for key in ("most", "ratio", "min_ratio"))
    return (bound["case"], bound["step"], bound["reference"], *numbers, verdict)


def _milliseconds(row: dict[str, Any]) -> tuple[str, str]:
    return f"{1e3 * row['median_seconds']:.2f}", f"{1e3 * row['min_seconds']:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _plain(title: str, head: Sequence[str], rows: Rows) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join([title, *lines, ""])
