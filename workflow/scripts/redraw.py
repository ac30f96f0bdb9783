"""Draw every exhibit from the shipped results, without training: python redraw.py [--reference FOLDER] [--root FOLDER] [ID...]

The runs and summaries are unpacked below the root as a workflow would have left them; the exhibits' notebooks then write
<root>/paper and <root>/figures.
"""

import argparse
import gzip
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import packed
import together
import yaml

WORKFLOW = Path(__file__).resolve().parents[1]
LIBRARIES = ("pandas", "pyarrow.parquet", "seaborn", "matplotlib.pyplot", "matplotlib.backends.backend_pdf")


def unpack(reference: Path, root: Path) -> set[str]:
    """Lay the reference out below `root` and return the ids of the experiments that it holds."""
    names = packed.unpack(reference / "runs", root / "results/runs")
    costs = root / "results/costs"
    if (reference / "costs").is_dir():
        shutil.copytree(reference / "costs", costs, dirs_exist_ok=True)
        names = [*names, *(folder.name for folder in costs.iterdir())]
    summary = root / "results/summary"
    summary.mkdir(parents=True, exist_ok=True)
    for file in (reference / "summary").glob("*.csv.gz"):
        (summary / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
    return set(names)


def sources(exhibit: str) -> set[str]:
    """Return the experiments that an exhibit is drawn from; none if it trains nothing."""
    settings = yaml.safe_load((WORKFLOW / f"experiments/{exhibit}.yaml").read_text(encoding="utf-8"))
    named = settings.get("runs", [exhibit] if settings.get("methods") or settings.get("bench") else [])
    return {named} if isinstance(named, str) else set(named)


def draw(exhibits: list[str], root: Path) -> Iterator[tuple[str, str]]:
    """Run exhibits' notebooks beside each other; yield each one's id and the last line of what it said if it failed, else nothing."""
    os.environ |= {"SIBP_ROOT": str(root.resolve()), "MPLBACKEND": "agg"}
    together.warm_up(LIBRARIES)
    commands = {shlex.quote(str(WORKFLOW / f"notebooks/{exhibit}.py")): exhibit for exhibit in exhibits}
    for command, said, code in together.run_all(list(commands), len(os.sched_getaffinity(0))):
        yield commands[command], (said.strip().splitlines() or ["no message"])[-1] if code else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="*", metavar="ID", help="exhibits; all by default")
    parser.add_argument("--reference", type=Path, default=Path("results/reference"))
    parser.add_argument("--root", type=Path, default=Path(".redrawn"))
    arguments = parser.parse_args()
    there = unpack(arguments.reference, arguments.root)
    if not there:
        sys.exit(f"redraw: {arguments.reference}/runs holds no runs: make some with `make reference`, after `make`")
    known = {path.stem for path in (WORKFLOW / "notebooks").glob("*.py")}
    every = sorted(path.stem for path in (WORKFLOW / "experiments").glob("*.yaml") if path.stem in known)
    if unknown := [exhibit for exhibit in arguments.ids if exhibit not in every]:
        sys.exit(f"redraw: got {unknown[0]!r}, need one of {', '.join(every)}")
    asked = arguments.ids or every
    lacking = {exhibit: sorted(sources(exhibit) - there) for exhibit in asked}
    faults = {exhibit: f"needs the runs of {', '.join(missing)}" for exhibit, missing in lacking.items() if missing}
    for exhibit, fault in [*faults.items(), *draw([exhibit for exhibit in asked if exhibit not in faults], arguments.root)]:
        faults[exhibit] = fault
        print(f"{exhibit}: {fault or 'drawn'}", flush=True)
    drawn, root = sum(not fault for fault in faults.values()), arguments.root
    print(f"{drawn} of {len(faults)} exhibits are in {root}/paper and {root}/figures")
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
