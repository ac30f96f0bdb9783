"""What training takes, counted: the counts against what is known of steps, and the seconds against the rates."""

import math
from dataclasses import replace

import pytest
import torch

from sibp.bench import cost, count_cache, fake_cuda, rates
from sibp.bench.cases import CASES
from sibp.bench.fake_cuda import empty, fake_device, watch
from sibp.bench.operations import Operation
from sibp.bench.rates import DEVICES
from sibp.bench.recorder import Count, Fault
from sibp.kernels.launches import Work
from sibp.methods import bcd, registry
from sibp.nets import losses, papers
from sibp.training import evaluation
from sibp.training.ensembles import bytes_per_member
from sibp.training.sampling import Samples
from tests.unit.tiny import experiment

H100 = DEVICES["h100"]
MLP = papers.mlp([784, 6, 10])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(count_cache, "_path", lambda name: tmp_path / "counts" / name)
    monkeypatch.setattr(count_cache, "_counts", {})


def flops(count):
    return sum(operation.work.flops * times for operation, times in count.operations.items())


def test_a_step_of_sgd_does_the_products_that_it_is_made_of():
    options = [registry.options("sgd")()] * 4
    products = [op.work.flops * n for op, n in cost.step("sgd", options, MLP, 20).count.operations.items() if op.kind == "product"]
    assert sum(products) == 4 * 2 * 20 * (2 * 784 * 6 + 3 * 6 * 10)  # forward and gradients of two layers, error of one


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("members", [1, 3])
def test_training_is_steps_times_a_step_s_seconds(kind, members):
    device = H100 if kind == "cuda" else DEVICES["cpu"]
    asked = experiment(seeds=members, methods__sgd__grid=None, training__ensemble=members)
    one = cost.step("sgd", [registry.options("sgd")()] * members, MLP, 20, shared=members == 1, kind=kind)
    estimate = cost.estimate(asked, "sgd", device)
    each = cost._step_seconds(one, device)
    assert estimate.train == pytest.approx(6 * each) and estimate.kernels == one.count.kernels
    assert estimate.seconds == estimate.start + estimate.train + estimate.evaluate + estimate.other


def test_counting_takes_no_memory_so_it_is_never_refused_any(monkeypatch):
    monkeypatch.setattr(bcd, "free_bytes", lambda device: 0)
    assert cost.step("bcd", [registry.options("bcd")()], MLP, 20, kind="cpu").count.operations


def test_a_timed_job_trains_its_members_one_by_one_and_ends_at_its_limit():
    together, alone = (cost.estimate(experiment(training__mode=mode), "sgd") for mode in ("ensemble", "timed"))
    assert alone.train > 3 * together.train
    limited = experiment(training__mode="timed", training__max_seconds=1e-4)
    assert cost.estimate(limited, "sgd").train == pytest.approx(4e-4)
    assert cost.estimate(limited, "sgd").evaluate <= alone.evaluate


def test_a_job_that_insists_on_the_cpu_is_counted_there():
    asked = experiment(training__device="cpu")
    assert cost.estimate(asked, "sgd", "h100").device == "CPU"
    assert cost.estimate(experiment(), "sgd", "h100").device == "H100"


def test_equal_chunks_of_an_evaluation_are_counted_once_and_multiplied(monkeypatch):
    monkeypatch.setattr(evaluation, "chunk_size", lambda *_: 16)
    loss, device = losses.get("cross-entropy"), torch.device("cuda")
    counted = cost._counted_evaluation(MLP, 2, 0, [40], (), loss=loss.name, dtype=torch.float32, device=device)
    with fake_device() as mode:
        parameters = fake_cuda.affines(mode, MLP, 2)
        samples = Samples(empty(mode, 40, 784, dtype=torch.uint8), empty(mode, 40, dtype=torch.int64))
        whole = watch(mode, lambda: evaluation.measure(MLP, loss, parameters, samples, torch.float32))
    assert (counted.kernels, flops(counted)) == (whole.kernels, flops(whole))


def test_a_gradients_norm_is_counted_for_the_jobs_mini_batch():
    few, many = (
        cost._evaluation(MLP, 1, batch, {}, ["first_gradient_norm"], loss="cross-entropy", dtype=torch.float32, kind="cuda")
        for batch in (20, 40)
    )
    assert 1.9 < flops(many) / flops(few) < 2.1


def test_a_count_is_read_from_the_cache_and_a_damaged_one_is_counted_anew(tmp_path, monkeypatch):
    made = []

    def make():
        made.append(1)
        method = registry.build("sgd", MLP, losses.get("cross-entropy"), [registry.options("sgd")()])
        return cost._counted_step(method, (1, 20), "cross-entropy", torch.float32, torch.device("cuda"))

    first = count_cache.cached(("step",), make)
    monkeypatch.setattr(count_cache, "_counts", {})
    again = count_cache.cached(("step",), make)
    assert len(made) == 1 and again[1] == first[1] and again[0].operations == first[0].operations and again[0].peak == first[0].peak
    (file,) = (tmp_path / "counts").iterdir()
    file.write_text("{")
    monkeypatch.setattr(count_cache, "_counts", {})
    assert count_cache.cached(("step",), make)[1] == first[1] and len(made) == 2


def test_an_operation_takes_the_longest_of_launch_memory_and_arithmetic():
    device = replace(H100, launch=5e-6, memory=1e12, cache=2e12, cache_bytes=1e6, flops={torch.float32: 1e12}, processors=100)

    def seconds(kind="map", eager=False, **work):
        return device.operation(Operation("op", kind, torch.float32, Work(**work)), eager=eager)

    assert seconds(kernels=3) == pytest.approx(6e-6) and seconds(kernels=3, eager=True) == pytest.approx(15e-6)
    assert seconds(kernels=1, bytes=10**9) == pytest.approx(1e-3)
    assert seconds(kernels=1000, bytes=10**9) == pytest.approx(2e-3)  # launches; each one's bytes fit into the cache
    assert seconds("product", kernels=1, flops=10**9, tiles=50) == pytest.approx(2e-3)
    assert seconds("product", kernels=1, flops=10**9, tiles=500) == pytest.approx(1e-3)
    assert seconds(kernels=0, bytes=10**9) == 0


def test_looks_at_numbers_cost_what_waiting_costs():
    seen = Count()
    seen.fault_counts[Fault("read", "equal", "a.py:1")] = 3
    assert H100.seconds(seen) == pytest.approx(3 * H100.read)


def test_measured_rates_are_finite_and_positive():
    device = rates.measured(torch.device("cpu"), seconds=0.001)
    numbers = [*device.flops.values(), device.memory, *device.smallest.values()]
    assert all(0 < number < math.inf for number in numbers)


@pytest.mark.parametrize("batch", [100, 500])
@pytest.mark.parametrize("case", ["784-500-10", "784-600x10-10", "cnn", "3072-4000-1000-4000-10"])
@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "proxbp", "proxprop", "sibp"])
def test_estimates_of_memory_are_within_a_factor_of_two_of_the_count(name, case, batch):
    network = CASES[case].network
    counted = cost.step(name, [registry.options(name)()] * 2, network, batch).bytes
    assert 1 / 2 < 2 * bytes_per_member(network, batch, method=registry.get(name)) / counted < 2


def test_bcd_s_memory_is_its_state_s():
    network = papers.mlp([20, 30, 10])
    counted = cost.step("bcd", [registry.options("bcd")()] * 2, network, 60000, shared=True).bytes
    assert 1 / 2 < 2 * bytes_per_member(network, 60000, method=registry.get("bcd")) / counted < 2
