"""Draw exhibits: python -m workflow.scripts.draw ID... [--root FOLDER]

An exhibit is drawn by its notebook in workflow/notebooks, or from what its experiment file says under `figure` or `table`. Results are
read below the root and written there.
"""

import argparse
import os
import runpy
from pathlib import Path

import matplotlib

from workflow.figures import plain
from workflow.figures.exhibit import Exhibit

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def draw(exhibit: str) -> None:
    """Draw one exhibit and print its table in Markdown."""
    notebook = NOTEBOOKS / f"{exhibit}.py"
    if notebook.exists():
        runpy.run_path(str(notebook), run_name="__main__")
    else:
        print(plain.draw(Exhibit(exhibit)).markdown())


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
