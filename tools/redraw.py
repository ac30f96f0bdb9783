"""Draw every exhibit from the shipped results, without training: python -m tools.redraw [--reference FOLDER] [--root FOLDER] [ID...]

The runs and summaries are unpacked below the root as a workflow would have left them, and drawn into <root>/paper and
<root>/figures.
"""

import argparse
import contextlib
import gzip
import io
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from sibp.core import cores, messages
from sibp.results import archive
from workflow.figures.exhibit import Exhibit, exhibits
from workflow.scripts import draw

MEASURED = ("costs", "fits")  # folders of results that are kept as they are


def unpack(reference: Path, root: Path) -> set[str]:
    """Lay the reference out below `root` and return the ids of the experiments that it holds."""
    names = archive.unpack(reference / "runs", root / "results/runs")
    for kind in MEASURED:
        if (reference / kind).is_dir():
            shutil.copytree(reference / kind, root / "results" / kind, dirs_exist_ok=True)
            names = [*names, *(folder.name for folder in (reference / kind).iterdir())]
    summary = root / "results/summary"
    summary.mkdir(parents=True, exist_ok=True)
    for file in (reference / "summary").glob("*.csv.gz"):
        (summary / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
    return set(names)


def needed(exhibit: Exhibit) -> set[str]:
    """Return the experiments whose runs or measurements an exhibit is drawn from; none if it computes all it shows."""
    return {
        source.id
        for source in exhibit.sources
        if source.experiment.labels or source.experiment.measurements or source.experiment.fitted
    }


def draw_all(exhibits: list[str], root: Path) -> Iterator[tuple[str, str]]:
    """Draw exhibits beside each other; yield each one's id and, if it failed, why in one line, else nothing."""
    os.environ |= {"SIBP_ROOT": str(root.resolve()), "MPLBACKEND": "agg"}
    with ProcessPoolExecutor(cores.count()) as pool:
        waiting = {pool.submit(_draw_quietly, exhibit): exhibit for exhibit in exhibits}
        for ended in as_completed(waiting):
            fault = ended.exception()
            yield waiting[ended], " ".join(f"{type(fault).__name__}: {fault}".split()) if fault else ""


def _draw_quietly(exhibit: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        draw.draw(exhibit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="exhibits; all by default")
    parser.add_argument("--reference", type=Path, default=Path("results/reference"))
    parser.add_argument("--root", type=Path, default=Path(".redrawn"))
    arguments = parser.parse_args()
    there = unpack(arguments.reference, arguments.root)
    if not there:
        sys.exit(f"redraw: {arguments.reference}/runs holds no runs: make some with `make reference`, after `make`")
    every = [exhibit.id for exhibit in exhibits()]
    if unknown := [exhibit for exhibit in arguments.ids if exhibit not in every]:
        sys.exit(f"redraw: {messages.need(unknown[0], every)}")
    chosen = arguments.ids or every
    lacking = {exhibit: sorted(needed(Exhibit(exhibit)) - there) for exhibit in chosen}
    faults = {exhibit: f"needs the runs of {', '.join(missing)}" for exhibit, missing in lacking.items() if missing}
    for exhibit, fault in [*faults.items(), *draw_all([exhibit for exhibit in chosen if exhibit not in faults], arguments.root)]:
        faults[exhibit] = fault
        print(f"{exhibit}: {fault or 'drawn'}", flush=True)
    drawn, root = sum(not fault for fault in faults.values()), arguments.root
    print(f"{drawn} of {len(faults)} exhibits are in {root}/paper and {root}/figures")
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
