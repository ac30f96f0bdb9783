"""Golden runs: what every method and variant computes in a few steps, and what of it is kept in values.json.

    python -m tests.golden.runs        # keep today's values: only when numbers are meant to change, and then say why in the commit

A finished result stays valid as long as the code passes its method's golden runs, see docs/reruns.md.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
FILES = ("mlp", "cnn")
KEPT = HERE / "values.json"
FIRST = "step"  # the columns from this one on are measured


def machine() -> str:
    """Return what decides the last bits beside the code: processor, its flags, and torch's version."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256(f"{platform.machine()} {about} {torch.__version__}".encode()).hexdigest()[:16]


def run(name: str, checkout: Path | None = None) -> dict[str, dict[str, Any]]:
    """Train all labels of a file and return each one's values: the columns measured, and the SHA-256 of their bits.

    Args:
        name: of the file.
        checkout: whose package trains; this one's by default.

    Raises:
        RuntimeError: with the last line, if that package cannot train it.
    """
    with tempfile.TemporaryDirectory() as out:
        command = [
            "-m",
            "sibp",
            "run",
            str(HERE / f"{name}.yaml"),
            "--scale",
            "full",
            "--device",
            "cpu",
            "--threads",
            "1",
            "--out",
            out,
        ]
        environment = os.environ | ({"PYTHONPATH": str(checkout)} if checkout else {})
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=checkout, env=environment)
        if done.returncode:
            raise RuntimeError(f"golden run {name}: {done.stderr.strip().splitlines()[-1]}")
        tables = {path.stem: pd.read_parquet(path) for path in sorted((Path(out) / name).glob("*.parquet"))}
    return {f"{name}/{label}": _values(table) for label, table in tables.items()}


def _values(table: pd.DataFrame) -> dict[str, Any]:
    measured = table.loc[:, FIRST:].drop(columns=["samples", "seconds", "status"]).astype("float64")
    text = json.dumps({column: [value.hex() for value in measured[column]] for column in measured})
    columns = {column: [float(f"{value:.8g}") for value in measured[column]] for column in measured}
    return {"bits": hashlib.sha256(text.encode()).hexdigest(), "algorithm": str(table["algorithm"].iloc[0]), "values": columns}


def main() -> None:
    values = {label: value for name in FILES for label, value in run(name).items()}
    lines = [f"{json.dumps(label)}: {json.dumps(value, separators=(',', ':'))}" for label, value in values.items()]
    KEPT.write_text(f'{{"machine": "{machine()}", "runs": {{\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{len(values)} golden runs kept")


if __name__ == "__main__":
    main()
