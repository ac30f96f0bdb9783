"""Keep a finished run's results in the repository, where README.md and readers without a GPU find them.

    python -m tools.reference [--root FOLDER] [--to results/reference] [--from FOLDER...]

With --from, the runs below these folders are first merged into those that are kept, job by job (see `tools.merge_runs`), and all is drawn
and judged anew; each job keeps its own provenance. Without it the run under the root replaces what is there.
Copies tables (Markdown, CSV), pictures (PNG), the exhibits' facts, verdicts and provenance as they are, and the summaries over the
seeds and all runs compressed: `make figures` draws from them. The folder is replaced whole. No rule of the workflow writes or reads it.
"""

import argparse
import gzip
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from sibp.core import atomic
from sibp.results import archive
from tools import merge_runs, redraw
from workflow.figures.exhibit import exhibits
from workflow.scripts import claims, claims_file, provenance, summarise, typeset

LIMIT = 5_000_000  # bytes; git keeps every version for ever
KEPT = {
    "tables": ("paper/tables/*.md", "paper/tables/*.csv"),
    "figures": ("figures/*.png",),
    "exhibits": ("paper/exhibits/*.json",),
    "summary": ("results/summary/*.csv",),
    ".": ("results/provenance.csv", "results/claims.json", "paper/claims.md", "paper/report.pdf"),
}


def collect(root: Path, folder: Path) -> None:
    """Copy a run's files from `root` into an empty folder."""
    for place, patterns in KEPT.items():
        for source in sorted(file for pattern in patterns for file in root.glob(pattern)):
            target = folder / place / source.name
            target.parent.mkdir(exist_ok=True)
            if place == "summary":  # thousands of rows; without a time stamp equal numbers are equal files
                target.with_name(f"{source.name}.gz").write_bytes(gzip.compress(source.read_bytes(), mtime=0))
            elif place == "figures":
                small(source, target)
            else:
                shutil.copyfile(source, target)
    archive.pack(root / "results/runs", folder / "runs")
    for kind in redraw.MEASURED:
        if (root / "results" / kind).is_dir():
            shutil.copytree(root / "results" / kind, folder / kind, ignore=shutil.ignore_patterns("*.runs"))


def small(source: Path, target: Path) -> None:
    """Write a picture in 256 colours, which is a third of the bytes and looks the same; one that has no more is copied as it is."""
    with Image.open(source) as picture:
        if picture.mode == "P":
            shutil.copyfile(source, target)
        else:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


def merge(folders: list[Path], reference: Path, root: Path) -> None:
    """Lay the kept results out below `root`, take what is better from folders, and draw and judge everything anew.

    A line for each job is printed as soon as it is decided.

    Raises:
        SystemExit: if there is no such folder, or an exhibit cannot be drawn.
    """
    for folder in empty(folders):
        print(f"{folder}: holds neither runs nor measurements", flush=True)
    there = redraw.unpack(reference, root)
    results, paper = root / "results", root / "paper"
    for outcome in merge_runs.merge(folders, results / "runs"):
        print(outcome.line, flush=True)
        if outcome.changed:
            there.add(outcome.changed)
    for file in (file for folder in folders for file in take_measured(folder, results)):
        print(f"took {file.parent.name}/{file.stem}: of {file.parts[-3]}", flush=True)
        there.add(file.parent.name)
    for name in as_kept(results / "runs"):
        summarise.write(sorted((results / "runs" / name).glob("*.parquet")), results / f"summary/{name}.csv")
    drawn = [exhibit.id for exhibit in exhibits() if redraw.needed(exhibit) <= there]
    if faults := {name: fault for name, fault in redraw.draw_all(drawn, root) if fault}:
        raise SystemExit(f"reference: {'; '.join(f'{name}: {fault}' for name, fault in faults.items())}")
    provenance.write(sorted((results / "runs").rglob("*.parquet")), results / "provenance.csv")
    runs = claims.Runs(results / "runs", Path("workflow/experiments"))
    rows = [claims.evaluate(runs, paper / "tables", claim) for claim in claims_file.load(Path("workflow/claims.yaml"))]
    claims.save(rows, results / "claims.json", paper / "claims.md")
    made = {"provenance": results / "provenance.csv", "claims": results / "claims.json"}
    texts = {"deviations": Path("docs/deviations.md"), "citation": Path("CITATION.cff")}
    pages = list((paper / "exhibits").glob("*.json"))
    typeset.typeset(Path("paper/report.typ"), paper / "report.pdf", pages, **made, **texts)


def empty(folders: list[Path]) -> list[Path]:
    """Return those of some folders that hold nothing to merge.

    Raises:
        SystemExit: if there is no such folder.
    """
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise SystemExit(f"reference: got {str(missing[0])!r}, need a folder that is there")
    return [folder for folder in folders if not measured(folder) and not any(folder.rglob("*.parquet"))]


def as_kept(runs: Path) -> list[str]:
    """Round runs to the digits that the repository keeps, so that what is drawn now is what `make figures` draws from them later.

    Returns:
        The experiments' ids.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive.pack(runs, Path(folder))
        return archive.unpack(Path(folder), runs)


def measured(folder: Path) -> list[Path]:
    """Return the files of costs and fits below a folder, sorted."""
    return sorted(file for kind in redraw.MEASURED for file in folder.glob(f"{kind}/*/*.json"))


def take_measured(folder: Path, results: Path) -> list[Path]:
    """Keep the costs and fits below `folder`, without blanks, in the place of those that are kept; the last one to come stays.

    Returns:
        Their files.
    """
    files = measured(folder)
    for file in files:
        target = results / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(target, json.dumps(json.loads(file.read_text(encoding="utf-8")), separators=(",", ":")) + "\n")
    return files


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each file, largest first."""
    files = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    return dict(sorted(files.items(), key=lambda item: -item[1]))


def keep(root: Path, to: Path) -> str:
    """Replace `to` by the results under `root` and return what was done, in words.

    Raises:
        SystemExit: if the run is not finished or its results are too large; `to` is then as it was.
    """
    if not (root / "results/provenance.csv").is_file():
        raise SystemExit(f"reference: {root / 'results/provenance.csv'} is missing: the run is not finished, need `make` first")
    jobs = pd.read_csv(root / "results/provenance.csv")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".reference-") as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        collect(root, fresh)
        files = sizes(fresh)
        if (total := sum(files.values())) > LIMIT:
            largest = ", ".join(f"{file} {size / 1e6:.1f} MB" for file, size in list(files.items())[:3])
            raise SystemExit(f"reference: {total / 1e6:.1f} MB, need at most {LIMIT / 1e6:.0f} MB; the largest are {largest}")
        if to.exists():
            to.rename(Path(name) / "before")
        fresh.rename(to)
    dirty = int((jobs["dirty"].astype(str) == "True").sum())
    note = f"; {dirty} of {len(jobs)} jobs ran from a checkout with changes" if dirty else ""
    return f"{to}: {len(files)} files, {total / 1e6:.1f} MB, scale {', '.join(jobs['scale'].unique())}{note}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("."))
    parser.add_argument("--to", type=Path, default=Path("results/reference"))
    parser.add_argument("--from", dest="folders", type=Path, nargs="+", metavar="FOLDER", help="merge the runs below these folders")
    arguments = parser.parse_args()
    if not arguments.folders:
        print(keep(arguments.root, arguments.to), file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        merge(arguments.folders, arguments.to, Path(folder))
        print(keep(Path(folder), arguments.to), file=sys.stderr)


if __name__ == "__main__":
    main()
