"""Training one label: the numbers, the rows, the records, and what happens to members that diverge or run out of time."""

import itertools
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional

from sibp.experiments.jobs import Job
from sibp.methods import registry
from sibp.methods.sgd import SGD
from sibp.nets import losses, papers, propagation
from sibp.nets.layers import Affine
from sibp.results import records
from sibp.results.progress import Clock, Progress
from sibp.results.records import Role
from sibp.training import cuda_graph, evaluation, runs, sampling
from sibp.training.problem import Problem
from sibp.training.sampling import Samples
from sibp.training.trainer import CHECK_EVERY, Trainer
from tests.unit.tiny import experiment
from tests.unit.training.test_cuda_graph import replaying

DOUBLE = {"training__dtype": "float64"}
CHAIN = {
    "data": {"name": "chain", "train": 10},
    "network": {"widths": [1, 1, 1], "activation": "identity", "bias": False, "init": {"mean": 0.5, "std": 0.1}},
    "loss": "squared",
    "training": {"steps": 4, "batch_size": 2, "evaluate_every": {"steps": 1}, "measure": ["train"], "dtype": "float64"},
}


def run(label="sgd", **changes):
    return runs.run(experiment(**changes), label)


def start(**changes):
    """Return a trainer of all members of label sgd, and its run at step 0."""
    asked = experiment(**changes)
    splits, _ = sampling.load(asked.data)
    network = papers.build(**asked.network.settings())
    device, training = torch.device("cpu"), asked.training_of("sgd")
    shaped = {name: samples.shaped(network.input_shape, device) for name, samples in splits.items()}
    problem = Problem(network, losses.get(asked.loss), asked.network.init, training, shaped, device)
    made = Trainer(problem, asked.algorithm("sgd"), Job(asked, "sgd").members, Clock(device), Progress())
    return made, made.start()


def numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """All that training decides: neither seconds nor names."""
    return rows.drop(columns=["exhibit", "method", "algorithm", "seconds", "status"])


def test_there_is_one_row_for_each_member_and_evaluation():
    rows, _ = run()
    assert rows.groupby("member")["step"].apply(list).tolist() == [[0, 3, 6]] * 4
    assert rows.groupby("member")["epoch"].apply(list).tolist() == [[0, 1, 2]] * 4
    assert rows.groupby("member")["samples"].apply(list).tolist() == [[0, 60, 120]] * 4
    assert rows.groupby("member")["status"].apply(list).tolist() == [["running", "running", "done"]] * 4
    assert set(zip(rows["seed"], rows["eta"], strict=True)) == {(s, e) for s in (0, 1) for e in (0.1, 0.01)}
    assert records.EVERY_RUN.keys() <= set(rows.columns)
    assert rows.groupby("member")["seconds"].apply(lambda seconds: seconds.is_monotonic_increasing).all()


def test_training_is_sgd_on_the_orders_and_initial_weights_of_the_seeds():
    made, trained = start(**DOUBLE)
    twin = [[t[3:4].clone().requires_grad_() for t in layer] for layer in trained.parameters]
    made.steps_to(trained, 6)
    for step in range(6):
        x, y = (values[3] for values in made.batches.at(step))
        for W, b in twin[:-1]:
            x = functional.relu(x @ W[0].T + b[0])
        loss = functional.cross_entropy(x @ twin[-1][0][0].T + twin[-1][1][0], y)
        flat = [t for layer in twin for t in layer]
        with torch.no_grad():
            for tensor, gradient in zip(flat, torch.autograd.grad(loss, flat), strict=True):
                tensor -= 0.01 * gradient  # member 3: seed 1, eta 0.01
    for layer, expected in zip(trained.parameters, twin, strict=True):
        torch.testing.assert_close(layer.W[3:4], expected[0].detach())
        torch.testing.assert_close(layer.b[3:4], expected[1].detach())


