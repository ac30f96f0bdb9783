"""Train a part of the campaign on this machine, which needs no network: python run.py --part J --minutes 9 --out OUT

The plan is printed first. Jobs run in the order in which --part names them, or with --by claims those first that decide most claims per
second; at most one (--on-gpu) on the GPU and others on the CPU's cores beside it; a timed one runs alone. Processes train one job after
another, so that starting up is paid once. A job whose data set is not here yet is left for a later call. Each job's results are in OUT as
soon as it ends, and OUT/returned.zip holds all that are there: the one file to bring back. When the minutes are nearly over, or on
Ctrl-C, jobs are stopped; the same command goes on from their checkpoints and skips what is done. With --unit ensemble each ensemble of a
job is trained and kept on its own, so that several machines can share a job and less is lost with one of them; the last one makes the job
whole.
Exit code: 0, also when time is over; 1 if a job failed; 2 for bad input; 130 after Ctrl-C.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import multiprocessing
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

BEGUN = time.monotonic()
BUNDLE = Path(__file__).resolve().parent
STOP = 20.0  # seconds before the end at which jobs are stopped
Job = dict[str, Any]


def refuse(text: str) -> NoReturn:
    print(f"run: {text}", file=sys.stderr)
    sys.exit(2)


def read_plan() -> dict[str, Any]:
    """Return the bundle's plan, having made sure that the bundle is whole and fits this Python."""
    try:
        plan = json.loads((BUNDLE / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        refuse(f"{BUNDLE / 'plan.json'} is missing or damaged: make and copy the bundle anew")
    for name, digest in plan["sources"].items():
        file = BUNDLE / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            refuse(f"{file} is missing or not as it was packed: copy the bundle anew")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if plan["python"] not in (None, here):
        refuse(f"the bundle's packages are for Python {plan['python']}, this is {here}: make gpu-bundle NODE_PYTHON={here}")
    return plan


def make_importable() -> None:
    """Put the bundle's package, scripts and packages before those of this Python, and see that nothing is missing."""
    packed, site = BUNDLE / "packages.zip", BUNDLE / "site"
    if packed.exists() and not (site / ".whole").exists():
        zipfile.ZipFile(packed).extractall(site)
        (site / ".whole").touch()
    sys.path[:0] = [str(BUNDLE), str(site)]
    from sibp.cli import EXTRA, OF_NO_COMMAND  # none of these is needed for that

    needed = ["torch", *(name for name in EXTRA if name not in OF_NO_COMMAND)]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        refuse(f"this Python has no {', '.join(missing)}: name what it does have, make gpu-bundle NODE_HAS='...'")


def chosen(plan: dict[str, Any], arguments: argparse.Namespace, has: Callable[[Job], bool]) -> list[Job]:
    """Return the jobs, or ensembles, that are to run, in their order."""
    from tools.offline_gpu import order

    split = arguments.unit == "ensemble"
    whole = order.ensembles(plan["jobs"]) if split else plan["jobs"]
    try:
        units = order.as_named(whole, arguments.part)
    except LookupError as fault:
        refuse(str(fault))
    if arguments.by == "claims":
        claims = order.claims_on(whole, plan["claims"]) if split else plan["claims"]
        units = order.by_claims(units, claims, [unit["name"] for unit in whole if has(unit)])
    return order.shared(units, whole, arguments.share)


def status(plan: dict[str, Any], units: list[Job], has: Callable[[Job], bool], running: set[str], runs: Path) -> str:
    """Return how far the work is: what is done, running, begun and to come, and the hours left by kind of device."""
    left = [unit for unit in units if not has(unit)]
    states = {"running": [], "begun": [], "to come": []}
    for unit in left:
        begun = (runs / f"{unit['name']}.pt").exists()
        states["running" if unit["name"] in running else "begun" if begun else "to come"].append(unit["name"])
    kinds = left[0]["kinds"] if left else {}
    lines = [f"scale {plan['scale']}: {len(units) - len(left)} of {len(units)} done"]
    lines += [f"{state:9} {len(names):4}  {' '.join(names[:5])}{' ...' if names[5:] else ''}" for state, names in states.items()]
    for kind in kinds:
        seconds = [unit["kinds"][kind] for unit in left]
        known = [value for value in seconds if value < math.inf]
        uncounted = f", and {len(seconds) - len(known)} that could not be counted" if len(known) < len(seconds) else ""
        lines.append(f"{sum(known) / 3600:.2f} hours left on {kind}, as counted{uncounted}")
    return "\n".join(lines)


def find_device(wanted: str) -> str:
    """Return the device; looked for in a fork, since CUDA does not survive one."""
    import torch

    from sibp.core import cuda

    with multiprocessing.get_context("fork").Pool(1) as child:
        fault = child.apply(cuda.fault)
    if wanted == "cuda" and fault:
        refuse(f"device: cuda asked for, but torch {torch.__version__} {fault}")
    return wanted if wanted != "auto" else "cpu" if fault else "cuda"


def table(jobs: list[Job], has: Callable[[Job], bool], runs: Path) -> str:
    """Return the plan: what runs where, about how long, in how much memory, and how far it is."""
    lines = [f"{'job':30} {'members':>7} {'steps':>8}  {'on':4} {'about s':>8} {'MiB':>7}"]
    for job in jobs:
        size = f"{job['seconds']:8.0f} {job['bytes'] / 2**20:7.0f}"
        row = f"{job['name']:30} {job['members']:7} {job['steps']:8}  {job['device']:4} {size}"
        state = "  done" if has(job) else "  begun" if (runs / f"{job['name']}.pt").exists() else ""
        lines.append(row + ("  alone, timed" if job["timed"] else "") + state)
    return "\n".join(lines)


def fetch_data(jobs: list[Job], root: str | None) -> set[str]:
    """Bring the data sets of the jobs into the cache, bit for bit; return those of which pieces are still to come."""
    from sibp.data import DataError, fetch
    from tools.offline_gpu import data_chunks

    chunks, lacking = data_chunks.Chunks(BUNDLE / "data"), set()
    for name in sorted({job["data"] for job in jobs} - {None}):
        try:
            fetch(name, root, report=print, sources=[chunks])
        except DataError as fault:
            if not chunks.missing(name):
                refuse(str(fault))
            lacking.add(name)
            print(f"{name}: {len(chunks.missing(name))} pieces are still to come; its jobs wait", flush=True)
    return lacking


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = "J, A, I, P, extra, search, all (what `make` trains; the default), an exhibit, or EXHIBIT/LABEL"
    parser.add_argument("--part", nargs="+", default=["all"], metavar="NAME", help=text)
    parser.add_argument(
        "--unit", choices=["job", "ensemble"], default="job", help="of work: a job (the default), or one of its ensembles"
    )
    text = "take every N-th unit of the plan from the K-th on, for N machines that share the work"
    parser.add_argument("--share", type=_share, default=(1, 1), metavar="K/N", help=text)
    text = "order: as --part names them (the default), or claims: most claims per counted second first"
    parser.add_argument("--by", choices=["part", "claims"], default="part", help=text)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of the whole command (default: no limit)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--back", type=Path, metavar="DIR", help="a folder that gets a copy of returned.zip after each job")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    text = (
        "jobs on the GPU at once (default 1); more fill a GPU better that several processes can use at once, as with NVIDIA's MPS"
    )
    parser.add_argument("--on-gpu", type=int, default=1, metavar="N", help=text)
    parser.add_argument("--data-dir", metavar="D", help="the data cache; by default the user's")
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument("--status", action="store_true", help="print how far it is, and the hours left, and stop")
    arguments = parser.parse_args()
    if not 60 * arguments.minutes > STOP:
        parser.error(f"minutes: got {arguments.minutes:g}, need more than {STOP / 60:.2f}")
    if arguments.on_gpu < 1:
        parser.error(f"on-gpu: got {arguments.on_gpu}, need 1 or more")
    return arguments


def _share(text: str) -> tuple[int, int]:
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise argparse.ArgumentTypeError(f"got {text!r}, need K/N with 1 <= K <= N, such as 1/3")
    return int(k), int(n)


def main() -> int:
    arguments = parse()
    plan = read_plan()
    make_importable()
    import sibp.cli
    from tools.offline_gpu import workers

    sibp.cli.preload()  # here, so that no job has to
    results = workers.Results(arguments.out.resolve(), plan, arguments.back and arguments.back.resolve())
    jobs = chosen(plan, arguments, results.has)
    if arguments.status:
        print(status(plan, jobs, results.has, results.now_running(), results.out / "runs"))
        return 0
    device = find_device(arguments.device)
    for job in jobs:
        job["device"] = "cpu" if job["cpu"] else device
    waiting = [job for job in jobs if not results.has(job)]
    seconds = [job["seconds"] for job in waiting if job["seconds"] < math.inf]
    uncounted = (
        f" and {len(waiting) - len(seconds)} {arguments.unit}s that could not be counted" if len(seconds) < len(waiting) else ""
    )
    words = f"part {' '.join(arguments.part)}, scale {plan['scale']}, {device}"
    words += f": {len(jobs)} {arguments.unit}s, {len(jobs) - len(waiting)} done"
    counted = f"about {sum(seconds) / 60:.1f} min on {plan['device']}, as counted{uncounted}"
    print(f"{words}; the rest takes {counted}\n{table(jobs, results.has, results.out / 'runs')}", flush=True)
    if arguments.plan:
        return 0
    lacking = fetch_data(waiting, arguments.data_dir)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what cluster managers send before the end
    words = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    os.environ["SIBP_GPU_JOBS"] = str(arguments.on_gpu)
    pool, code = workers.Pool(results, BEGUN, words, arguments.on_gpu), 0
    try:
        pool.work([job for job in waiting if job["data"] not in lacking], BEGUN + 60 * arguments.minutes - STOP)
    except KeyboardInterrupt:
        code = 130
    results.pack()
    left = [job["name"] for job in jobs if not results.has(job)]
    pool.say(f"{len(jobs) - len(left)} of {len(jobs)} {arguments.unit}s are done; bring back {results.out / 'returned.zip'}")
    if left:
        print(f"left: {' '.join(left)}; the same command goes on")
    return code or int(bool(pool.failed))


if __name__ == "__main__":
    sys.exit(main())
