"""Draw exhibits: python -m workflow.scripts.draw ID... [--root FOLDER]

An exhibit is drawn by its notebook in workflow/notebooks if its experiment file says so under `notebook`, else from what that file says
under `figure` or `table`. Results are read below the root and written there.
"""

import argparse
import io
import os
import runpy
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from workflow.figures import plain, style
from workflow.figures.exhibit import Exhibit

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def draw(exhibit: str) -> None:
    """Draw one exhibit and print its table in Markdown."""
    drawn = Exhibit(exhibit)
    if drawn.experiment.notebook:
        runpy.run_path(str(NOTEBOOKS / f"{exhibit}.py"), run_name="__main__")
    else:
        print(plain.draw(drawn).markdown())


def preload() -> None:
    """Draw an empty figure in each form, for processes whose forks will draw: its backends, fonts and formulas are then there."""
    matplotlib.use("agg")
    style.use()
    figure = Figure()
    figure.add_subplot(xscale="log")
    for form in ("pdf", "svg", "png"):
        figure.savefig(io.BytesIO(), format=form)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exhibits", nargs="+", metavar="ID")
    parser.add_argument("--root", type=Path, default=Path("."))
    arguments = parser.parse_args()
    os.environ |= {"SIBP_ROOT": str(arguments.root.resolve())}
    matplotlib.use("agg")
    for exhibit in arguments.exhibits:
        draw(exhibit)


if __name__ == "__main__":
    main()