@pytest.mark.parametrize("method", ["sgd", "adam", "proxbp", "sibp"])
def test_fixed_layers_stay_as_drawn_and_the_others_train_as_a_net_of_their_own(method):
    settings = DOUBLE | {"methods": {"sgd": {"method": method}}, "network__widths": [784, 6, 5, 10], "training__fixed_layers": 2}
    made, trained = start(**settings)
    drawn = [[tensor.clone() for tensor in layer] for layer in trained.parameters]
    alone, options = papers.build("mlp", widths=(5, 10)), [member.options for member in made.members]
    twin = registry.build(method, alone, made.problem.loss, options, dtype=torch.float64)
    last = [Affine(*(tensor.clone() for tensor in trained.parameters[2]))]
    state = twin.start(last)
    for step in range(6):
        x, y = made.batches.at(step)
        for W, b in drawn[:2]:
            x = functional.relu(x @ W.mT + b)
        twin.step(last, state, x, y)
    made.steps_to(trained, 6)
    torch.testing.assert_close(list(trained.parameters[2]), list(last[0]), rtol=1e-9, atol=1e-12)
    assert all(torch.equal(*pair) for pair in zip(trained.tensors(2), itertools.chain(*drawn[:2]), strict=True))


def test_all_methods_start_from_the_same_networks():
    labels = {"sgd": {}, "proxbp": {}, "sibp": {}, "adam": {}}
    starts = [run(label, methods=labels)[0].query("step == 0")["train_loss"].tolist() for label in labels]
    assert starts == [starts[0]] * len(labels)


def test_the_same_run_twice_gives_the_same_bits():
    pd.testing.assert_frame_equal(numbers(run()[0]), numbers(run()[0]), check_exact=True)


@pytest.mark.parametrize("label", ["sgd", "sibp"])
def test_a_run_of_replayed_steps_is_the_run_itself(label, monkeypatch):
    expected, _ = run(label, methods={"sgd": {}, "sibp": {}}, **DOUBLE)
    recorded = []
    monkeypatch.setattr(cuda_graph, "_obstacle", lambda parameters: None)
    monkeypatch.setattr(cuda_graph, "record", lambda step: recorded.append(1) or replaying(step))
    rows, _ = run(label, methods={"sgd": {}, "sibp": {}}, **DOUBLE)
    assert recorded and numbers(rows).equals(numbers(expected))


@pytest.mark.parametrize("changes", [{"training__ensemble": 1}, {"training__ensemble": 3}, {"training__mode": "timed"}])
def test_results_hang_on_how_members_are_grouped_by_rounding_only(changes):
    together, _ = run(**DOUBLE)
    apart, about = run(**DOUBLE, **changes)
    pd.testing.assert_frame_equal(numbers(together), numbers(apart), rtol=1e-9)
    assert len(about["ensembles"]) > 1


def test_a_timed_run_trains_one_member_at_a_time_after_a_warm_up():
    _, about = run(training__mode="timed")
    assert about["ensembles"] == [[0], [1], [2], [3]]
    assert about["seconds"]["warm-up"] > 0
    assert "warm-up" not in run()[1]["seconds"]


@pytest.mark.parametrize(
    ("method", "device", "mode", "steps"),
    [
        ({}, "cpu", "ensemble", 0),
        ({}, "cpu", "timed", 3),
        ({}, "cuda", "timed", 0),  # recording warms up
        ({"method": "sibp", "l1": 0.1}, "cuda", "ensemble", 0),
        ({"method": "bcd", "training": {"batch_size": "full"}}, "cuda", "ensemble", 0),
        ({"method": "bcd", "training": {"batch_size": "full"}}, "cuda", "timed", 1),
    ],
)
def test_steps_are_thrown_away_only_where_libraries_set_up_in_them(method, device, mode, steps):
    made, _ = start(methods={"sgd": method}, training__mode=mode)
    made.problem = made.problem.__class__(**{**vars(made.problem), "device": torch.device(device)})
    assert made.warm_up_steps() == steps


def test_an_experiment_of_tiny_products_may_insist_on_the_cpu():
    _, about = runs.run(experiment(training__device="cpu"), "sgd", device="cuda")
    assert about["device_kind"] == "cpu"


def test_chunks_of_a_split_add_up_to_the_whole(monkeypatch):
    made, at_start = start(**DOUBLE)
    test = made.problem.splits["test"]
    arguments = (made.problem.network, made.problem.loss, at_start.parameters, test, torch.float64)
    whole = evaluation.measure(*arguments)
    monkeypatch.setattr(evaluation, "CHUNK", 4 * 784 * 7)  # 7 of the 20 samples at a time
    parts = evaluation.measure(*arguments)
    F = propagation.output(made.problem.network, at_start.parameters, next(test.chunks(20, torch.float64))[0])
    torch.testing.assert_close(parts, whole)
    expected = functional.cross_entropy(F.flatten(0, 1), test.targets.repeat(4), reduction="none").view(4, 20).mean(1)
    torch.testing.assert_close(parts["loss"], expected)
    torch.testing.assert_close(parts["accuracy"], (F.argmax(-1) == test.targets).double().mean(1))


