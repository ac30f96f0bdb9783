"""Make one folder from which a machine without a network trains what is left of the campaign.

    python -m tools.offline_gpu.bundle [--scale full]

It holds the package, the experiment files, the Python packages that the machine lacks, the data sets in pieces, the plan, and run.py,
which its user starts: see docs/offline-gpu.md.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sibp.bench.rates import DEVICES
from sibp.cli import OF_NO_COMMAND
from sibp.core import atomic
from sibp.core.options import Bounds, check_number
from sibp.data import DataError, fetch
from sibp.experiments.yaml_file import SpecError
from sibp.results import environment
from tools.offline_gpu import data_chunks, order, training_jobs
from tools.offline_gpu.training_jobs import CampaignError

SOURCES = (
    "sibp/**/*.py",
    "sibp/**/*.yaml",
    "sibp/**/*.?pp",
    "workflow/*/*.yaml",
    "tools/__init__.py",
    *(f"tools/offline_gpu/{name}.py" for name in ("__init__", "data_chunks", "order", "parts", "workers")),
)
HAS = ("torch", "typing-extensions", "numpy", "pandas", "pyarrow")  # what most machines with a GPU have
LARGE = 2**26  # bytes; more than that may not fit through where the bundle has to go


def plan(scale: str, root: str, devices: Sequence[str]) -> list[dict[str, Any]]:
    """Return the training jobs that Snakemake would run at a scale, in the order in which a machine should run them."""
    left: dict[str, list[str]] = {}
    for (name, label), runs in training_jobs.pending(scale, root).items():
        if runs:
            left.setdefault(name, []).append(label)
    jobs = []
    for name, labels in left.items():
        path, experiment = training_jobs.experiment(name, scale)
        jobs += [training_jobs.job(path, experiment, label, devices) for label in labels]
    return order.by_parts(jobs)


def copy_sources(bundle: Path) -> dict[str, str]:
    """Copy the package, the experiment files and the runner, and return the SHA-256 of each file."""
    copied = {name: Path("tools/offline_gpu") / name for name in ("run.py", "check.py")}
    copied |= {path.as_posix(): path for pattern in SOURCES for path in sorted(Path().glob(pattern))}
    for name, path in copied.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, bundle / name)
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in copied.items()}


def packages(bundle: Path, python: str, platform: str, has: Sequence[str]) -> list[str]:
    """Write packages.zip, what `sibp` needs beyond what the machine has, at the lock's versions; return what is in it.

    Raises:
        CampaignError: if uv is missing or cannot get a package for that Python and platform.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["experiments"]]
    names = [re.split(r"[^\w.-]", requirement)[0] for requirement in needed]
    if not (lacks := [name for name in names if name not in {*has, *OF_NO_COMMAND}]):
        return []
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise CampaignError("uv is missing, which fetches packages for another machine: `make setup` installs it")
    with tempfile.TemporaryDirectory() as folder:
        left_out = Path(folder, "left-out.txt")  # what the machine has stays its own, also where another package needs it
        left_out.write_text("".join(f"{name} ; python_version < '3'\n" for name in has), encoding="utf-8")
        packed = Path(folder, "packed")
        target = ["--target", str(packed), "--python", sys.executable, "--python-version", python, "--python-platform", platform]
        target += ["--override", str(left_out)]
        command = [uv, "pip", "install", "--quiet", *target, "--only-binary", ":all:", "-c", "envs/requirements.lock", *lacks]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | _mirror())
        if done.returncode:
            raise CampaignError(f"packages for Python {python} on {platform}: {' '.join(done.stderr.split())[:300]}")
        shutil.make_archive(str(bundle / "packages"), "zip", packed)
        return sorted(path.name.removesuffix(".dist-info").replace("-", " ") for path in packed.glob("*.dist-info"))


def _mirror() -> dict[str, str]:
    """Return what hands pip's index on to uv, which does not read pip's settings."""
    pip = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    named = os.environ.get("PIP_INDEX_URL") or subprocess.run(pip, capture_output=True, text=True).stdout.strip()
    return {"UV_DEFAULT_INDEX": named} if named and "UV_DEFAULT_INDEX" not in os.environ else {}


