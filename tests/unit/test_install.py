"""Beside torch the optimizers need nothing; the command line says which extra is missing; wheel and sdist carry all that is used."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from sibp import cli

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Python as it is where nothing of the extra is installed.
BARE = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in {cli.EXTRA} else self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import warnings
warnings.filterwarnings("ignore", "Failed to initialize NumPy")
"""
USES = """
from sibp import methods

model = sibp.mlp([4, 3, 2], std=0.5)
x, y = torch.randn(8, 4), torch.arange(8) % 2
for opt in (sibp.SIBP(model.parameters()), sibp.ProxBP(model.parameters(), solver="exact")):
    assert opt.step(lambda: torch.nn.functional.cross_entropy(model(x), y)).isfinite()
with sibp.Oracle(model.parameters(), "proxprop"):
    torch.nn.functional.cross_entropy(model(x), y).backward()
assert model[0].weight.grad is not None
assert sibp.BCD(model, x, y).step().isfinite()
assert sibp.lenet()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
for name in methods.METHODS:
    assert methods.step(model, name, x, y, loss="squared").isfinite()
try:
    sibp.SIBP(model.parameters(), lam=-1)
except ValueError as fault:
    assert str(fault) == "lam: got -1, need greater than 0", fault
"""
COMMANDS = """
from sibp import cli

for words in ([], ["list"], ["--version"]):
    print(cli.main(words))
"""


def test_with_torch_alone_the_optimizers_work_and_the_command_line_names_its_extra():
    lines = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE + lines + USES + COMMANDS], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == ["2", "2", f"sibp {PROJECT['version']}", "0"]
    need = "need the extra `experiments`: pip install '.[experiments]' in the source folder"
    fault = f"sibp: error: {', '.join(name for name in cli.EXTRA if name not in cli.OF_NO_COMMAND)}: not installed, {need}"
    assert done.stderr.splitlines() == [fault, fault]


def test_the_command_line_knows_its_extra():
    distributions = {names[0].lower() for module, names in packages_distributions().items() if module in cli.EXTRA}
    asked = [re.split(r"[^\w.-]", requirement)[0] for requirement in PROJECT["optional-dependencies"]["experiments"]]
    assert distributions == set(asked)
    assert len(cli.EXTRA) == len(asked)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist, and a wheel built from it as an installer does, without a network; the names of their files."""
    folder = tmp_path_factory.mktemp("built")
    build = "import sys, os; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"

    def run(kind: str, source: Path) -> Path:
        words = [sys.executable, "-c", build, kind, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=source, check=True, timeout=300)
        return folder / done.stdout.splitlines()[-1]

    copy = folder / "copy"
    tracked = subprocess.run(
        ["git", "ls-files", "sibp", "*.toml", "README.md", "LICENSE"], cwd=ROOT, capture_output=True, text=True
    )
    for name in tracked.stdout.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    with tarfile.open(run("sdist", copy)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    with zipfile.ZipFile(run("wheel", unpacked)) as wheel:
        return (
            set(tracked.stdout.splitlines()),
            set(wheel.namelist()),
            wheel.read(f"sibp-{PROJECT['version']}.dist-info/METADATA").decode(),
        )


def test_the_wheel_built_from_the_sdist_holds_the_whole_package_and_asks_for_torch_alone(built):
    tracked, names, metadata = built
    package = {name for name in tracked if name.startswith("sibp/")}
    assert {name for name in names if name.startswith("sibp/")} == package
    assert any(name.endswith(".cpp") for name in package)
    needs = re.findall(r"^Requires-Dist: (.*)$", metadata, flags=re.MULTILINE)
    assert [need for need in needs if "extra ==" not in need] == [
        "torch>=2.11",
        "typing-extensions>=4.10",
    ]  # which torch needs itself