def test_the_change_of_the_first_weights_is_that_of_the_last_step():
    made, trained = start(**CHAIN | {"training__measure": ["train", "first_weight_change"]})
    weights = [trained.parameters[0].W.clone()]
    made.evaluate(trained)
    for point in (1, 2, 4):
        made.advance(trained, point - 1)
        before = trained.parameters[0].W.clone()
        made.advance(trained, point)
        weights.append((trained.parameters[0].W - before).flatten(1).norm(dim=1))
        made.evaluate(trained)
    rows = pd.DataFrame(trained.rows).pivot(index="step", columns="member", values="first_weight_change")
    assert rows.loc[0].isna().all()
    for point, change in zip((1, 2, 4), weights[1:], strict=True):
        assert rows.loc[point].tolist() == change.tolist()


def test_the_first_gradient_is_that_of_the_next_mini_batch_s_mean_loss():
    made, at_start = start(**DOUBLE, training__measure=["first_gradient_norm"])
    made.evaluate(at_start)
    x, y = made.batches.at(0)
    W = at_start.parameters[0].W.requires_grad_()
    F = propagation.output(made.problem.network, at_start.parameters, x)
    (gradient,) = torch.autograd.grad(made.problem.loss.value(F, y).sum(), W)
    found = torch.tensor([row["first_gradient_norm"] for row in at_start.rows], dtype=torch.float64)
    torch.testing.assert_close(found, gradient.flatten(1).norm(dim=1))


def test_real_values_have_a_loss_but_no_accuracy():
    rows, _ = run(**CHAIN)
    assert "train_loss" in rows
    assert "train_accuracy" not in rows


EXPLODING = {"methods": {"sgd": {"grid": {"eta": [0.1, 1e30]}}}, "training__epochs": 3}


def test_a_member_that_diverges_keeps_its_rows_but_loses_its_numbers():
    rows, about = run(**EXPLODING)
    lost = rows[rows["eta"] == 1e30]
    assert lost.groupby("member")["status"].apply(list).tolist() == [["running", *["diverged"] * 3]] * 2
    assert lost[lost["step"] > 0][["train_loss", "test_accuracy"]].isna().all(axis=None)
    assert [entry["member"] for entry in about["diverged"]] == [1, 3]
    assert all(0 < entry["step"] <= 3 for entry in about["diverged"])


def test_a_member_that_is_lost_at_the_last_evaluation_costs_no_other_its_record(tmp_path):
    methods = {"sgd": {"grid": {"eta": [0.1, 1e30]}}}
    changes = {"training__epochs": None, "training__steps": 1, "training__prune": [0.0, 0.5]}
    rows, _ = runs.run(experiment(methods=methods, **changes), "sgd", out=tmp_path)
    assert rows[rows["step"] == 1]["status"].tolist() == ["done", "diverged"] * 2
    cuts = pd.DataFrame(records.read_record(tmp_path / "tiny/sgd.parquet")["pruned"])
    assert (cuts.groupby("member")["sparsity"].max() == [0.5, 1.0] * 2).all()  # what is lost is zero


def test_what_is_no_number_after_pruning_is_none():
    network, parameters = papers.build("mlp", widths=[4, 3], activation="relu"), [Affine(torch.full((1, 3, 4), math.inf), None)]
    samples = {"test": Samples(torch.ones(5, 4), torch.arange(5) % 3)}
    training = experiment().training
    problem = Problem(network, losses.get("cross-entropy"), None, training, samples, torch.device("cpu"))
    (entry,) = evaluation.pruned(problem, parameters, [7], [0.0])
    assert entry["member"] == 7 and entry["test_loss"] is None


def test_a_member_that_diverges_does_not_touch_the_others():
    beside, _ = run(**EXPLODING)
    healthy, _ = run(**EXPLODING | {"methods": {"sgd": {"grid": {"eta": [0.1, 0.01]}}}})
    kept = [numbers(rows[rows["eta"] == 0.1]) for rows in (beside, healthy)]
    pd.testing.assert_frame_equal(*kept, check_exact=True)
    assert (beside[beside["eta"] == 0.1]["status"] != "diverged").all()


