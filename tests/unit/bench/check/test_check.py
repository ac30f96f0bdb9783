"""`sibp check` on the CPU: its blocks pass there, and a planted fault makes the block that is for it fail."""

import json
from types import SimpleNamespace

import pytest
import torch

from sibp import cli
from sibp.bench import variants
from sibp.bench.check import bits, blocks, numbers, own, speed, work
from sibp.bench.check.own import Steps
from sibp.bench.check.report import Report
from sibp.core import precision
from sibp.methods.adam import AdamRule
from sibp.solvers import dispatch
from sibp.training import cuda_graph
from sibp.training.sampling import Batches

FEW = {"adam": ["adam"], "sibp": ["sibp variant=armijo"], "bcd": ["bcd"]}


@pytest.fixture
def report(monkeypatch, tmp_path):
    """A report, and few variants in place of all."""
    monkeypatch.setattr(variants, "simplest", lambda name: FEW.get(name, []))
    precision.configure(1)
    yield Report("cpu", 60.0, tmp_path)
    torch.set_deterministic_debug_mode("default")


def test_numbers_products_and_what_is_around_pass_and_are_kept(report, tmp_path):
    for block in (numbers.numbers, numbers.products, numbers.around):
        block(report)
    report.write()
    kept = json.loads((tmp_path / "check.json").read_text())
    assert kept["passed"] and [verdict["block"] for verdict in kept["verdicts"]] == ["numbers", "products", "around"]
    assert kept["numbers"]["rows"] == 5 and kept["numbers"]["float64"] < 1e-10


def test_a_wrong_number_in_a_kernel_is_found(report, monkeypatch, capsys):
    solve = dispatch.minimise
    monkeypatch.setattr(dispatch, "minimise", lambda *given: solve(*given).mul_(1 + 1e-5))
    numbers.numbers(report)
    assert report.failed == ["numbers"]
    assert "sibp variant=armijo mlp" in capsys.readouterr().out


