"""Fits of networks beyond the papers' kinds: the networks, one run, the choice among points, and going on after a stop."""

import json

import pytest
import torch

from sibp.bench.fits import study, training
from sibp.bench.fits.methods import METHODS
from sibp.bench.fits.networks import NETWORKS
from sibp.bench.fits.training import Problem, train
from sibp.experiments import code, schema
from sibp.experiments.schema import Fit
from sibp.experiments.strict import parse
from sibp.experiments.yaml_file import SpecError
from sibp.optim import SIBP
from sibp.training import sampling

DATA = {"name": "mnist", "train": 40, "validation": 10, "test": 10, "generated": True}
SHAPES = {"resnet": (3, 32, 32), "vit": (3, 32, 32)}
OPTIONS = {"sgd": {"lr": 0.1}, "adamw": {"lr": 0.001}, "sibp": {"eta": 0.3, "lam": 0.1}, "proxprop": {"tau_prox": 1.0}}


def experiment(**changes):
    methods = {"sgd": {"grid": {"lr": [0.1, 1e9]}}, "sibp": {"eta": 0.3, "lam": 0.1}}
    networks = {"cell": {"network": "rnn", "data": DATA, "steps": 4, "batch_size": 10}}
    fits = {"seeds": 2, "evaluations": 2, "methods": methods, "networks": networks} | changes
    return schema.experiment({"id": "x-fit", "title": "fits", "methods": {}, "fits": fits}, "x-fit")


def problem(network="rnn"):
    fit = parse(Fit, {"network": network, "data": DATA, "steps": 4, "batch_size": 10}, "fit")
    splits, _ = sampling.load(fit.data)
    placed = {name: samples.shaped((1, 28, 28), torch.device("cpu")) for name, samples in splits.items()}
    return Problem(fit, placed, 10, torch.device("cpu"))


def without_clock(runs):
    return [run | {"curves": {name: c for name, c in run["curves"].items() if name != "seconds"}} for run in runs]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_what_its_task_needs_and_is_mostly_implicit(name):
    shape = SHAPES.get(name, (1, 28, 28))
    torch.manual_seed(0)
    model, x = NETWORKS[name].build(shape, 10), torch.rand(3, *shape)
    assert model(x).shape == ((3, 10) if NETWORKS[name].task == "classify" else x.shape)
    optimizer = SIBP(model.parameters(), rest=torch.optim.SGD)
    optimizer.step(lambda: model(x).square().mean())
    report = optimizer.report(model)
    implicit = sum(p.numel() for key, p in model.named_parameters() if report[key].startswith("implicit"))
    assert implicit > 0.8 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_from_its_seed_alone(method):
    first, again, other = (train(problem(), method, OPTIONS[method], seed=seed, split="test", evaluations=2) for seed in (3, 3, 4))
    assert first["step"] == [2, 4] and len(first["accuracy"]) == 2 and first["seconds"] == sorted(first["seconds"])
    assert all(first[name] == again[name] != other[name] for name in ("loss", "train_loss"))


def test_a_network_that_denoises_is_measured_by_its_loss():
    curves = train(problem("unet"), "adamw", OPTIONS["adamw"], seed=0, split="validation", evaluations=1)
    assert curves.keys() == {"step", "seconds", "train_loss", "loss"}


@pytest.mark.parametrize(
    ("task", "last", "best"),
    [
        ("classify", [(0.5, 1.0), (0.9, 9.0), (0.9, 1.0)], 1),
        ("denoise", [(0, 3.0), (0, 1.0)], 1),
        ("classify", [(0.9, None), (0.1, 1.0)], 1),
    ],
)
def test_the_best_point_is_chosen_by_its_last_measurement(task, last, best):
    assert study.choose([{"curves": {"accuracy": [0.0, a], "loss": [0.0, loss]}} for a, loss in last], task) == best


def test_a_study_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = json.loads(study.study(experiment(), "cell", tmp_path / "whole").read_text())
    assert [(run["method"], run["seed"], run["split"]) for run in whole["runs"][:4]] == [
        *[("sgd", 1000, "validation")] * 2,
        *[("sgd", seed, "test") for seed in (0, 1)],
    ]
    assert {run["point"] for run in whole["runs"] if run["split"] == "test"} == {0}  # the other one explodes
    made, begun = [], []

    def stopping(*arguments, **options):
        begun.append((arguments[1:], options))
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(arguments)
        return training.train(*arguments, **options)

    monkeypatch.setattr(study, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        study.study(experiment(), "cell", tmp_path)
    with monkeypatch.context() as edited, pytest.raises(KeyboardInterrupt):  # after an edit it begins anew
        edited.setattr(code, "fingerprint", lambda *_, **__: "of another code")
        study.study(experiment(), "cell", tmp_path)
    assert begun[-1] == begun[0]
    made.clear()
    monkeypatch.setattr(study, "train", lambda *a, **options: made.append(a) or training.train(*a, **options))
    resumed = json.loads(study.study(experiment(), "cell", tmp_path).read_text())
    assert len(made) == len(whole["runs"]) - 3
    assert without_clock(resumed["runs"]) == without_clock(whole["runs"])
    assert [file.name for file in (tmp_path / "x-fit").iterdir()] == ["cell.json"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": {"sigd": {}}}, "fits.methods.sigd.method: got 'sigd'"),
        ({"networks": {"a": {"network": "rn", "data": DATA, "steps": 1}}}, "fits.networks.a.network: got 'rn'"),
        ({"networks": {"a": {"network": "rnn", "data": DATA | {"test": 0}, "steps": 1}}}, "fits.networks.a.data.test: got 0"),
    ],
)
def test_what_the_schema_cannot_know_is_refused_by_its_place(changes, words):
    with pytest.raises(SpecError, match=words.replace(".", r"\.")):
        study.check(experiment(**changes))


def test_an_unknown_network_is_refused(tmp_path):
    with pytest.raises(SpecError, match="need cell"):
        study.study(experiment(), "cel", tmp_path)
