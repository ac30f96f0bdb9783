"""The exhibit of networks beyond the papers' kinds: equal seconds, sizes in words, and drawing from a few made-up curves."""

import json

import pandas as pd
import pytest

from workflow.figures import fits
from workflow.figures.exhibit import Exhibit
from workflow.scripts import draw

SECONDS = {"sgd": 1.0, "adamw": 1.0, "sibp": 2.0, "sibp-bounded": 3.0, "proxprop": 1.0}


def made_up(label, lost=()):
    """Return the fit of a network whose methods differ in their seconds alone; those in `lost` end with no number."""
    experiment = Exhibit("x-modules").experiment
    settings = experiment.fits.model_dump(mode="json", exclude={"networks"}) | experiment.fits.networks[label].model_dump(
        mode="json"
    )
    settings |= {"steps": 10, "data": settings["data"] | {"train": 500}}
    task, runs = "denoise" if label == "unet" else "classify", []
    for method, seconds in SECONDS.items():
        for split, seed in [("validation", 1000), ("test", 0), ("test", 1)]:
            loss = [1.0, None if method in lost else 0.5]
            curves = {
                "step": [5, 10],
                "seconds": [seconds / 2, seconds],
                "train_loss": loss,
                "loss": loss,
                "accuracy": [0.5, 0.7 + seed % 3 / 10],
            }
            options = experiment.fits.methods[method].points()[0]
            runs.append({"method": method, "point": 0, "options": options, "seed": seed, "split": split, "curves": curves})
    environment = {"device": "a CPU", "threads": 1}
    return {"scale": "laptop", "settings": settings, "task": task, "environment": environment, "runs": runs}


def test_a_score_within_seconds_lies_between_measurements():
    rows = pd.DataFrame({"seed": [0, 0, 1, 1], "seconds": [1.0, 2.0, 1.0, 2.0], "score": [0.5, 0.7, 0.4, 0.8]})
    at = fits.within(rows, pd.Series({0: 1.5, 1: 9.0}))
    assert at.to_dict() == pytest.approx({0: 0.6, 1: 0.8})
    assert fits.within(rows, pd.Series({0: 0.5, 1: 1.0})).isna().to_dict() == {0: True, 1: False}


def test_the_exhibit_says_who_wins_and_what_was_lost(tmp_path, monkeypatch):
    monkeypatch.setenv("SIBP_ROOT", str(tmp_path))
    folder = tmp_path / "results/fits/x-modules"
    folder.mkdir(parents=True)
    for label, lost in (("rnn", ["sgd"]), ("unet", [])):
        (folder / f"{label}.json").write_text(json.dumps(made_up(label, lost)))
    draw.draw("x-modules")
    page = json.loads((tmp_path / "paper/exhibits/x-modules.json").read_text())
    assert "2 of 7 networks" in page["reductions"] and "rnn 10 of 2000 steps" in page["reductions"]
    assert page["hardware"] == "a CPU, 1 thread"
    rows = pd.read_csv(tmp_path / "paper/tables/x-modules.csv").set_index(["network", "method"])
    assert rows.loc[("rnn", "sibp"), ["score", "equal_score"]].tolist() == pytest.approx([0.75, 0.5])
    assert rows.loc[("rnn", "sgd"), "n"] == 0 and rows.loc[("rnn", "sgd"), "points_lost"] == 1
    assert rows.loc[("unet", "adamw"), "score"] == 0.5
