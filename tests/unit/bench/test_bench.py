"""The bench measures what it says; no test here depends on how fast anything is."""

import copy
import io
import json
from functools import partial

import pytest
import torch
from torch import nn

import sibp
from sibp import cli, methods
from sibp.bench import cases, ensembles, labels, memory, report, timed, timing
from sibp.bench import measure as bench
from sibp.bench.released import released_step
from sibp.bench.steps import STEPS
from sibp.bench.timed import Case
from sibp.bench.timing import Timing
from sibp.kernels import native
from sibp.nets import papers
from sibp.solvers import dispatch

CPU = torch.device("cpu")
SMALL = Case("small", papers.mlp([20, 30, 10]), batch=10, steps=tuple(STEPS))
needs_compiler = pytest.mark.skipif(native.status() != "compiled", reason=native.status())


# ---- timing


def test_steps_take_turns_in_rounds_after_a_warm_up():
    called = []
    timed = timing.interleaved({name: lambda name=name: called.append(name) for name in "abc"}, CPU, budget=0.0, calls=2)
    warm, rounds = called[: 3 * timing.WARM_UP], called[3 * timing.WARM_UP :]
    assert warm == list("aaabbbccc")
    assert len(rounds) == timing.LEAST * 3 * 3  # one untimed call and two timed ones
    for number in range(timing.LEAST):
        turn = rounds[9 * number : 9 * number + 9]
        assert sorted(turn[::3]) == list("abc") and turn[::3] == turn[1::3] == turn[2::3]
    assert all(len(timed[name].wall) == len(timed[name].cpu) == timing.LEAST for name in "abc")


def test_a_long_step_is_called_once_to_warm_up_and_never_untimed_again(monkeypatch):
    called = []
    monkeypatch.setattr(timing, "LONG", 0.0)
    timing.interleaved({"a": lambda: called.append("a")}, CPU, budget=0.0)
    assert len(called) == 1 + timing.LEAST


def test_more_time_gives_more_rounds_up_to_a_limit():
    timed = timing.interleaved({"a": lambda: None}, CPU, budget=1e9)
    assert len(timed["a"].wall) == timing.MOST


def test_a_timing_is_told_by_median_least_and_quartiles():
    summary = Timing(wall=(9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), cpu=(2.0, 1.0, 3.0)).summary()
    assert summary["median_seconds"] == 5 and summary["min_seconds"] == 1 and summary["rounds"] == 9
    assert (summary["lower_quartile_seconds"], summary["upper_quartile_seconds"]) == (2.5, 7.5)
    assert summary["median_cpu_seconds"] == 2 and summary["min_cpu_seconds"] == 1


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_its_power(p):
    sizes = [25, 50, 100, 400]
    assert timing.exponent(sizes, [3e-6 * size**p for size in sizes]) == pytest.approx(p)


# ---- what is timed


def products(case, *, first, gradient=True):
    """Multiply-adds of a forward pass, the adjoints, and the products with the shape of a gradient."""
    shapes = [(layer.fan_in, layer.fan_out) for layer in case.network.layers]
    every = sum(i * o for i, o in shapes)
    return case.batch * (every * (1 + gradient) + every - (0 if first else shapes[0][0] * shapes[0][1]))


def test_operations_of_sgd_are_two_products_a_layer_and_one_less_for_the_first():
    step = STEPS["torch SGD"].build(SMALL, CPU)
    assert timed.count_operations(step) == 2 * products(SMALL, first=False)


@pytest.mark.parametrize("cg_steps", [5, 20])
def test_operations_of_sibp_are_those_of_sgd_and_the_small_products_of_the_batch(cg_steps):
    B, shapes = SMALL.batch, [(layer.fan_in, layer.fan_out) for layer in SMALL.network.layers]
    extra = sum(B * B * i + cg_steps * B * B * o for i, o in shapes)
    step = STEPS[f"SIBP, {cg_steps} CG steps"].build(SMALL, CPU)
    assert timed.count_operations(step) == 2 * (products(SMALL, first=False) + extra)


def test_operations_in_weight_space_are_two_products_a_layer_and_iteration():
    step = STEPS["SIBP, 5 CG steps, weight space"].build(SMALL, CPU)
    solving = 10 * SMALL.batch * sum(layer.fan_in * layer.fan_out for layer in SMALL.network.layers)
    assert timed.count_operations(step) == 2 * (products(SMALL, first=False, gradient=False) + solving)


