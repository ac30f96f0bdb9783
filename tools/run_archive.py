"""The runs of all experiments in little space, and back: what the repository keeps so that exhibits can be drawn without training.

One Parquet file and one compressed JSON file an experiment, instead of two files a job; what was measured is kept to the seven
digits of float32, hyper-parameters exactly.
"""

import gzip
import json
from pathlib import Path

import pandas as pd


def pack(runs: Path, folder: Path) -> None:
    """Write ``<id>.parquet`` and ``<id>.json.gz`` into a folder for each experiment below `runs`."""
    for experiment in sorted(path for path in runs.glob("*") if any(path.glob("*.parquet"))):
        tables = {file.stem: pd.read_parquet(file) for file in sorted(experiment.glob("*.parquet"))}
        folder.mkdir(parents=True, exist_ok=True)
        whole = pd.concat(tables.values(), ignore_index=True)
        measured = whole.loc[:, "seconds":"status"].select_dtypes("float64").columns
        whole = whole.astype(dict.fromkeys(measured, "float32"))
        whole.to_parquet(folder / f"{experiment.name}.parquet", index=False, compression="zstd", compression_level=19)
        about = {
            label: {
                "record": json.loads((experiment / f"{label}.json").read_text(encoding="utf-8")),
                "columns": {name: str(kind) for name, kind in table.dtypes.items()},
            }
            for label, table in tables.items()
        }
        packed = gzip.compress(json.dumps(about, separators=(",", ":")).encode(), mtime=0)  # equal runs are equal files
        (folder / f"{experiment.name}.json.gz").write_bytes(packed)


def unpack(folder: Path, runs: Path) -> list[str]:
    """Write the job files that `pack` has read below `runs` and return the experiments' ids."""
    names = []
    for file in sorted(folder.glob("*.parquet")):
        about = json.loads(gzip.decompress(file.with_name(f"{file.stem}.json.gz").read_bytes()))
        whole, place = pd.read_parquet(file), runs / file.stem
        place.mkdir(parents=True, exist_ok=True)
        for label, kept in about.items():
            rows = whole[whole["method"] == label][list(kept["columns"])].reset_index(drop=True)
            rows.astype(kept["columns"]).to_parquet(place / f"{label}.parquet", index=False)
            (place / f"{label}.json").write_text(json.dumps(kept["record"], indent=2) + "\n", encoding="utf-8")
        names.append(file.stem)
    return names
