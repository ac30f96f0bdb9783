"""Typeset the report, whose numbers all come from files.

python -m workflow.scripts.typeset report.typ report.pdf --provenance CSV --claims JSON --deviations MD --citation CFF --exhibits JSON...
"""

import argparse
import json
import os
import re
from pathlib import Path

import typst

from sibp.core import atomic


def sections(page: str) -> list[dict[str, object]]:
    """Return the tables of a Markdown page: the title above each, its head and its rows, as lists of text."""
    found = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("|")]
        found.append({"title": part.splitlines()[0], "head": lines[0], "rows": lines[2:]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    for name in ("provenance", "claims", "deviations", "citation"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--exhibits", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    source, exhibits = arguments.source.resolve(), [path.resolve() for path in arguments.exhibits]
    read = {name: getattr(arguments, name).resolve() for name in ("provenance", "claims", "citation")}
    root = Path(os.path.commonpath([source, *read.values(), *exhibits]))

    def inside(path: Path) -> str:
        return f"/{path.relative_to(root).as_posix()}"  # typst reads nothing outside its root

    inputs = {
        "exhibits": json.dumps([inside(path) for path in exhibits]),
        "figures": inside(exhibits[0].parent.parent / "figures"),
        "deviations": json.dumps(sections(arguments.deviations.read_text(encoding="utf-8"))),
        **{name: inside(path) for name, path in read.items()},
    }
    atomic.write(arguments.output, typst.compile(str(source), root=str(root), sys_inputs=inputs))


if __name__ == "__main__":
    main()
