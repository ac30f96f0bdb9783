"""Typeset the report, whose numbers all come from files: typeset.py report.typ report.pdf --provenance CSV --exhibits JSON..."""

import argparse
import json
import os
from pathlib import Path

import typst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--provenance", type=Path, required=True)
    parser.add_argument("--exhibits", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    source, exhibits, provenance = (
        arguments.source.resolve(),
        [p.resolve() for p in arguments.exhibits],
        arguments.provenance.resolve(),
    )
    root = Path(os.path.commonpath([source, provenance, *exhibits]))

    def inside(path: Path) -> str:
        return f"/{path.relative_to(root).as_posix()}"  # typst reads nothing outside its root

    inputs = {
        "exhibits": json.dumps([inside(path) for path in exhibits]),
        "figures": inside(exhibits[0].parent.parent / "figures"),
        "provenance": inside(provenance),
    }
    unfinished = arguments.output.with_name(f".part-{arguments.output.name}")
    typst.compile(str(source), output=str(unfinished), root=str(root), sys_inputs=inputs)
    os.replace(unfinished, arguments.output)


if __name__ == "__main__":
    main()
