"""Typeset the report, whose numbers all come from files.

python -m workflow.scripts.typeset report.typ report.pdf --provenance CSV --claims JSON --deviations MD --citation CFF --exhibits JSON...
"""

import argparse
import csv
import io
import json
import os
import re
from pathlib import Path

import pikepdf
import typst
from snakemake_logger_plugin_sibp.plan import duration

from sibp.core import atomic
from workflow.figures import papers
from workflow.scripts import findings


def sections(page: str) -> list[dict[str, object]]:
    """Return the tables of a Markdown page: the title above each, its head and its rows, as lists of text."""
    tables = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("|")]
        tables.append({"title": part.splitlines()[0], "head": lines[0], "rows": lines[2:]})
    return tables


def packed(pdf: bytes) -> bytes:
    """Return a PDF whose small objects, most of them tags that a screen reader follows, are compressed: half the size."""
    file = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(file, object_stream_mode=pikepdf.ObjectStreamMode.generate, recompress_flate=True, deterministic_id=True)
    return file.getvalue()


def typeset(source: Path, output: Path, exhibits: list[Path], **read: Path) -> None:
    """Write the report.

    Args:
        source: the Typst file.
        output: the PDF.
        exhibits: their pages; their pictures are in the folder `figures` beside that of the pages.
        read: the files `provenance`, `claims`, `deviations` and `citation`.
    """
    source, deviations = source.resolve(), read.pop("deviations").read_text(encoding="utf-8")
    read = {name: path.resolve() for name, path in read.items()}
    exhibits = sorted((path.resolve() for path in exhibits), key=lambda path: papers.place(path.stem))
    root = Path(os.path.commonpath([source, *read.values(), *exhibits]))

    def inside(path: Path) -> str:
        return f"/{path.relative_to(root).as_posix()}"  # typst reads nothing outside its root

    with read["provenance"].open(encoding="utf-8", newline="") as rows:
        took = sum(float(job["total_seconds"]) for job in csv.DictReader(rows))
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in exhibits]
    inputs = {
        "found": json.dumps(findings.page(json.loads(read["claims"].read_text(encoding="utf-8")), pages)),
        "exhibits": json.dumps([inside(path) for path in exhibits]),
        "figures": inside(exhibits[0].parent.parent / "figures"),
        "deviations": json.dumps(sections(deviations)),
        "took": duration(took),
        **{name: inside(path) for name, path in read.items()},
    }
    atomic.write(output, packed(typst.compile(str(source), root=str(root), sys_inputs=inputs)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    for name in ("provenance", "claims", "deviations", "citation"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--exhibits", type=Path, nargs="+", required=True)
    typeset(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
