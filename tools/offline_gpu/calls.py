"""Spread a bundle over several calls, for a machine that takes only so much with each: python -m tools.offline_gpu.calls [--budget MIB]

Call 1 carries the program and as many pieces of data sets as fit, each later one more pieces; data sets come in the order in which jobs
need them. Each folder .gpu-calls/N goes along with call N, and the printed command is run there: it lays the folder over what earlier calls
left in .gpu-there, and trains what can be trained. Both folders, and .gpu-out, must stay there between calls; git ignores them.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from tools.offline_gpu import order

MIB = 2**20
CALLS, THERE, OUT = Path(".gpu-calls"), ".gpu-there", ".gpu-out"


def in_turns(sizes: dict[str, int], budget: int) -> list[list[str]]:
    """Return the files of each call: in their order, each in the first call that has room from the one before on.

    Raises:
        SystemExit: if a file is larger than the budget.
    """
    largest = max(sizes, key=lambda path: sizes[path])
    if sizes[largest] > budget:
        text = f"got {budget / MIB:g} MiB, need at least {sizes[largest] / MIB:.1f} for {largest}"
        raise SystemExit(f"calls: budget: {text}; `make gpu-bundle ARGS='--chunk 2'` makes smaller pieces")
    turns, left = [[]], budget
    for name, size in sizes.items():
        if size > left:
            turns, left = [*turns, []], budget
        turns[-1].append(name)
        left -= size
    return turns


def sizes_in_order(bundle: Path, jobs: list[dict[str, Any]]) -> dict[str, int]:
    """Return the bytes of the files to carry: the program, then the data sets as the jobs need them; others stay here."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    program = [
        path for path in files if path.relative_to(bundle).parts[0] not in ("data", "site") and "__pycache__" not in path.parts
    ]
    sets = dict.fromkeys(job["data"] for job in jobs if job["data"])
    pieces = [path for name in sets for path in files if path.parent == bundle / "data" / name]
    return {path.relative_to(bundle).as_posix(): path.stat().st_size for path in [*program, *pieces]}


def lay_out(bundle: Path, turns: list[list[str]], calls: Path) -> None:
    """Fill calls/1, calls/2, ... with links to the bundle's files, or copies where the disk cannot link."""
    shutil.rmtree(calls, ignore_errors=True)
    for number, names in enumerate(turns, 1):
        for name in names:
            target = calls / str(number) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(bundle / name, target)
            except OSError:
                shutil.copyfile(bundle / name, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path(".bundle"), metavar="FOLDER")
    parser.add_argument("--budget", type=float, default=58.0, metavar="MIB", help="that one call may carry (default: 58)")
    parser.add_argument("--part", nargs="+", default=["all"], metavar="NAME", help="as for run.py: what is to be trained")
    parser.add_argument("--by", choices=["part", "claims"], default="claims", help="as for run.py (default: claims)")
    parser.add_argument("--minutes", type=float, default=9.0, help="that one call may take (default: 9)")
    arguments = parser.parse_args()
    try:
        plan = json.loads((arguments.bundle / "plan.json").read_text(encoding="utf-8"))
        jobs = order.as_named(plan["jobs"], arguments.part)
    except (OSError, ValueError):
        sys.exit(f"calls: {arguments.bundle / 'plan.json'} is missing or damaged: need `make gpu-bundle` first")
    except LookupError as fault:
        sys.exit(f"calls: {fault}")
    if arguments.by == "claims":
        jobs = order.by_claims(jobs, plan["claims"])
    sizes = sizes_in_order(arguments.bundle, jobs)
    turns = in_turns(sizes, round(arguments.budget * MIB))
    lay_out(arguments.bundle, turns, CALLS)
    words = ["--part", *arguments.part, "--by", arguments.by, "--minutes", f"{arguments.minutes:g}", "--out", OUT]
    for number, names in enumerate(turns, 1):
        folder = CALLS / str(number)
        print(f"call {number}: carry {folder} ({sum(sizes[name] for name in names) / MIB:.1f} MiB), run")
        print(f'  mkdir -p {THERE} && cp -r {folder}/. {THERE} && python3 {THERE}/run.py {shlex.join(words)} --back "$OUT"')
    print(
        "then, until all is done, carry nothing and run the last command from `python3` on; bring back returned.zip: make gpu-import"
    )


if __name__ == "__main__":
    main()
