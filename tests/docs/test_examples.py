"""Every Python example of README, CONTRIBUTING and docs/ runs as it stands, each in an empty folder and with nothing that is cached."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Its files and commands belong together: tests/workflow/test_own_experiment.py runs that whole page.
WHOLE = "docs/own-experiment.md"


def pages() -> dict[str, list[str]]:
    """Return the Python blocks of each page that has some."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = {file.relative_to(ROOT).as_posix(): BLOCK.findall(file.read_text(encoding="utf-8")) for file in files}
    return {name: blocks for name, blocks in found.items() if blocks}


EXAMPLES = [
    pytest.param(block, id=f"{page}-{k}") for page, blocks in pages().items() if page != WHOLE for k, block in enumerate(blocks)
]


def test_there_are_examples():
    assert pages().keys() >= {"README.md", "docs/own-network.md", "docs/data.md", WHOLE}
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    exec(compile(code, "example", "exec"), names)
    if "loss" in names:
        assert names["loss"].isfinite()
    if "print(opt)" in code:
        assert "implicit" in capsys.readouterr().out