def test_training_ends_early_when_all_members_have_diverged(monkeypatch):
    steps, plain = [], SGD.step
    monkeypatch.setattr(SGD, "step", lambda *arguments: steps.append(0) or plain(*arguments))
    rows, _ = run(methods={"sgd": {"eta": 1e30}}, training__epochs=40)
    assert rows.groupby("member")["step"].max().tolist() == [120, 120]
    assert set(rows[rows["step"] > 0]["status"]) == {"diverged"}
    assert len(steps) < 20


def test_a_member_at_chance_level_has_not_diverged():
    rows, about = run(methods={"sgd": {"eta": 1e-30}})
    assert set(rows["status"]) == {"running", "done"}
    assert about["diverged"] == []


def test_a_frozen_member_has_no_numbers_left_to_search_on():
    made, trained = start(methods={"sgd": {"grid": {"eta": [0.1, 1e30]}}})
    made.steps_to(trained, 4)
    assert trained.freeze().tolist() == [True, False, True, False]
    assert all((t[1] == 0).all() and (t[0] != 0).any() for t in trained.tensors())


def test_time_may_run_out_at_a_look_at_the_clock(monkeypatch):
    rows, _ = run(training__max_seconds=1e-9, training__epochs=100)
    last = rows.groupby("member").tail(1)
    assert last["status"].tolist() == ["out_of_time"] * 4
    assert last["step"].tolist() == [3] * 4  # the first evaluation after the limit
    late, _ = run(training__max_seconds=1e-9, training__epochs=100, training__evaluate_every={"epochs": 100})
    assert late["step"].tolist() == [0, CHECK_EVERY] * 4


def test_time_that_runs_out_after_the_last_step_is_no_matter():
    assert run(training__max_seconds=1e-9, training__epochs=1)[0]["status"].tolist() == ["running", "done"] * 4


def test_a_run_is_recorded_with_all_that_it_depends_on(tmp_path):
    asked = experiment()
    rows, about = runs.run(asked, "sgd", threads=1, out=tmp_path)
    kept = records.read(tmp_path / "tiny" / "sgd.parquet")
    provenance = kept.record
    pd.testing.assert_frame_equal(kept.rows, rows, check_dtype=False)
    assert kept.columns(Role.setting)[0] == "eta"
    assert kept.columns(Role.metric) == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    assert provenance == about
    assert set(provenance) >= {"scale", "git", "versions", "device", "driver", "precision", "digest", "started"}
    assert provenance["settings"]["data"]["train"] == 60
    assert provenance["members"][3].items() >= {"member": 3, "seed": 1, "eta": 0.01}.items()
    assert (provenance["seeds"], provenance["threads"], provenance["training"]["batch_size"]) == ([0, 1], 1, 20)
    assert set(provenance["data"]["hashes"]) == {"train_images", "train_labels", "test_images", "test_labels"}
    assert set(provenance["seconds"]) == {"data", "train", "evaluate", "total"}
    assert provenance["seconds"]["total"] > provenance["seconds"]["train"] == pytest.approx(rows["seconds"].max())


def test_a_run_that_is_stopped_leaves_no_files(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SGD, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.run(experiment(), "sgd", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_progress_hears_of_every_step_and_of_the_end():
    class Listener(Progress):
        def __init__(self):
            self.said, self.done = [], 0

        def start(self, title, steps):
            self.said.append((title, steps))

        def advance(self, steps, loss):
            self.done += steps

        def evaluated(self, metrics):
            self.metrics = metrics

        def finish(self):
            self.said.append("end")

    told = Listener()
    rows, _ = runs.run(experiment(training__ensemble=3), "sgd", progress=told)
    assert told.said == [("tiny sgd", 12), "end"]  # two ensembles of 6 steps
    assert told.done == 12
    last = rows[(rows["member"] == 3) & (rows["step"] == 6)].iloc[0]
    assert told.metrics["test_accuracy"] == last["test_accuracy"]


def test_a_job_of_which_no_member_fits_on_the_device_is_refused(monkeypatch):
    made, _ = start()
    problem = made.problem.__class__(**{**vars(made.problem), "device": torch.device("cuda")})
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**5, 10**9))
    with pytest.raises(MemoryError, match=r"^network: one member needs about .* GiB, 9\.3e-05 GiB are free$"):
        runs._check_memory(problem, SGD)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    runs._check_memory(problem, SGD)
