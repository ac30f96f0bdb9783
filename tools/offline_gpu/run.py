"""Train a part of the campaign on this machine, which needs no network: python run.py --part J --minutes 9 --out OUT

The plan is printed first. Jobs run in its order, at most one on the GPU and others on the CPU's cores beside it; a timed one runs alone.
Each job's results are in OUT as soon as it ends, and OUT/returned.zip holds all that are there: the one file to bring back. When the
minutes are nearly over, or on Ctrl-C, jobs are stopped; the same command goes on from their checkpoints and skips what is done.
Exit code: 0, also when time is over; 1 if a job failed; 2 for bad input; 130 after Ctrl-C.
"""

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import signal
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

BEGUN = time.monotonic()
BUNDLE = Path(__file__).resolve().parent
PARTS = ("J", "A", "I", "P", "extra", "search")
STOP = 20.0  # seconds before the end at which jobs are told to stop
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
    needed = ("torch", "numpy", "pandas", "pyarrow", "pydantic", "yaml", "rich", "PIL", "filelock")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        refuse(f"this Python has no {', '.join(missing)}: name what it does have, make gpu-bundle NODE_HAS='...'")


def chosen(plan: dict[str, Any], names: Iterable[str]) -> list[Job]:
    """Return the jobs of parts, exhibits or single jobs, in the plan's order; `all` is what `make` trains, so no searches."""
    jobs, asked = plan["jobs"], set(names)
    known = {"all"} | {key for job in jobs for key in (job["part"], job["name"].partition("/")[0], job["name"])}
    if unknown := sorted(asked - known - set(PARTS)):
        refuse(f"part: got {unknown[0]!r}, need all, {', '.join(PARTS)}, or an exhibit or a job such as {jobs[0]['name']}")
    keys = [(job, {job["part"], job["name"].partition("/")[0], job["name"]}) for job in jobs]
    return [job for job, own in keys if own & asked or ("all" in asked and job["part"] != "search")]


def estimate(jobs: list[Job], asked: str) -> str:
    """Add to each job about how many seconds it will take here, and return the device; in a fork, since CUDA does not survive one."""
    import torch

    from sibp import doctor

    with multiprocessing.get_context("fork").Pool(1) as child:
        there = child.apply(torch.cuda.is_available)
        if asked == "cuda" and not there:
            refuse(f"device: cuda asked for, but torch {torch.__version__} finds no usable GPU")
        device = asked if asked != "auto" else "cuda" if there else "cpu"
        for job in jobs:
            job["device"] = "cpu" if job["cpu"] else device
        rates = {kind: child.apply(doctor.rates, (torch.device(kind),)) for kind in {job["device"] for job in jobs}}
    for job in jobs:
        job["seconds"] = doctor.Cost(job["flops"], job["launches"], job["limit"]).seconds(*rates[job["device"]])
    return device


def table(jobs: list[Job], done: Iterable[str]) -> str:
    """Return the plan: what runs where, about how long, and in how much memory."""
    lines = [f"{'job':30} {'members':>7} {'steps':>8}  {'on':4} {'about s':>8} {'MiB':>7}"]
    for job in jobs:
        row = f"{job['name']:30} {job['members']:7} {job['steps']:8}  {job['device']:4} {job['seconds']:8.0f} {job['bytes'] / 2**20:7.0f}"
        lines.append(row + ("  alone, timed" if job["timed"] else "") + ("  done" if job["name"] in done else ""))
    return "\n".join(lines)


def fetch_data(jobs: list[Job], root: str | None) -> None:
    """Make sure that the data sets of the jobs are in the cache, bit for bit."""
    from sibp import data
    from tools.offline_gpu import data_chunks

    for name in sorted({job["data"] for job in jobs} - {None}):
        try:
            data.fetch(name, root, report=print, sources=[data_chunks.Pieces(BUNDLE / "data")])
        except data.DataError as fault:
            refuse(str(fault))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    text = f"{', '.join(PARTS)}, all (what `make` trains; the default), an exhibit, or EXHIBIT/LABEL"
    parser.add_argument("--part", nargs="+", default=["all"], metavar="NAME", help=text)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of the whole command (default: no limit)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--data-dir", metavar="D", help="the data cache; by default the user's")
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    arguments = parser.parse_args()
    if not 60 * arguments.minutes > STOP:
        parser.error(f"minutes: got {arguments.minutes:g}, need more than {STOP / 60:.2f}")
    return arguments


def main() -> int:
    arguments = parse()
    plan = read_plan()
    make_importable()
    import sibp.cli
    import sibp.training.runs  # noqa: F401 - here, so that no job has to import it
    from tools.offline_gpu import workers

    jobs, results = chosen(plan, arguments.part), workers.Results(arguments.out.resolve(), plan)
    device = estimate(jobs, arguments.device) if jobs else arguments.device
    waiting = [job for job in jobs if job["name"] not in results.done]
    minutes = sum(job["seconds"] for job in waiting) / 60
    words = f"part {' '.join(arguments.part)}, scale {plan['scale']}, {device}: {len(jobs)} jobs, {len(jobs) - len(waiting)} done"
    print(f"{words}; the rest takes about {minutes:.1f} min, to an order of magnitude\n{table(jobs, results.done)}", flush=True)
    if arguments.plan:
        return 0
    fetch_data(waiting, arguments.data_dir)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what cluster managers send before the end
    own = ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    team, code = workers.Crew(results, BEGUN, own), 0
    try:
        workers.work(team, list(waiting), BEGUN + 60 * arguments.minutes - STOP)
    except KeyboardInterrupt:
        code = 130
    results.pack()
    left = [job["name"] for job in jobs if job["name"] not in results.done]
    team.say(f"{len(jobs) - len(left)} of {len(jobs)} jobs are done; bring back {results.out / 'returned.zip'}")
    if left:
        print(f"left: {' '.join(left)}; the same command goes on")
    return code or int(bool(team.failed))


if __name__ == "__main__":
    sys.exit(main())
