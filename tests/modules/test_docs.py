"""Every example of docs/own-network.md and of README's lines on one's own model runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples():
    page = (ROOT / "docs" / "own-network.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("## On your own model")[2].partition("\n## ")[0]
    return BLOCK.findall(page) + BLOCK.findall(readme)


def test_there_are_examples():
    assert len(examples()) == 7


@pytest.mark.parametrize("code", examples(), ids=lambda code: code.splitlines()[-1][:30])
def test_an_example_runs(code, capsys):
    torch.manual_seed(0)
    names = {}
    exec(compile(code, "example", "exec"), names)
    if "loss" in names:
        assert names["loss"].isfinite()
    if "print(opt)" in code:
        assert "implicit" in capsys.readouterr().out