def test_a_row_that_raises_is_told_and_the_others_go_on(report, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(AdamRule, "move", broken)
    numbers.numbers(report)
    assert report.failed == ["numbers"] and report.data["numbers"]["rows"] == 5
    assert report.data["numbers"]["bad"] == ["adam mlp: RuntimeError no such kernel", "adam cnn: RuntimeError no such kernel"]
    assert report.data["tracebacks"].keys() == {"numbers, adam mlp", "numbers, adam cnn"}
    assert report.data["tracebacks"]["numbers, adam mlp"].endswith("RuntimeError: no such kernel\nand more\n")


def test_rounded_products_are_found(report, monkeypatch):
    true = torch.conv2d
    rounded = lambda X, K: true(X.bfloat16(), K.bfloat16()).float() if X.dtype == torch.float32 else true(X, K)  # noqa: E731
    monkeypatch.setattr(torch, "conv2d", rounded)
    numbers.products(report)
    assert report.failed == ["products"] and report.data["products"]["conv2d"] > 1e-3


def test_another_order_of_samples_is_found(report, monkeypatch):
    true, count = Batches._draw, iter(range(1000))
    monkeypatch.setattr(Batches, "_draw", lambda self, epoch: true(self, epoch + next(count)))
    numbers.around(report)
    assert report.failed == ["around"] and any(fault.startswith("sampler") for fault in report.data["around"])


def test_runs_again_and_resumed_are_equal_to_the_bit(report, monkeypatch):
    monkeypatch.setattr(bits, "RUNS", {"sgd momentum=0.5": "mlp"})
    bits.again(report)
    assert not report.failed and report.data["again"]["experiments"] == 1


def test_a_run_that_differs_is_found(report, monkeypatch):
    true, count = Batches._draw, iter(range(1000))
    monkeypatch.setattr(bits, "RUNS", {"sgd momentum=0.5": "mlp"})
    monkeypatch.setattr(Batches, "_draw", lambda self, epoch: true(self, epoch + next(count)))
    bits.again(report)
    assert report.failed == ["again"]


def test_steps_are_timed_beside_torch_s(report, monkeypatch):
    monkeypatch.setattr(speed, "ON_CPU", (("784-500-10", 1, 20),))
    monkeypatch.setattr(speed, "TIMED", {"sibp newton": ("sibp", {})})
    speed.speed(report)
    rows = {row["method"]: row for row in report.data["speed"]}
    assert rows.keys() == {"torch SGD", "torch Adam", "sibp newton"} and not report.failed
    assert all(row["eager"] > 0 for row in rows.values()) and rows["sibp newton"]["counted_seconds"] > 0


@pytest.mark.parametrize(
    ("kernels", "peak", "said"), [(300, 1000, "300 kernels, 75 counted"), (75, 3000, "3000 bytes, 1000 counted")]
)
def test_counts_that_are_far_from_what_was_measured_are_faults(kernels, peak, said):
    row = speed.Row("784-500-10", 1, "sibp newton", kernels=kernels, counted_kernels=75, peak=peak, counted_peak=1000)
    assert [fault for fault in row.faults() if said in fault]
    assert not list(speed.Row("784-500-10", 1, "sibp newton", kernels=80, counted_kernels=75, peak=900, counted_peak=1000).faults())


def test_a_block_that_raises_fails_and_the_rest_runs(monkeypatch, tmp_path, capsys):
    def broken(report):
        raise OSError("the device is gone")

    monkeypatch.setattr(blocks, "BLOCKS", {"rates": broken, "products": numbers.products})
    assert blocks.main("cpu", 60.0, tmp_path) == 1
    out = capsys.readouterr().out
    assert "FAIL  rates     OSError: the device is gone" in out and "PASS  products" in out
    kept = json.loads((tmp_path / "check.json").read_text())
    assert kept["passed"] is False and kept["tracebacks"]["rates"].endswith("OSError: the device is gone\n")
    torch.set_deterministic_debug_mode("default")


def test_when_time_is_over_the_blocks_left_are_named_and_nothing_checked_is_no_pass(tmp_path, capsys):
    assert blocks.main("cpu", 0.0, tmp_path) == 1
    assert capsys.readouterr().out.startswith(f"FAIL: nothing was checked; no time for {', '.join(blocks.BLOCKS)}")
    assert json.loads((tmp_path / "check.json").read_text())["passed"] is False
    torch.set_deterministic_debug_mode("default")


def test_the_command_runs_single_blocks_and_refuses_others(tmp_path, capsys):
    assert cli.main(["check", "--device", "cpu", "--only", "products", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "check.json").exists()
    assert cli.main(["check", "--device", "cpu", "--only", "product"]) == 2
    assert "did you mean 'products'" in capsys.readouterr().err
    torch.set_deterministic_debug_mode("default")


def test_members_of_a_row_differ_and_numbers_are_the_same_everywhere():
    method, parameters, _ = work.begin(("sgd momentum=0.5", "mlp"), "cpu", torch.float64)
    assert len(set(method.column["eta"].flatten().tolist())) == len(parameters[0].W) == 3
    first, second = (work.stepped(("sgd momentum=0.5", "mlp"), "cpu", torch.float64) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert work.distance([torch.full((2,), float("nan"))], [torch.ones(2)]) == float("inf")


def test_steps_on_a_module_of_ones_own_are_made_and_timed(report, capsys):
    own.modules(report)
    assert not report.failed and "nothing is captured on a CPU" in capsys.readouterr().out
    assert {method: list(times) for method, times in report.data["modules"].items()} == {"SIBP": ["eager"], "ProxBP": ["eager"]}


def test_captured_steps_of_a_module_that_differ_are_found(report, monkeypatch):
    made = []

    def record(step):  # what a graph's replay does but for one number
        for _ in range(cuda_graph.WARM_UP):
            step()
        return lambda: (step(), made.append(step.model[0].weight.data.mul_(1 + 1e-6))), None

    monkeypatch.setattr(own, "cuda_graph", SimpleNamespace(record=record, WARM_UP=cuda_graph.WARM_UP))
    monkeypatch.setattr(own, "Steps", lambda model, method, _device: Steps(model, method, "cpu"))
    monkeypatch.setattr(own, "seconds_of", lambda *_: 1.0)
    report.device = "cuda"
    own.modules(report)
    assert made and report.failed == ["modules"] and "captured" in report.data["modules"]["SIBP"]