def build(bundle: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill the folder, the plan last, and return the plan."""
    (bundle / "plan.json").unlink(missing_ok=True)
    jobs = plan(arguments.scale, arguments.root, list(dict.fromkeys([arguments.device, *arguments.also])))
    for old in (bundle / "sibp", bundle / "workflow", bundle / "tools", bundle / "site"):
        shutil.rmtree(old, ignore_errors=True)
    (bundle / "packages.zip").unlink(missing_ok=True)
    commit = environment.environment(torch.device("cpu"))["git"]
    made: dict[str, Any] = {"scale": arguments.scale, "git": commit, "python": None, "packages": []}
    made["sources"] = copy_sources(bundle)
    if not arguments.here:
        if names := packages(bundle, arguments.python, arguments.platform, arguments.has):
            made |= {"python": arguments.python, "packages": names}
        for name in sorted({job["data"] for job in jobs} - {None}):
            dataset = fetch(name, report=lambda text: print(text, file=sys.stderr))
            data_chunks.pack(dataset, bundle / "data" / name, math.ceil(arguments.chunk * 2**20))
    claims = training_jobs.open_claims(Path("results/reference/claims.json"), {job["name"] for job in jobs})
    made |= {"device": arguments.device, "jobs": jobs, "claims": claims}
    atomic.write(bundle / "plan.json", json.dumps(made, indent=1) + "\n")
    return made


def contents(bundle: Path, made: dict[str, Any]) -> str:
    """Return what is in the bundle, in a few lines."""
    parts = {part: sum(job["part"] == part for job in made["jobs"]) for part in order.PARTS}
    sizes = {path: path.stat().st_size for path in bundle.rglob("*") if path.is_file()}
    largest = max(sizes, key=lambda path: sizes[path])
    lines = [
        f"{bundle}: {sum(sizes.values()) / 1e6:.0f} MB in {len(sizes)} files, the largest {largest} with {sizes[largest] / 1e6:.0f} MB",
        f"  jobs      {', '.join(f'{part}: {count}' for part, count in parts.items() if count)} at scale {made['scale']}",
        f"  packages  {', '.join(made['packages']) or 'none'}" + (f" for Python {made['python']}" if made["python"] else ""),
        "  there     python run.py --part J --minutes 9 --out OUT",
        "  back      OUT/returned.zip, into a folder of yours: make gpu-import FOLDER=...",
    ]
    if sizes[largest] > LARGE:
        lines.append(f"  note      {largest} is larger than 64 MiB")
    return "\n".join(lines)


def mebibytes(text: str) -> float:
    """Return a size of pieces, read from a command line."""
    try:
        return check_number("chunk", float(text), Bounds(above=0), "")
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, need a number of MiB greater than 0") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(".bundle"), metavar="FOLDER")
    parser.add_argument("--scale", default="full")
    parser.add_argument("--root", default=".", help="the folder that has results/")
    parser.add_argument("--python", default="3.12", metavar="X.Y", help="of the other machine (default: %(default)s)")
    parser.add_argument(
        "--platform", default="x86_64-manylinux_2_28", help="of the other machine, in uv's words (default: %(default)s)"
    )
    parser.add_argument("--device", default="h100", choices=list(DEVICES), help="whose seconds are counted")
    text = "more devices whose seconds are counted, so that run.py --status can tell the hours left on them"
    parser.add_argument("--also", nargs="*", default=[], choices=list(DEVICES), help=text)
    text = "MiB of a piece of a data set before it is compressed (default: 8); small ones fill calls better"
    parser.add_argument("--chunk", type=mebibytes, default=8.0, metavar="MIB", help=text)
    parser.add_argument("--here", action="store_true", help="for this machine: its packages and its cache of data sets serve")
    parser.add_argument("--has", nargs="*", default=HAS, help=f"packages that it has (default: {' '.join(HAS)})")
    arguments = parser.parse_args()
    try:
        made = build(arguments.output, arguments)
    except (CampaignError, SpecError, DataError, OSError) as fault:
        sys.exit(f"bundle: {fault}")
    print(contents(arguments.output, made) if made["jobs"] else f"bundle: nothing is left to train at scale {arguments.scale}")


if __name__ == "__main__":
    main()
