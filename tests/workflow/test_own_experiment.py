"""docs/own-experiment.md, from its file to its figure, in an empty folder: every block is run as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from sibp.core.paths import cache_folder

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (ROOT / "docs/own-experiment.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_page_works_as_it_stands(tmp_path):
    program = tmp_path / "bin/sibp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sibp "$@"\n')
    program.chmod(0o755)
    here = tmp_path / "elsewhere"
    here.mkdir()
    (cache := tmp_path / "cache").mkdir()
    (cache / "native").symlink_to(cache_folder() / "native")
    own = {"PATH": f"{program.parent}:{os.environ['PATH']}", "SIBP_CACHE": str(cache), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    said = []
    for kind, text in BLOCKS:
        if kind == "yaml":
            content = yaml.safe_load(text)
            (here / f"{content.get('id') or content['name']}.yaml").write_text(text)
            continue
        command = ["sh", "-e", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=here, env=os.environ | own, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        said.append(done.stdout)
    assert [kind for kind, _ in BLOCKS] == ["yaml", "sh", "sh", "yaml", "sh", "sh", "python"]
    assert "sibp-armijo" in said[0] and "[full]" in said[0]
    assert said[1].split() == [f"results/widths/{label}.parquet" for label in ("sgd", "sibp", "sibp-armijo")]
    assert "widths: test accuracy against epoch" in said[3] and "widths: train loss against seconds" in said[3]
    assert (here / "mine.pdf").read_bytes().startswith(b"%PDF") and (here / "widths.png").stat().st_size > 10**4
    assert "<svg" in (here / "widths.html").read_text()
