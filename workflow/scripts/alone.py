"""Run Snakemake as the only workflow in this folder: python alone.py SNAKEMAKE [ARGUMENT...]

A second one gets one line instead of a half-understood lock error. The lock that a killed Snakemake has left behind is removed, so
that the same command simply goes on.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import psutil

STATE = Path(".snakemake")


def others() -> list[int]:
    """Return the ids of running processes that are a Snakemake in this folder, whoever started them."""
    here, found = os.getcwd(), []
    for process in psutil.process_iter(["cmdline", "cwd", "pid"]):
        words = [Path(word).name for word in (process.info["cmdline"] or [])[:3]]
        if "snakemake" in words and process.info["cwd"] == here and process.info["pid"] not in (os.getpid(), os.getppid()):
            if "alone.py" not in words:
                found.append(process.info["pid"])
    return found


def refuse(holder: str) -> None:
    sys.exit(f"sibp: another workflow is running in this folder (process {holder}): wait for it, or stop it with Ctrl-C")


def main() -> None:
    command = sys.argv[1:]
    STATE.mkdir(exist_ok=True)
    mark = open(STATE / "alone", "a+", encoding="utf-8")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.seek(0)
        refuse(mark.read().strip() or "unknown")
    if running := others():
        refuse(str(running[0]))
    mark.truncate(0)
    mark.write(f"{os.getpid()}\n")
    mark.flush()
    if any((STATE / "locks").glob("*")):
        print("sibp: the last workflow in this folder was killed; going on from what it finished", file=sys.stderr)
        subprocess.run([*command, "--unlock", "--quiet"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.set_inheritable(mark.fileno(), True)  # so the lock lives as long as Snakemake; its jobs do not get it
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
