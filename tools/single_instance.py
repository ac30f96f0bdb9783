"""Run Snakemake as the only workflow in this folder: python -m tools.single_instance SNAKEMAKE [ARGUMENT...]

A second one gets one line instead of a half-understood lock error. The lock that a killed Snakemake has left behind is removed, so
that the same command simply goes on. Where the home folder or the checkout cannot be written, Snakemake gets folders that can.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, NoReturn

import psutil

STATE = Path(".snakemake")


def say(line: str) -> None:
    print(f"sibp: {line}", file=sys.stderr, flush=True)


def others() -> list[int]:
    """Return the ids of running processes that are a Snakemake in this folder, whoever started them."""
    here, processes = os.getcwd(), []
    for process in psutil.process_iter(["cmdline", "cwd", "pid"]):
        words = [Path(word).name for word in (process.info["cmdline"] or [])[:3]]
        if "snakemake" in words and process.info["cwd"] == here and process.info["pid"] not in (os.getpid(), os.getppid()):
            processes.append(process.info["pid"])
    return processes


def refuse(holder: str) -> NoReturn:
    sys.exit(f"sibp: another workflow is running in this folder (process {holder}): wait for it, or stop it with Ctrl-C")


def hold() -> IO[str]:
    """Take this folder's lock, which the system frees when its holder ends, however it ends; return its file."""
    mark = open(STATE / "single_instance", "a+", encoding="utf-8")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.seek(0)
        refuse(mark.read().strip() or "unknown")
    except OSError as fault:  # Lustre without -o flock, NFS without lockd
        say(f"no locks on this file system ({fault.strerror}): make sure that no other machine runs a workflow in this folder")
    if running := others():
        refuse(str(running[0]))
    mark.truncate(0)
    mark.write(f"{os.getpid()}\n")
    mark.flush()
    return mark


def is_writable(folder: Path) -> bool:
    """Tell whether a folder can be written, or made."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def root_in(words: list[str], default: str | Path = ".") -> Path:
    """Return the folder that Snakemake's options name as `root=`, the last of them, or the default."""
    return Path(next((word.removeprefix("root=") for word in reversed(words) if word.startswith("root=")), default)).expanduser()


def find_folder(words: list[str]) -> None:
    """Where the checkout cannot be written, go to a folder below `root=` that stands for it: links to all that the checkout holds."""
    here, state = Path.cwd(), STATE.absolute()
    if is_writable(here) and is_writable(state):
        return
    root = root_in(words)
    if not (root.is_absolute() and is_writable(root)):
        way_out = 'make ARGS="--config root=/a/folder/of/yours", or work in a clone of it'
        sys.exit(f"sibp: this checkout cannot be written ({here}): {way_out}")
    folder = root / ".checkout"
    folder.mkdir(parents=True, exist_ok=True)
    for path in here.iterdir():
        if path.name != STATE.name and not os.path.lexists(folder / path.name):
            (folder / path.name).symlink_to(path)
    os.chdir(folder)


def find_cache() -> None:
    """Give Snakemake and all jobs a cache folder where the user's cannot be written, or where there is no home folder at all.

    Data sets that are in the user's cache are still taken from there.
    """
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    except RuntimeError:  # no HOME, and no entry of this user that names one
        usual = None
    if usual and is_writable(usual):
        return
    own = STATE.absolute() / "cache"
    os.environ["XDG_CACHE_HOME"] = str(own)
    if usual and os.access(usual / "sibp", os.R_OK | os.X_OK):
        os.environ.setdefault("SIBP_CACHE", str(usual / "sibp"))
    say(
        f"no cache folder that can be written at {usual or 'home, there is none'}: using {own}; XDG_CACHE_HOME and SIBP_CACHE name others"
    )


def main() -> None:
    command = sys.argv[1:]
    if Path(command[0]).name == "snakemake":  # a script whose first line may name a Python that has moved
        command[:1] = [sys.executable, "-m", "snakemake"]
    find_folder(command)
    STATE.mkdir(exist_ok=True)
    mark = hold()
    find_cache()
    if any((STATE / "locks").glob("*")):
        say("the last workflow in this folder was killed; going on from what it finished")
        subprocess.run([*command, "--unlock", "--quiet"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.set_inheritable(mark.fileno(), True)  # so the lock lives as long as Snakemake; its jobs do not get it
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
