"""How every figure looks: one seaborn style, one colour and one line style for each method, fonts that stay text in a PDF."""

from collections import Counter
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, FixedLocator, LogLocator, NullLocator

from sibp.experiments.schema import Experiment
from workflow.figures.papers import SECOND

WIDTH = 6.3  # inches between the margins of an A4 page
# Okabe and Ito's colours, which people with colour-blindness can tell apart; the line styles do it without colours.
METHODS = {
    "sibp": ("SIBP", "#0072B2", "-"),
    "sgd": ("SGD", "#D55E00", "--"),
    "proxbp": ("ProxBP", "#009E73", "-."),
    "bcd": ("BCD", "#CC79A7", ":"),
    "adam": ("Adam", "#E69F00", (0, (5, 1, 1, 1, 1, 1))),
    "rmsprop": ("RMSprop", "#56B4E9", (0, (3, 1, 1, 1))),
    "proxprop": ("ProxProp", "#5D3A9B", (0, (1, 1))),
    "nesterov": ("SGD, Nesterov", "#882255", (0, (4, 2))),
}
DASHES = ["-", (0, (6, 1)), (0, (3, 1)), (0, (5, 1, 1, 1)), (0, (1, 1))]
PAPER: dict[str, Any] = {"color": "0.45", "linewidth": 0.9, "zorder": 1}  # the papers' numbers
PAPER_DASHES = [(0, (4, 2)), (0, (1, 2)), (0, (4, 2, 1, 2))]


def use() -> None:
    """Set the style for all figures made from here on."""
    sns.set_theme(context="paper", style="ticks", palette=[colour for _, colour, _ in METHODS.values()])
    mpl.rcParams |= {
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "savefig.dpi": 150,
        "pdf.fonttype": 42,
        "svg.hashsalt": "sibp",  # the same figure gives the same file
        "axes.grid": True,
        "grid.alpha": 0.35,
        "grid.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.5,
        "legend.frameon": False,
    }


def name(algorithm: str) -> str:
    """Return a method's name as the papers write it."""
    return METHODS[algorithm][0]


def line(algorithm: str) -> dict[str, Any]:
    """Return the colour and the line style of a method, for `Axes.plot`."""
    _, colour, style = METHODS[algorithm]
    return {"color": colour, "linestyle": style}


def look(label: str, algorithm: str) -> tuple[str, dict[str, Any]]:
    """Return a label's name and its look for `Axes.plot`: the method's, lighter and dotted for Armijo's rule beside the main label."""
    if label.endswith(SECOND):
        return f"{name(algorithm)}, Armijo", {"color": sns.light_palette(METHODS[algorithm][1], 6)[3], "linestyle": (0, (2, 1))}
    return name(algorithm), line(algorithm)


def names(experiment: Experiment, labels: Iterable[str]) -> dict[str, str]:
    """Return what a sentence calls labels: what the figure's legend calls them, else their methods.

    Args:
        experiment: whose labels they are.
        labels: those that the sentence speaks of; two that have the same method are told apart by what else their labels say.
    """
    lines = experiment.figure.lines if experiment.figure else {}
    algorithms = {label: experiment.trained.algorithm(label) for label in dict.fromkeys(labels)}
    named = {label: (label in lines and lines[label].name) or look(label, algorithm)[0] for label, algorithm in algorithms.items()}
    count = Counter(named.values())
    for label, called in named.items():
        if count[called] > 1:
            rest = label.removeprefix(algorithms[label]).strip("-")
            named[label] = name(algorithms[label]) + (f" ({rest})" if rest else "")
        elif ", " in called:  # a comma would end the name
            named[label] = f"{called.replace(', ', ' (', 1)})"
    return named


def tints(algorithm: str, count: int) -> list[dict[str, Any]]:
    """Return looks for variants of one method, from light to dark, each with a line style of its own."""
    colour = METHODS[algorithm][1]
    shades = sns.blend_palette([sns.light_palette(colour, 6)[2], colour, sns.dark_palette(colour, 6)[1]], count)
    return [{"color": shade, "linestyle": DASHES[i % len(DASHES)]} for i, shade in enumerate(shades.as_hex())]


def stretch(ax: Axes, direction: str) -> None:
    """Make an axis (x or y) logarithmic in 1 - accuracy if it spans far: 0.98 and 0.99 are then as far apart as 0.9 and 0.95."""
    low, high = (getattr(ax.dataLim, f"{direction}{end}") for end in "01")
    if 1 - low < 8 * (1 - high):
        return
    functions = (lambda a: -np.log10(np.maximum(1 - a, 1e-5)), lambda t: 1 - 10.0**-t)
    getattr(ax, f"set_{direction}scale")("function", functions=functions)
    axis = getattr(ax, f"{direction}axis")
    close = [0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]
    axis.set_major_locator(FixedLocator(close if 1 - high > 5e-4 else [0, 0.9, 0.99, 0.999, 0.9999]))  # far up they would overlap
    axis.set_major_formatter("{x:g}")


def logarithmic(ax: Axes, direction: str) -> None:
    """Make an axis (x or y) logarithmic, with plain numbers where it spans less than two powers of ten."""
    getattr(ax, f"set_{direction}scale")("log")
    axis = getattr(ax, f"{direction}axis")
    low, high = axis.get_view_interval()
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 5 * low else AutoLocator())
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def letter(axes: Iterable[Axes]) -> None:
    """Write (a), (b), ... before the panels' titles."""
    for character, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"({character}) {ax.get_title()}", loc="left", fontsize="small")
        ax.set_title("")


def stamp(figure: Figure, note: str) -> None:
    """Name the scale above the panels, so that a reduced figure never passes for the papers' settings; legends go below them."""
    if note:
        figure.suptitle("\n".join(wrap(note, width=int(17 * figure.get_figwidth()))), fontsize="x-small", color="0.35")
