"""File what came back from a machine without a network, so that Snakemake takes it as done: python -m tools.offline_gpu.import_runs FOLDER

Every *.zip in the folder is read (a file may be named, too). A job is filed if it is whole and was trained with this checkout's settings,
code and data; each one refused gets a line that says why, and the exit code is then 1. A job that is here already, to the bit, is left
alone; another result of the same job is replaced.
"""

import argparse
import hashlib
import json
import lzma
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from sibp.core import atomic
from sibp.data import registry
from sibp.experiments import specs
from sibp.experiments.jobs import Job, of_record
from sibp.experiments.schema import Trained
from sibp.experiments.yaml_file import SpecError
from sibp.results import records
from tools.offline_gpu import training_jobs
from tools.offline_gpu.training_jobs import CampaignError
from tools.offline_gpu.workers import FORMAT

Contents = dict[str, bytes]


def read(path: Path) -> tuple[dict[str, Any], Contents]:
    """Return a returned file's manifest and the other files in it.

    Raises:
        CampaignError: if it is cut short, damaged, or not what run.py writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(contents.pop("manifest.json"))
        listed = {name for entry in manifest["jobs"].values() for name in entry["files"]}
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as fault:
        raise CampaignError(f"{path}: cut short or no zip file ({' '.join(str(fault).split())})") from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise CampaignError(f"{path}: has no manifest.json as run.py writes it") from None
    if manifest.get("format") != FORMAT:
        raise CampaignError(f"{path}: format: got {manifest.get('format')!r}, need {FORMAT}")
    if foreign := sorted(contents.keys() - listed):
        raise CampaignError(f"{path}: holds {foreign[0]!r}, which its manifest does not list")
    return manifest, contents


def check(name: str, entry: dict[str, Any], contents: Contents, scale: str) -> bytes:
    """Return the file of a job, if it is one that this checkout would train.

    Raises:
        CampaignError: in one line, if not.
    """
    exhibit, _, label = name.partition("/")
    file = f"runs/{name}.parquet"
    if set(entry["files"]) != {file} or PurePosixPath(name).parts != (exhibit, label):
        raise CampaignError(f"{name}: files: got {', '.join(sorted(entry['files'])) or 'none'}, need {file}")
    if file not in contents:
        raise CampaignError(f"{name}: {file} is missing")
    if hashlib.sha256(contents[file]).hexdigest() != entry["files"][file]:
        raise CampaignError(f"{name}: {file} is not as it was written there")
    try:
        experiment = training_jobs.experiment(exhibit, scale)[1]
        experiment.method(label)
    except SpecError as fault:
        raise CampaignError(f"{name}: not a job of this checkout ({fault})") from None
    if entry["code"] != Job(experiment, label).code:
        raise CampaignError(f"{name}: was trained by other code of sibp than this checkout's")
    _check_run(name, experiment, label, _parsed(name, contents[file]))
    return contents[file]


def _parsed(name: str, content: bytes) -> records.Run:
    """Return a job's run, read from where `records.read` can see it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name.rpartition('/')[2]}.parquet"
        path.write_bytes(content)
        try:
            return records.read(path)
        except records.RecordError as fault:
            raise CampaignError(f"{name}: {str(fault).replace(folder + '/', '')}") from None


def _check_run(name: str, experiment: Trained, label: str, run: records.Run) -> None:
    """Make sure that settings and data are the checkout's, and that every member has come to its end."""
    record = run.record
    job = Job(experiment, label)
    expected_settings, got = job.settings(), of_record(record, label, name).settings()
    if other := [key for key in expected_settings if expected_settings[key] != got[key]]:
        raise CampaignError(f"{name}: was trained with other settings ({', '.join(other)}) than this checkout's")
    data = experiment.data
    if data.is_real and record["data"]["hashes"] != registry.find(data.name).hashes:
        raise CampaignError(f"{name}: was trained on other data than {data.name} of the registry")
    ends = run.rows.sort_values("step").groupby("member")["status"].last()
    expected = len(job.members)
    if sorted(ends.index) != list(range(expected)) or (ends == "running").any():
        raise CampaignError(f"{name}: {(ends != 'running').sum()} of {expected} members have come to their end")


def put(path: Path, content: bytes) -> bool:
    """Write a job's file; tell whether it is new."""
    if path.is_file() and path.read_bytes() == content:
        return False
    atomic.write(path, content)
    for checkpoint in path.parent.glob(f"{path.stem}.pt*"):  # of the same job here: of no use any more
        checkpoint.unlink(missing_ok=True)
    return True


def tell_snakemake(names: list[str], scale: str, root: str) -> None:
    """Have Snakemake take jobs as done with the settings and code of this checkout, and make sure that it does.

    Raises:
        CampaignError: if it would still train one of them.
    """
    results = Path(root) / "results"
    exhibits = sorted({name.partition("/")[0] for name in names})
    data = [training_jobs.experiment(exhibit, scale)[1].data for exhibit in exhibits]
    if sets := {entry.name for entry in data if entry.is_real}:  # their marks are inputs of the jobs, which must not be newer
        training_jobs.snakemake(*(str(results / f"data/{name}.json") for name in sorted(sets)), scale=scale, root=root)
    training_jobs.snakemake("--touch", *(str(results / f"runs/{name}.parquet") for name in names), scale=scale, root=root)
    again = training_jobs.pending(scale, root)
    if still := [name for name in names if again.get(tuple(name.split("/")), False)]:
        raise CampaignError(f"Snakemake would train {', '.join(still)} again: `snakemake -n` says why")


def returned(place: Path) -> list[Path]:
    """Return the files to read."""
    files = sorted(place.glob("*.zip")) if place.is_dir() else [place] if place.is_file() else []
    if not files:
        raise CampaignError(f"{place}: holds no *.zip; need a folder with what run.py has written, returned.zip")
    return files


def take(path: Path, root: str) -> tuple[str, list[str], list[str]]:
    """File the jobs of one returned file; return its scale, the jobs that are now here, and a line for each one refused."""
    manifest, contents = read(path)
    scale, here, refused = str(manifest.get("scale")), [], []
    for name, entry in manifest["jobs"].items():
        try:
            content = check(name, entry, contents, scale)
        except (CampaignError, SpecError, KeyError, TypeError) as fault:
            says_all = isinstance(fault, CampaignError | SpecError)
            refused.append(str(fault) if says_all else f"{name}: its record lacks {fault}")
            continue
        put(Path(root) / f"results/runs/{name}.parquet", content)
        here.append(name)
    return scale, here, refused


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("place", type=Path, metavar="FOLDER")
    parser.add_argument("--root", default=".", help="the folder that has results/")
    arguments = parser.parse_args()
    bad = 0
    try:
        for path in returned(arguments.place):
            try:
                scale, here, refused = take(path, arguments.root)
            except CampaignError as fault:
                here, refused = [], [str(fault)]
            bad += len(refused)
            for line in refused:
                print(f"import: refused {line}", file=sys.stderr)
            if here:
                tell_snakemake(here, scale, arguments.root)
                place = Path(arguments.root) / "results/runs"
                how = "" if specs.load_scale(scale).job == "label" else ", as long as it is told job=label"
                print(f"{path}: {len(here)} jobs are in {place}, done for Snakemake at scale {scale}{how}")
    except (CampaignError, OSError) as fault:
        sys.exit(f"import: {fault}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
