"""Pack what a paper's readers need into one archive that can check itself: python -m tools.artifact [--output FILE.tar.gz]

    source/                  the repository at the commit: code, lock file, experiment files, results/reference
    results/                 this folder's report, figures, tables, claims, summaries and provenance, where they were made
    CITATION.cff, codemeta.json, ro-crate-metadata.json
    MANIFEST.sha256, verify.py      `python verify.py` or `sha256sum -c MANIFEST.sha256` checks every file

The same commit and results give the same bytes. Data sets are not in it: `sibp data` fetches them and checks their hashes.
"""

import argparse
import gzip
import hashlib
import io
import json
import mimetypes
import subprocess
import sys
import tarfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from sibp.core import atomic

ROOT = Path(__file__).resolve().parents[1]
RESULTS = (
    "paper/report.pdf",
    "paper/claims.md",
    "paper/tables/*",
    "figures/*.png",
    "figures/*.svg",
    "figures/all.md",
    "results/summary/*",
    "results/*.*",
)
VERIFY = '''"""Check every file of this archive against MANIFEST.sha256: python verify.py"""

import hashlib
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
lines = (here / "MANIFEST.sha256").read_text(encoding="utf-8").splitlines()
listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
there = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()} - {"MANIFEST.sha256"}
faults = [f"missing: {name}" for name in sorted(listed.keys() - there)]
faults += [f"not listed: {name}" for name in sorted(there - listed.keys())]
for name in sorted(listed.keys() & there):
    if hashlib.sha256((here / name).read_bytes()).hexdigest() != listed[name]:
        faults.append(f"changed: {name}")
print("\\n".join(faults) or f"verify: all {len(listed)} files are as they were packed")
sys.exit(bool(faults))
'''


def git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=True).stdout


def source(commit: str) -> dict[str, bytes]:
    """Return the files of a commit, by path below source/."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", commit))) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        files = {member.name: archive.extractfile(member) for member in members}
        return {f"source/{name}": file.read() for name, file in files.items() if file is not None}


def results(root: Path) -> dict[str, bytes]:
    """Return what a run has left below `root`, by path below results/."""
    files = sorted(file for pattern in RESULTS for file in root.glob(pattern) if file.is_file() and not file.name.startswith("."))
    return {f"results/{file.relative_to(root).as_posix()}": file.read_bytes() for file in files}


def codemeta(project: dict[str, Any], commit: str, when: datetime) -> dict[str, Any]:
    """Return the software's description in the CodeMeta vocabulary."""
    return {
        "@context": "https://doi.org/10.5063/schema/codemeta-2.0",
        "@type": "SoftwareSourceCode",
        "name": project["name"],
        "description": project["description"],
        "version": project["version"],
        "identifier": commit,
        "dateModified": when.date().isoformat(),
        "license": f"https://spdx.org/licenses/{project['license']}",
        "programmingLanguage": f"Python {project['requires-python']}",
        "softwareRequirements": [*project["dependencies"], *project["optional-dependencies"]["experiments"]],
        "author": [{"@type": "Organization", "name": "The sibp developers"}],
        "referencePublication": {"@type": "ScholarlyArticle", "@id": "https://doi.org/10.23952/jnva.7.2023.4.08"},
    }


def crate(project: dict[str, Any], files: dict[str, bytes], when: datetime) -> dict[str, Any]:
    """Return the archive's description as an RO-Crate 1.1 whose main entity is the workflow."""
    snakemake = {"@id": "#snakemake", "@type": "ComputerLanguage", "name": "Snakemake", "url": "https://snakemake.readthedocs.io"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{project['name']} {project['version']}: software, workflow and results",
        "description": project["description"],
        "datePublished": when.date().isoformat(),
        "license": {"@id": f"https://spdx.org/licenses/{project['license']}"},
        "mainEntity": {"@id": "source/Snakefile"},
        "hasPart": [{"@id": name} for name in files],
    }
    metadata = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    parts = [_part(name, content) for name, content in files.items()]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": [metadata, root, snakemake, *parts]}


def _part(name: str, content: bytes) -> dict[str, Any]:
    kind = mimetypes.guess_type(name)[0] or ("application/vnd.apache.parquet" if name.endswith(".parquet") else "text/plain")
    part = {"@id": name, "@type": "File", "name": name, "contentSize": str(len(content)), "encodingFormat": kind}
    if name == "source/Snakefile":
        part |= {"@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"], "programmingLanguage": {"@id": "#snakemake"}}
    return part


def contents(root: Path, commit: str) -> tuple[dict[str, bytes], datetime]:
    """Return all files of the archive by name, and the commit's time."""
    when = datetime.fromtimestamp(int(git("show", "-s", "--format=%ct", commit)), UTC)
    files = source(commit) | results(root)
    project = tomllib.loads(files["source/pyproject.toml"].decode())["project"]
    if citation := files.get("source/CITATION.cff"):
        files["CITATION.cff"] = citation
    files |= {"codemeta.json": _json(codemeta(project, commit, when)), "verify.py": VERIFY.encode()}
    files["ro-crate-metadata.json"] = _json(crate(project, files, when))
    manifest = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return files | {"MANIFEST.sha256": manifest.encode()}, when


def pack(files: dict[str, bytes], when: datetime, folder: str, output: Path) -> None:
    """Write the archive, whole or not at all; equal files give equal bytes."""
    seconds = int(when.timestamp())

    def fill(raw: BinaryIO) -> None:
        with gzip.GzipFile("", "wb", 9, raw, seconds) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
            for name in sorted(files):
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(files[name]), seconds, 0o644
                tar.addfile(entry, io.BytesIO(files[name]))

    atomic.write(output, fill)


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("."), help="where the results are")
    parser.add_argument("--output", type=Path, help="default: dist/sibp-COMMIT.tar.gz")
    arguments = parser.parse_args()
    try:
        commit = git("rev-parse", "HEAD").decode().strip()
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"artifact: {ROOT} is not a git checkout, which says what the source is")
    changes = git("status", "--porcelain").decode().splitlines()
    files, when = contents(arguments.root, commit)
    folder = f"sibp-{commit[:8]}"
    output = arguments.output or Path("dist") / f"{folder}.tar.gz"
    pack(files, when, folder, output)
    if changes:
        print(f"artifact: holds commit {commit[:8]}, not the {len(changes)} changes made since in this folder", file=sys.stderr)
    made = sum(name.startswith("results/") for name in files)
    print(f"{output}: {len(files)} files, {made} of them results, {output.stat().st_size / 1e6:.1f} MB; in it: python verify.py")


if __name__ == "__main__":
    main()
