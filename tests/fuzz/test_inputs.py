"""Bad files and command lines: exit code 2, exactly one line that says what is wrong, and nothing written.

Valid files and commands are broken at random places; what is still valid after that must be accepted.
"""

import contextlib
import copy
import io
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from sibp import cli, data
from sibp.cli import commands
from sibp.training import runs
from tests.fuzz.profiles import profile
from tests.unit.tiny import mapping, write

EXPERIMENT = mapping(
    paper={"source": "J", "exhibit": "Table 2", "section": "5.2"},
    methods={
        "sgd": {"grid": {"eta": [0.1, 0.01]}, "training": {"epochs": 1, "evaluate_every": {"steps": 2}, "prune": [0.5]}},
        "prox": {"method": "proxbp", "cg_steps": 3, "network": {"widths": [784, 5, 10]}},
        "sibp": {"variant": "armijo", "lam": 1.0},
    },
)
SCALE = {
    "name": "full",
    "data": "generated",
    "limits": {"seeds": 1, "epochs": 1, "train": 50},
    "experiments": {"tiny": {"training": {"batch_size": 10}, "network": {"widths": [784, 4, 10]}}},
}
JUNK = st.one_of(
    st.sampled_from([None, True, False, "", "full", "mnist", "relu", "1e400", float("nan"), float("inf")]),
    st.sampled_from([[], {}, [[]], {"a": {}}, [None]]),
    st.sampled_from([0, -1, 1, 2, 10**4, 10**7, 10**30, -(10**30), 0.0, -0.5, 1e-300, 1e300, 1.5]),
    st.text(max_size=8),
    st.lists(st.integers(-2, 800) | st.floats(allow_subnormal=False) | st.text(max_size=3), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A folder as the repository has it; nothing in it trains, fetches or measures."""
    place = tmp_path_factory.mktemp("fuzz")
    write(place, EXPERIMENT, "workflow/experiments/tiny.yaml")
    write(place, SCALE, "workflow/scales/full.yaml")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setenv("SIBP_CACHE", str(place / "cache"))
        patched.setattr(runs, "run", lambda *_, **__: None)
        patched.setattr(data, "fetch", lambda name, *_, **__: (_ for _ in ()).throw(data.DataError(f"{name}: no network")))
        patched.setattr(commands, "doctor", lambda _: 0)
        patched.setattr(commands, "bench", lambda _: 0)
        patched.setattr(torch.cuda, "is_available", lambda: False)
        yield place


def call(*arguments):
    """Return the exit code and the error lines of a command; a traceback would come out of it as an exception."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(arguments))
    return code, err.getvalue().splitlines()


def files(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_accepted_or_refused(folder, *arguments):
    before = files(folder)
    code, errors = call(*arguments)
    if code == 0:
        return
    assert code == 2, errors
    assert len(errors) == 1, errors
    assert errors[0].startswith("sibp: error: ")
    assert len(errors[0]) < 2000
    assert files(folder) == before


def places(value, path=()):
    """Return the paths of everything inside a nested mapping."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, one in inner for found in [(*path, key), *places(one, (*path, key))]]


@st.composite
def broken(draw, whole):
    """Draw a copy of a mapping with one to three places changed: taken away, replaced, renamed or added to."""
    result = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        if not (found := places(result)):
            break
        *parents, key = draw(st.sampled_from(found))
        parent = result
        for step in parents:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"])):
            case "replace":
                parent[key] = draw(JUNK)
            case "remove":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from([f"{key}s", str(key)[1:], "eta"]) | st.text(max_size=6))] = parent.pop(key)
            case _ if isinstance(parent[key], dict):
                parent[key][draw(st.sampled_from(["steps", "lam", "bias", "note"]) | st.text(max_size=6))] = draw(JUNK)
    return result


@profile
@given(broken(EXPERIMENT))
@example(mapping(seeds=10**30))
@example(mapping(training__steps=10**30, training__epochs=None))
@example(mapping(network__widths=[784, 10**30, 10]))
@example(mapping(data__train=10**12))
@example(mapping(methods={"sgd": {"selected": "nothing"}}))
def test_a_broken_experiment_is_refused_in_one_line(folder, content):
    path = write(folder, content, "broken/tiny.yaml")
    assert_accepted_or_refused(folder, "list", str(path), "--scale", "full")
    assert_accepted_or_refused(folder, "run", str(path), "--scale", "full", "--out", "broken/out")
    with contextlib.suppress(OSError):
        Path("broken/out/tiny").rmdir()


@profile
@given(broken(SCALE))
@example(SCALE | {"experiments": {"tiny": {"methods": {"sgd": None}}}})
@example(SCALE | {"experiments": {"tiny": {"data": None, "training": 3}}})
def test_a_broken_scale_is_refused_in_one_line(folder, content):
    path = write(folder, content, "broken/full.yaml")
    assert_accepted_or_refused(folder, "list", "tiny", "--scale", str(path))


TEXT = yaml.safe_dump(EXPERIMENT)


@st.composite
def damaged_text(draw):
    """Draw the experiment file with a piece replaced by other characters."""
    start = draw(st.integers(0, len(TEXT)))
    end = draw(st.integers(start, min(len(TEXT), start + 20)))
    marks = st.sampled_from([*"\t{}[]|\n\0", "- ", ": ", "? ", "&a ", "*a", "!!python/object:os.system "])
    return TEXT[:start] + draw(marks | st.text(max_size=6)) + TEXT[end:]


@profile
@given(damaged_text())
@example("[" * 5000)
@example("{a: " * 5000)
@example("a: &a [*a]")
@example("")
@example("- 1")
@example("id: tiny\nid: tiny\n")
@example("? [a]\n: 1\n")
@example("seeds: 2001-01-01\n")
@example("1: 2\n")
@example("\ufeff---\n...\n---\nid: x\n")
def test_a_damaged_file_is_refused_in_one_line(folder, text):
    path = folder / "broken" / "tiny.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_accepted_or_refused(folder, "list", str(path), "--scale", "full")


@profile
@given(st.binary(max_size=40))
def test_a_file_of_bytes_is_refused_in_one_line(folder, content):
    path = folder / "broken" / "tiny.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert_accepted_or_refused(folder, "list", str(path), "--scale", "full")


WORDS = "run list data doctor bench tiny mnist mnst full auto cpu cuda sgd out 1 0 -1 nan 1e9 workflow .yaml /dev/null".split()
WORDS += "--out --scale --method --device --threads --data-dir --dir --json --checkpoint-seconds --help --version --ou -- -".split()
WORDS += ["workflow/experiments/tiny.yaml", "workflow/scales/full.yaml", "a" * 300]
TOKENS = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), max_size=10)


@profile
@given(st.sampled_from(["run", "list", "data", "bench", "doctor", ""]), st.lists(TOKENS, max_size=7))
@example("run", ["tiny", "--out", "/dev/null"])
@example("run", ["tiny", "--scale", "full", "--out", "a" * 300])
@example("run", ["a" * 300 + ".yaml", "--out", "out"])
@example("list", ["workflow.yaml"])
@example("data", ["mnist", "--json", "/no/such/folder/x.json"])
@example("data", [])
def test_a_broken_command_line_is_refused_in_one_line(folder, command, words):
    arguments = [command, *words] if command else words
    code, errors = call(*arguments)
    fetching = command == "data" or "data" in words
    assert code in ((0, 1, 2) if fetching else (0, 2)), (arguments, errors)
    if code:
        assert len(errors) == 1, (arguments, errors)
        assert errors[0].startswith("sibp: error: ")
