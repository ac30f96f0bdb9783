"""What the workflow must do on a SLURM cluster that is up: python checks.py FOLDER; run.sh sets the cluster up and calls this."""

import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from sibp.results import records

T = TypeVar("T")
CANCELLED = "j-fig3/sgd-stochastic"  # needs no download, and trains long enough to be cancelled
SIGTERM = 1 << 14  # as a bit of /proc/PID/status


def main(folder: Path) -> None:
    job_array(folder / "array")
    cancelled_job(folder / "cancelled")


def job_array(root: Path) -> None:
    """The training jobs of one table, on tiny generated data, are one job array to the scheduler."""
    begin = time.monotonic()
    arrays = ["--slurm-array-jobs", "train", "--jobs", "200", "--resources", "gpu=200", "--max-jobs-per-timespan", "200/1s"]
    with workflow(root, "scale=smoke", *arrays, "--", "j-table2") as snakemake:
        finish(snakemake, root)
    seen = defaultdict(dict)
    for array, task, state, comment in squeue("%F %K %T %k"):
        if task != "N/A" and comment.startswith("rule_train"):
            seen[array][task] = state
    assert list(seen.values()) == [dict.fromkeys("123", "COMPLETED")], f"need one array of 3 tasks: {dict(seen)}"
    assert (root / "paper/tables/j-table2.md").stat().st_size, "no table"
    print(f"test-slurm: job array {next(iter(seen))} trained 3 methods, j-table2 is drawn ({time.monotonic() - begin:.0f} s)")


def cancelled_job(root: Path) -> None:
    """A job that the scheduler stops while it trains is submitted again and goes on from its checkpoint."""
    record = root / f"results/runs/{CANCELLED}"
    with workflow(root, "scale=full", "--", f"{record}.parquet") as snakemake:
        job = until(lambda: next((job for job, state, _ in squeue("%i %T %k", "--states=RUNNING")), None), 60, "a running job")
        until(lambda: trains(root), 60, "a job that trains")
        time.sleep(2)
        subprocess.run(["scancel", job], check=True)
        begin = time.monotonic()
        until(lambda: Path(f"{record}.pt").exists(), 30, "a checkpoint: SIGTERM did not reach the program")
        until(lambda: any(other != job for other, _, _ in squeue("%i %T %k", "--states=RUNNING")), 120, "a second job")
        noticed = time.monotonic() - begin
        finish(snakemake, root)
    notes = records.read_record(Path(f"{record}.parquet"))["notes"]
    assert len(notes) == 1 and notes[0].startswith("went on from ensemble 1, step "), f"notes of the record: {notes}"
    print(f"test-slurm: job {job} was cancelled, another ran after {noticed:.0f} s; its record says: {notes[0]}")


@contextmanager
def workflow(root: Path, config: str, *arguments: str) -> Generator[subprocess.Popen]:
    """Run Snakemake as docs/scale-out.md says, with its output in a file, but ask for states often; interrupt it if a check fails."""
    root.mkdir()
    asked = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3"]
    small = ["--default-resources", "runtime=10", "mem_mb=1500", "--latency-wait", "10", "--slurm-logdir", str(root / "slurm")]
    where = ["--config", config, "job=label", "device=cpu", f"root={root}"]
    command = ["snakemake", "--workflow-profile", "profiles/slurm", *asked, *small, *where, *arguments]
    with (root / "snakemake.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as snakemake:
        try:
            yield snakemake
        finally:
            if snakemake.poll() is None:
                snakemake.send_signal(signal.SIGINT)  # has it cancel its jobs


def finish(snakemake: subprocess.Popen, root: Path) -> None:
    """Wait for a workflow to end well."""
    log = root / "snakemake.log"
    assert snakemake.wait(timeout=300) == 0, f"Snakemake failed:\n{log.read_text(encoding='utf-8')}"


def squeue(columns: str, states: str = "--states=all") -> list[list[str]]:
    """Return the scheduler's jobs, each task of an array for itself; those that have ended are known for some minutes."""
    listing = ["squeue", "--array", "--noheader", states, f"--format={columns}"]
    return [line.split() for line in subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()]


def trains(root: Path) -> bool:
    """Tell whether a job below `root` has come to its training: from then on it listens to SIGTERM."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:4] == ["-m", "sibp", "run"] and str(root / "results/runs") in words:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            return bool(int(status["SigCgt"], 16) & SIGTERM)
    return False


def until(found: Callable[[], T], seconds: float, what: str) -> T:
    """Return what is found, as soon as it is."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)
    return value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
