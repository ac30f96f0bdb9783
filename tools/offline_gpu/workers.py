"""Jobs of a bundle at work on one machine: who may run beside whom, what is done, and the one file to bring back."""

import hashlib
import json
import os
import shlex
import signal
import time
import zipfile
from pathlib import Path
from typing import IO, Any

from sibp.results import records
from tools.offline_gpu import together
from workflow.scripts import files

BUNDLE = Path(__file__).resolve().parents[2]
CHECKPOINT = 15  # seconds between two checkpoints of a job
PATIENCE = 10.0  # seconds that a job gets to stop
Job = dict[str, Any]


class Results:
    """What is in OUT: the runs, the list of those that are done, and the one file to bring back.

    Args:
        out: the folder.
        plan: a job in OUT is done if it had the settings and the code that the plan says.
    """

    def __init__(self, out: Path, plan: dict[str, Any]) -> None:
        self.out, self.plan = out, plan
        self.jobs = {job["name"]: job for job in plan["jobs"]}
        out.mkdir(parents=True, exist_ok=True)
        try:
            kept = json.loads((out / "done.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        self.done = {name: entry for name, entry in kept.items() if self.is_same(name, entry) and self.is_whole(entry)}

    def is_same(self, name: str, entry: Job) -> bool:
        return name in self.jobs and all(entry[key] == self.jobs[name][key] for key in ("settings", "code"))

    def is_whole(self, entry: Job) -> bool:
        return all((self.out / file).is_file() and _sha256(self.out / file) == digest for file, digest in entry["files"].items())

    def add(self, job: Job) -> None:
        """Note a job that has ended well; its record gets the commit that the bundle was made from, which only the bundle knows."""
        table = self.out / "runs" / f"{job['name']}.parquet"
        record = records.read_run(table)[1]
        record["git"] = record["git"] or self.plan["git"]
        files.write(table.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
        written = [table, table.with_suffix(".json")]
        digests = {path.relative_to(self.out).as_posix(): _sha256(path) for path in written}
        self.done[job["name"]] = {"settings": job["settings"], "code": job["code"], "files": digests}
        files.write(self.out / "done.json", json.dumps(self.done, indent=1) + "\n")
        self.pack()

    def pack(self) -> None:
        """Write returned.zip anew, whole or not at all."""
        unfinished = self.out / ".part-returned.zip"
        manifest = {"format": 1, "scale": self.plan["scale"], "jobs": self.done}
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", json.dumps(manifest, indent=1))
            for file in (file for entry in self.done.values() for file in entry["files"]):
                archive.write(self.out / file, file)
        os.replace(unfinished, self.out / "returned.zip")


class Crew:
    """The jobs at work, each a fork of this process, which has imported what they need.

    Args:
        results: where they write, and what is told of their ends.
        begun: when the whole command was started, for what is printed.
        words: more of each job's command line.
    """

    def __init__(self, results: Results, begun: float, words: list[str]) -> None:
        self.results, self.begun, self.words = results, begun, words
        self.cores, self.stopping = len(os.sched_getaffinity(0)), False
        self.working: dict[int, tuple[Job, IO[str], float]] = {}  # process id -> job, what it prints, when it began
        self.failed: list[str] = []

    def may_start(self, job: Job) -> bool:
        """At most one job on the GPU, others on the cores beside it, a timed one alone."""
        others = [other for other, _, _ in self.working.values()]
        if any(other["timed"] for other in others):
            return False
        if job["timed"]:
            return not others
        if job["device"] == "cpu":
            return sum(other["device"] == "cpu" for other in others) < max(1, self.cores - 1)
        return all(other["device"] == "cpu" for other in others)

    def start_what_may(self, waiting: list[Job]) -> None:
        """Start jobs in their order and take them off the list; none overtakes a timed one."""
        for job in list(waiting):
            if self.may_start(job):
                self.say(job["name"])
                process, printed = together.fork(shlex.join(self.command(job)))
                self.working[process] = job, printed, time.monotonic()
                waiting.remove(job)
            elif job["timed"]:
                return

    def command(self, job: Job) -> list[str]:
        file, _, label = job["file"], *job["name"].partition("/")[1:]
        machine = ["--device", job["device"], "--threads", "1", "--checkpoint-seconds", str(CHECKPOINT)]
        out = ["--scale", self.results.plan["scale"], "--out", str(self.results.out / "runs")]
        return ["-m", "sibp", "run", str(BUNDLE / file), "--method", label, *machine, *out, *self.words]

    def reap(self) -> None:
        """Take note of the jobs that have ended."""
        for process in list(self.working):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                self.end(process, os.waitstatus_to_exitcode(status))

    def end(self, process: int, code: int) -> None:
        job, printed, begun = self.working.pop(process)
        printed.seek(0)
        said = printed.read()
        printed.close()
        log = self.results.out / "logs" / f"{job['name']}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(said, encoding="utf-8")
        if code == 0:
            self.results.add(job)
            self.say(f"{job['name']} done in {time.monotonic() - begun:.0f} s")
        elif self.stopping:
            self.say(f"{job['name']} stopped")
        else:
            self.failed.append(job["name"])
            last = (said.strip().splitlines() or ["it printed nothing"])[-1]
            self.say(f"{job['name']} FAILED with exit code {code}: {last} ({log})")

    def stop(self) -> None:
        """Stop all jobs; each has its last checkpoint."""
        self.stopping = True
        for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, PATIENCE)):
            for process in self.working:
                os.kill(process, number)
            until = time.monotonic() + seconds
            while self.working and time.monotonic() < until:
                self.reap()
                time.sleep(0.05)

    def say(self, text: str) -> None:
        print(f"{(time.monotonic() - self.begun) / 60:6.2f} min  {text}", flush=True)


def work(crew: Crew, waiting: list[Job], end: float) -> None:
    """Run jobs until none is left or the time is over."""
    try:
        while waiting or crew.working:
            if time.monotonic() > end:
                break
            crew.start_what_may(waiting)
            time.sleep(0.05)
            crew.reap()
    finally:
        crew.stop()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
