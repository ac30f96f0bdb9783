"""How every figure looks: one seaborn style, one colour and one line style for each method, fonts that stay text in a PDF."""

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 6.3  # inches between the margins of an A4 page
# Okabe and Ito's colours, which people with colour-blindness can tell apart; the line styles do it without colours.
METHODS = {
    "sibp": ("SIBP", "#0072B2", "-"),
    "sgd": ("SGD", "#D55E00", "--"),
    "proxbp": ("ProxBP", "#009E73", "-."),
    "bcd": ("BCD", "#CC79A7", ":"),
    "adam": ("Adam", "#E69F00", (0, (5, 1, 1, 1, 1, 1))),
    "rmsprop": ("RMSprop", "#56B4E9", (0, (3, 1, 1, 1))),
    "proxprop": ("ProxProp", "#000000", (0, (1, 1))),
}


def use() -> None:
    """Set the style for all figures made from here on."""
    sns.set_theme(context="paper", style="ticks", palette=[colour for _, colour, _ in METHODS.values()])
    mpl.rcParams |= {
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "savefig.dpi": 200,
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


def line(algorithm: str) -> dict[str, object]:
    """Return the colour and the line style of a method, for `Axes.plot`."""
    _, colour, style = METHODS[algorithm]
    return {"color": colour, "linestyle": style}


def letter(axes: list[Axes]) -> None:
    """Write (a), (b), ... before the panels' titles."""
    for character, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"({character}) {ax.get_title()}", loc="left", fontsize="medium")
        ax.set_title("")


def stamp(figure: Figure, note: str) -> None:
    """Name the scale below the panels, so that a reduced figure never passes for the papers' settings."""
    if note:
        figure.supxlabel(note, fontsize="x-small", color="0.35")
