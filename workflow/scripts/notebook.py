"""Execute an exhibit as a notebook: python -m workflow.scripts.notebook ID --output FILE.ipynb [--root FOLDER]

The notebook is workflow/notebooks/ID.py, or, for an exhibit that its experiment file describes whole, one that draws it from there.
"""

import argparse
import os
from pathlib import Path

import jupytext
import nbformat
from nbconvert.preprocessors import ExecutePreprocessor

from sibp.core import atomic
from workflow.figures.exhibit import Exhibit
from workflow.scripts.draw import NOTEBOOKS

PLAIN = """# %% [markdown]
# # {place}: {title}
# {note}

# %% What `workflow/experiments/{id}.yaml` says of it
from IPython.display import Markdown

from workflow.figures import plain
from workflow.figures.exhibit import Exhibit

exhibit = Exhibit("{id}")
exhibit.experiment.figure or exhibit.experiment.table

# %%
table = plain.draw(exhibit)

# %%
Markdown(table.markdown())
"""


def source(exhibit: Exhibit) -> str:
    """Return an exhibit's notebook in jupytext's percent format."""
    if exhibit.experiment.notebook:
        return (NOTEBOOKS / f"{exhibit.id}.py").read_text(encoding="utf-8")
    note = " ".join((exhibit.experiment.note or "").split())
    return PLAIN.format(id=exhibit.id, place=exhibit.place, title=exhibit.experiment.title, note=note)


def execute(text: str) -> nbformat.NotebookNode:
    """Return a notebook with its outputs; its cells run in the repository's root, from where they import `workflow`."""
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    ExecutePreprocessor(timeout=None).preprocess(notebook, {"metadata": {"path": str(NOTEBOOKS.parents[1])}})
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exhibit", metavar="ID")
    parser.add_argument("--root", type=Path, default=Path("."))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ |= {"SIBP_ROOT": str(arguments.root.resolve())}
    atomic.write(arguments.output, nbformat.writes(execute(source(Exhibit(arguments.exhibit)))) + "\n")


if __name__ == "__main__":
    main()
