"""The exhibit of what steps cost."""

import json
import subprocess
import sys

import pytest
import torch
from matplotlib import pyplot as plt

from sibp.bench import measure as bench
from sibp.bench import timing
from workflow.scripts import draw


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "LEAST", 2)
        patch.setattr(bench, "QUICK_SECONDS", 0.0)
        patch.setattr(bench, "QUICK_MEMBERS", 2)
        return bench.measure(torch.device("cpu"), 1, ["784-32-10", "small-cnn"], quick=True) | {"scale": "smoke"}


@pytest.fixture
def exhibit(tmp_path, monkeypatch):
    """Draw a record and return the exhibit's page with its table's lines by name."""

    def drawn(record):
        folder = tmp_path / "results/costs/x-cost"
        folder.mkdir(parents=True)
        for label in ("one-thread", "two-threads"):
            (folder / f"{label}.json").write_text(json.dumps(record))
        monkeypatch.setenv("SIBP_ROOT", str(tmp_path))
        monkeypatch.setattr(plt, "show", lambda: None)
        plt.switch_backend("agg")
        draw.draw("x-cost")
        plt.close("all")
        page = json.loads((tmp_path / "paper/exhibits/x-cost.json").read_text())
        lines = [["".join(text for text, _ in cell) for cell in line] for group in page["table"]["groups"] for line in group]
        return page, {line[0]: line[1:] for line in lines}

    return drawn


def row(record, case, step):
    (found,) = (row for each in record["cases"] if each["case"] == case for row in each["steps"] if row["step"] == step)
    return found


def test_the_table_shows_both_baselines_which_was_best_and_the_floor(exhibit, record):
    page, lines = exhibit(record)
    mlp, cnn = (row(record, case, "SIBP, 5 CG steps") for case in ("784-32-10", "small-cnn"))

    def twice(key):
        return [" / ".join([f"{each[key]:.2f}"] * 2) for each in (mlp, cnn)]

    assert lines["SIBP, 5 CG steps"] == [
        f"{ratio} ({each['floor']:.2f})" for ratio, each in zip(twice("ratio"), (mlp, cnn), strict=True)
    ]
    assert lines["SIBP, 5 CG steps: / the best SGD"] == twice("best_ratio")
    assert lines["SIBP, 5 CG steps: / torch Adam"] == twice("adam_ratio")
    assert lines["SIBP, 5 CG steps: / the best Adam"] == twice("best_adam_ratio")
    for name, line in (("torch SGD", "the best SGD"), ("torch Adam", "the best Adam")):
        best = [case["best"][name] for case in record["cases"]]
        assert lines[line] == ["the default" if form == name else form.removeprefix(f"{name}, ") for form in best]
    about = record["environment"]["processor"]
    assert about["name"] in page["caption"] and f"torch uses {about['torch']}" in page["caption"]
    assert all(vector in page["caption"] for vector in about["vectors"] or [])


def test_what_it_finds_are_the_ratios_of_the_module_and_the_engine(exhibit, record):
    with_engine = json.loads(json.dumps(record))
    with_engine["cases"][0]["steps"].append({"step": "SIBP, 5 CG steps, engine", "ratio": 1.25, "best_ratio": 1.5})
    page, _ = exhibit(with_engine)
    told = ", ".join(f"{row(record, case, 'SIBP, 5 CG steps')['ratio']:.2f} ({case})" for case in ("784-32-10", "small-cnn"))
    engine = "1.25 (784-32-10), over SGD in its fastest form 1.50 (784-32-10)"
    assert f"as an optimizer of a module {told}; in the engine that trained the exhibits {engine};" in page["finding"]
    assert page["finding"].endswith("as the authors' program computes it not measured.")


def test_drawing_does_not_wait_for_torch():
    program = "import sys, workflow.figures.exhibit, sibp.bench.labels; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
