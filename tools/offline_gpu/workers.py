"""Jobs of a bundle at work on one machine: who may run beside whom, what is done, and the one file to bring back."""

import gc
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO

from sibp.core import atomic, cores
from sibp.results import records
from tools.offline_gpu import order, parts

BUNDLE = Path(__file__).resolve().parents[2]
CHECKPOINT = 15  # seconds between two checkpoints of a job
PATIENCE = 10.0  # seconds that a job gets to stop
FORMAT = 2  # of the list in returned.zip
Job = dict[str, Any]


class Results:
    """What is in OUT: the runs, the list of those that are done, and the one file to bring back.

    Args:
        out: the folder.
        plan: a job in OUT is done if it had the settings and the code that the plan says.
        back: another folder that gets a copy of returned.zip after each job.
    """

    def __init__(self, out: Path, plan: dict[str, Any], back: Path | None = None) -> None:
        self.out, self.plan, self.back = out, plan, back
        self.jobs = {job["name"]: job for job in [*plan["jobs"], *order.ensembles(plan["jobs"])]}
        for folder in filter(None, (out, back)):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            entries = json.loads((out / "done.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            entries = {}
        self.done = {name: entry for name, entry in entries.items() if self.is_same(name, entry) and self.is_whole(entry)}

    def is_same(self, name: str, entry: Job) -> bool:
        return name in self.jobs and all(entry[key] == self.jobs[name][key] for key in ("settings", "code"))

    def is_whole(self, entry: Job) -> bool:
        return all((self.out / file).is_file() and _sha256(self.out / file) == digest for file, digest in entry["files"].items())

    def add(self, job: Job) -> None:
        """Note a job, or a job's ensemble, that has ended well; the last ensemble of a job makes the job whole."""
        self._note(job)
        if "ensemble" in job and all(self.has(unit) for unit in self._ensembles(job["job"])):
            self._join(self.jobs[job["job"]])
        atomic.write(self.out / "done.json", json.dumps(self.done, indent=1) + "\n")
        self.pack()

    def has(self, job: Job) -> bool:
        """Return whether a job, or a job's ensemble, is done."""
        return job["name"] in self.done or job.get("job") in self.done

    def _ensembles(self, name: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.get("job") == name]

    def _join(self, job: Job) -> None:
        tables = [self.out / "runs" / f"{unit['name']}.parquet" for unit in self._ensembles(job["name"])]
        run = parts.join([records.read(table) for table in tables])
        assert run is not None  # all ensembles are there, so every seed is whole
        records.write(self.out / "runs" / f"{job['name']}.parquet", run)
        self._note(job)

    def _note(self, job: Job) -> None:
        """Enter a job's files; its record gets the commit that the bundle was made from, which only the bundle knows."""
        table = self.out / "runs" / f"{job['name']}.parquet"
        run = records.read(table)
        if not run.record["git"]:
            records.write(table, replace(run, record=run.record | {"git": self.plan["git"]}))
        digests = {table.relative_to(self.out).as_posix(): _sha256(table)}
        self.done[job["name"]] = {"settings": job["settings"], "code": job["code"], "files": digests}

    def running(self, names: list[str]) -> None:
        """Note what this process is training."""
        atomic.write(self.out / "running.json", json.dumps({"process": os.getpid(), "jobs": names}) + "\n")

    def now_running(self) -> set[str]:
        """Return what a process that still lives is training into this folder."""
        try:
            noted = json.loads((self.out / "running.json").read_text(encoding="utf-8"))
            os.kill(noted["process"], 0)
        except (OSError, ValueError, KeyError):
            return set()
        return set(noted["jobs"])

    def pack(self) -> None:
        """Write returned.zip anew, with the whole jobs, and its copy, each whole or not at all."""
        whole = {name: entry for name, entry in self.done.items() if "ensemble" not in self.jobs[name]}
        manifest = {"format": FORMAT, "scale": self.plan["scale"], "jobs": whole}

        def fill(zipped: BinaryIO) -> None:
            with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("manifest.json", json.dumps(manifest, indent=1))
                for file in (file for entry in whole.values() for file in entry["files"]):
                    archive.write(self.out / file, file)

        atomic.write(self.out / "returned.zip", fill)
        if self.back:
            atomic.write(self.back / "returned.zip", (self.out / "returned.zip").read_bytes())


class Worker:
    """A process that trains one job after another, so that libraries are imported, and CUDA is started, once.

    A fork of this process, which has imported what jobs need and must not have started CUDA itself.
    """

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("fork")
        self.device = device
        self.job: Job | None = None
        self.begun = 0.0
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        self.process.start()
        theirs.close()

    def start(self, job: Job, command: list[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.job, self.begun = job, time.monotonic()
        self.connection.send((command, str(log)))

    def ended(self) -> int | None:
        """Return the exit code of the job once it has ended, or of the process if it is gone; else None."""
        if not self.connection.poll():
            return None
        try:
            return self.connection.recv()
        except EOFError:
            self.process.join()
            return self.process.exitcode or 1

    def close(self) -> None:
        """End the process; it has no job, or is lost."""
        with suppress(OSError):  # it is gone
            self.connection.send(None)  # closing would not tell it: it and later workers hold this end, too
        self.connection.close()
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection) -> None:
    """Run command lines of `sibp` until None comes; answer each with its exit code."""
    from sibp.cli import main

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parent = os.getppid()
    try:
        while True:
            while not connection.poll(1.0):
                if os.getppid() != parent:  # killed; other workers hold its end of the connection open
                    os._exit(1)
            if (request := connection.recv()) is None:
                os._exit(0)
            command, log = request
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = main(command)
            sys.stdout.flush()
            sys.stderr.flush()
            _release_memory()
            connection.send(code)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        os._exit(0)


def _release_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Pool:
    """The workers: one or more for the GPU, others for the cores beside it.

    Args:
        results: where jobs write, and what is noted when they end.
        begun: when the whole command was started, for what is printed.
        words: more of each job's command line.
        on_gpu: how many jobs may be on the GPU at once, >= 1.
    """

    def __init__(self, results: Results, begun: float, words: list[str], on_gpu: int = 1) -> None:
        self.results, self.begun, self.words, self.on_gpu = results, begun, words, on_gpu
        self.cores, self.stopping = cores.count(), False
        self.workers: list[Worker] = []
        self.failed: list[str] = []

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job]

    def may_start(self, job: Job) -> bool:
        """At most `on_gpu` jobs on the GPU, others on the cores beside it, a timed one alone."""
        others = [worker.job for worker in self.busy if worker.job]
        if any(other["timed"] for other in others):
            return False
        if job["timed"]:
            return not others
        beside = sum((other["device"] == "cpu") == (job["device"] == "cpu") for other in others)
        return beside < (max(1, self.cores - 1) if job["device"] == "cpu" else self.on_gpu)

    def start_what_may(self, waiting: list[Job]) -> None:
        """Start jobs in their order and take them off the list; none overtakes a timed one."""
        for job in list(waiting):
            if self.may_start(job):
                self.say(job["name"])
                self.idle(job["device"]).start(job, self.command(job), self.log(job))
                waiting.remove(job)
                self.results.running([worker.job["name"] for worker in self.workers if worker.job])
            elif job["timed"]:
                return

    def idle(self, device: str) -> Worker:
        """Return a worker for a device that has no job, a new one if need be."""
        free = [worker for worker in self.workers if not worker.job and worker.device == device]
        if not free:
            free = [Worker(device)]
            self.workers += free
        return free[0]

    def command(self, job: Job) -> list[str]:
        label = job.get("job", job["name"]).partition("/")[2]
        ensemble = ["--ensemble", str(job["ensemble"])] if "ensemble" in job else []
        machine = ["--device", job["device"], "--threads", "1", "--checkpoint-seconds", str(CHECKPOINT)]
        out = ["--scale", self.results.plan["scale"], "--out", str(self.results.out / "runs")]
        return ["run", str(BUNDLE / job["file"]), "--method", label, *ensemble, *machine, *out, *self.words]

    def log(self, job: Job) -> Path:
        return self.results.out / "logs" / f"{job['name']}.log"

    def reap(self) -> None:
        """Take note of the jobs that have ended."""
        for worker in self.busy:
            if (code := worker.ended()) is not None:
                self.end(worker, code)

    def end(self, worker: Worker, code: int) -> None:
        job, worker.job = worker.job, None
        assert job is not None  # it has just ended
        self.results.running([worker.job["name"] for worker in self.workers if worker.job])
        if code:  # after a fault on a GPU nothing works in that process any more
            self.workers.remove(worker)
            worker.close()
        if code == 0:
            self.results.add(job)
            self.say(f"{job['name']} done in {time.monotonic() - worker.begun:.0f} s")
        elif self.stopping:
            self.say(f"{job['name']} stopped")
        else:
            self.failed.append(job["name"])
            lines = (
                self.log(job).read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log(job).exists() else []
            )
            last = (lines or ["it printed nothing"])[-1]
            self.say(f"{job['name']} FAILED with exit code {code}: {last} ({self.log(job)})")

    def stop(self) -> None:
        """Stop all jobs, each with its last checkpoint, and all workers."""
        self.stopping = True
        for number in (signal.SIGINT, signal.SIGKILL):
            for worker in self.busy:
                if worker.process.is_alive() and worker.process.pid is not None:
                    os.kill(worker.process.pid, number)
            until = time.monotonic() + PATIENCE
            while self.busy and time.monotonic() < until:
                self.reap()
                time.sleep(0.02)
        for worker in self.workers:
            worker.close()
        self.workers.clear()

    def work(self, waiting: list[Job], end: float) -> None:
        """Run jobs until none is left or the time is over."""
        try:
            while waiting or self.busy:
                if time.monotonic() > end:
                    break
                self.start_what_may(waiting)
                time.sleep(0.02)
                self.reap()
        finally:
            self.stop()

    def say(self, text: str) -> None:
        print(f"{(time.monotonic() - self.begun) / 60:6.2f} min  {text}", flush=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