def test_the_authors_program_makes_the_steps_of_the_released_variant(randn):
    model = sibp.mlp([20, 15, 12, 10], std=0.3, dtype=torch.float64)
    mine = copy.deepcopy(model)
    for _ in range(3):
        x, y = randn(16, 20).abs(), torch.arange(16) % 10
        methods.step(model, "sibp", x, y, eta=0.1, lam=0.5, cg_steps=5, variant="released")
        released_step([layer for layer in mine if isinstance(layer, nn.Linear)], x, y, eta=0.1, lam=0.5, cg_steps=5)
    for a, b in zip(mine.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@needs_compiler
def test_sibp_on_a_cpu_runs_the_kernels_unless_told_otherwise(monkeypatch):
    seen = []

    def counted(kernel, *given):
        seen.append(1)
        return kernel(*given)

    for name in ("update", "minimise"):  # both, or the subproblem alone
        monkeypatch.setattr(dispatch, name, partial(counted, getattr(dispatch, name)))
    model = sibp.mlp([20, 30, 10])
    optimizer, x, y = sibp.SIBP(model.parameters()), torch.rand(10, 20), torch.arange(10)
    step = partial(optimizer.step, lambda: nn.functional.cross_entropy(model(x), y))
    step()
    assert len(seen) == 2  # one call a layer
    with native.off():
        step()
    assert len(seen) == 2
    STEPS["SIBP, 5 CG steps, no kernels"].build(SMALL, CPU)()
    assert len(seen) == 2


def test_every_case_names_steps_and_every_promise_names_what_is_timed():
    for case in (cases.CASES | cases.QUICK).values():
        assert set(case.steps) <= set(STEPS) and case.steps[0] == labels.SGD
    group = ensembles.steps(SMALL, 2, CPU)
    for bound in cases.BOUNDS:
        timed = group if bound.case == "ensemble" else cases.CASES[bound.case].steps
        assert {bound.step, bound.reference} <= set(timed)


# ---- the whole


def test_a_step_that_cannot_run_is_left_out_with_its_reason():
    network = papers.cnn((1, 8, 8), channels=(2,), pools=1, classes=3)
    case = Case("small cnn", network, batch=4, steps=("torch SGD", "BCD", "SIBP, 5 CG steps, graph"))
    sgd, bcd, graph = bench._case(case, CPU, peak=1e9, quick=True, seconds=0.0)["steps"]
    assert sgd["ratio"] == 1 and sgd["share_of_ceiling"] == sgd["operations_per_second"] / 1e9
    assert bcd.keys() == graph.keys() == {"step", "skipped"}
    assert bcd["skipped"].startswith("bcd") and graph["skipped"] == "a graph needs a CUDA device"


@pytest.fixture
def paced(monkeypatch):
    """Timings that are given instead of measured: seconds by step, one second for all others."""
    seconds = {}

    def interleaved(calls, device, budget, repeats):
        return {label: Timing((seconds.get(label, 1.0),) * 2, (1.0, 1.0)) for label in calls}

    monkeypatch.setattr(bench, "interleaved", interleaved)
    return seconds


def test_ratios_are_to_the_default_and_to_the_form_with_the_least_median(paced):
    paced.update({labels.SGD: 2.0, f"{labels.SGD}, fused": 1.6, labels.ADAM: 4.0, f"{labels.ADAM}, foreach": 3.2, labels.SIBP: 2.4})
    steps = (labels.SGD, f"{labels.SGD}, fused", labels.ADAM, f"{labels.ADAM}, foreach", labels.SIBP)
    case = Case("small", papers.mlp([20, 30, 10]), batch=10, steps=steps)
    made = bench._case(case, CPU, peak=1e9, quick=True, seconds=0.0)
    assert made["best"] == {labels.SGD: f"{labels.SGD}, fused", labels.ADAM: f"{labels.ADAM}, foreach"}
    sibp_row = made["steps"][-1]
    ratios = [sibp_row[key] for key in ("ratio", "best_ratio", "adam_ratio", "best_adam_ratio")]
    assert ratios == pytest.approx([1.2, 1.5, 0.6, 0.75])
    assert sibp_row["floor"] == STEPS[labels.SIBP].solves.floor(case.network, 10) > 1


def test_a_call_of_several_batches_counts_once_each_in_every_ratio(paced):
    paced["BCD"] = 8.0
    case = Case("small", papers.mlp([20, 30, 10]), batch=10, steps=(labels.SGD, "BCD"))
    bcd = bench._case(case, CPU, peak=1e9, quick=True, seconds=0.0)["steps"][-1]
    assert bcd["ratio"] == bcd["best_ratio"] == 1 and not {"adam_ratio", "floor"} & bcd.keys()


def test_what_takes_too_long_to_compile_is_the_last_that_is_compiled(paced, monkeypatch):
    monkeypatch.setattr(bench, "COMPILING", -1.0)
    label = f"{labels.SGD}, compiled and fused"
    case = Case("small", papers.mlp([20, 30, 10]), batch=10, steps=(labels.SGD, label))
    made = bench._case(case, CPU, peak=1e9, quick=True, seconds=0.0)
    assert made["steps"][-1]["skipped"].startswith("compiling took 0 s on this case already, at most")
    assert made["best"] == {labels.SGD: labels.SGD}


def row(step, seconds):
    return {"step": step, "median_seconds": seconds, "min_seconds": seconds / 2}


def test_a_promise_is_kept_by_its_median_and_only_asked_for_its_threads():
    given = [row(labels.SIBP, 1.2), row(labels.SGD, 1.0), {"step": labels.ADAM, "skipped": "no"}]
    result = {
        "cases": [{"case": "784-500-10", "steps": given}],
        "ensemble": {"steps": [row(labels.ENSEMBLE, 2), row(labels.LOOP, 1)]},
    }
    (sgd,) = bench._bounds(result, threads=1)
    assert (sgd["ratio"], sgd["min_ratio"], sgd["most"], sgd["kept"]) == (1.2, 1.2, 1.3, True)
    _, group = bench._bounds(result, threads=2)
    assert (group["step"], group["ratio"], group["kept"]) == (labels.ENSEMBLE, 2, False)
    assert list(bench._bounds(result, threads=3)) == []


@pytest.fixture
def hasty(monkeypatch):
    """Few rounds and small sizes."""
    monkeypatch.setattr(timing, "LEAST", 2)
    monkeypatch.setattr(bench, "QUICK_SECONDS", 0.0)
    monkeypatch.setattr(bench, "QUICK_MEMBERS", 2)


def test_the_command_prints_tables_and_writes_json(hasty, tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--cases", "784-32-10", "--threads", "1", "--json", str(path)]) == 0
    result, shown = json.loads(path.read_text()), capsys.readouterr().out
    assert [case["case"] for case in result["cases"]] == ["784-32-10"]
    about = result["environment"]
    assert about["threads"] == 1 and about["kernels"] == native.status() and about["quick"] is True
    assert {"load_before", "load_after", "device", "versions"} <= about.keys()
    for row in result["cases"][0]["steps"]:
        if "skipped" in row:
            assert row["step"].startswith("torch") and row["skipped"] == "a graph needs a CUDA device"
            continue
        assert row["rounds"] == 2 and row["median_seconds"] > 0 and row["operations"] > 0
        assert f"{1e3 * row['median_seconds']:.2f}" in shown
    assert {s["over"] for s in result["scaling"]} == {"batch", "parameters"}
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_a_terminal_gets_drawn_tables(hasty):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    report.show(bench.measure(CPU, 1, ["784-16x3-10"], quick=True), shown)
    assert "┃" in shown.getvalue() and "SIBP, 5 CG steps │" in shown.getvalue()


def test_a_case_that_is_misspelt_is_refused_before_anything_is_timed(capsys):
    assert cli.main(["bench", "--cases", "784-500-1O"]) == 2
    assert "case: got '784-500-1O'" in (told := capsys.readouterr().err) and "did you mean '784-500-10'?" in told


def test_memory_holds_at_least_what_the_step_must_keep():
    peak = memory.peak_bytes("784-500-10", labels.SIBP, "cpu", 1)
    parameters = 4 * cases.CASES["784-500-10"].network.parameter_count
    assert parameters <= peak < 20 * parameters


def test_a_measurement_of_memory_that_fails_says_why():
    with pytest.raises(RuntimeError, match="memory of no such step on 784-500-10: KeyError: 'no such step'"):
        memory.peak_bytes("784-500-10", "no such step", "cpu", 1)
