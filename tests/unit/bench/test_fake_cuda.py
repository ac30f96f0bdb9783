"""Steps on fake CUDA tensors: nothing in a step may keep it from being recorded, and the kernels that it launches are within budget."""

from dataclasses import replace

import pytest
import torch
from torch.library import custom_op

from sibp.bench import fake_cuda, variants
from sibp.bench.fake_cuda import empty, fake_device, watch
from sibp.bench.operations import Operation
from sibp.kernels.launches import DECLARED, Work
from sibp.methods import registry
from sibp.methods.sgd import SGD
from sibp.nets import activations, losses, papers
from sibp.training import evaluation
from sibp.training.sampling import Batches, Samples
from sibp.training.trainer import Run
from tests.unit.bench.kernel_budgets import BUDGETS, NETWORKS, PER_MEMBER

MLP, CNN = papers.mlp([20, 10, 5]), papers.cnn((2, 4, 4), channels=(3,), pools=1, classes=5)
ALL = {label: name for name in registry.METHODS for label in variants.variants(name)}
SIMPLEST = {label: name for name in registry.METHODS for label in variants.simplest(name)}
CAPTURED_FAULTS = ("transfer", "mix", "alert", "undeclared")


def set_up(mode, name, options, network, members=1, batch=8, loss="cross-entropy"):
    """Return a method on the device and what it steps on."""
    method = registry.build(name, network, losses.get(loss), list(variants.members(options, members)))
    parameters = fake_cuda.affines(mode, network, members)
    state = fake_cuda.started(mode, fake_cuda.on_device(mode, method), parameters)
    x, y = empty(mode, members, batch, *network.input_shape), empty(mode, members, batch, dtype=torch.int64)
    return method, lambda: method.step(parameters, state, x, y)


def quick(options):
    """Return the options with counts of at most 2: enough to see a first and a later iteration."""
    return replace(options, **{key: min(value, 2) for key, value in vars(options).items() if type(value) is int})


def watched(name, options, network, members=1, batch=8, loss="cross-entropy"):
    """Return a method, and what its step does once its state is there."""
    with fake_device() as mode:
        method, step = set_up(mode, name, options, network, members, batch, loss)
        if method.whole_data:
            watch(mode, step)
        return method, watch(mode, step)


def check(method, seen, what):
    """Hold a step against what its method says of it."""
    assert not seen.raised, f"{what}: {seen.raised}"
    if method.capture_obstacle is None:
        assert not seen.faults(), f"{what}: {'; '.join(seen.faults())}"
    else:
        assert seen.reads(), f"{what}: looks at no number, so it can be captured: take its `capture_obstacle` away"
        assert not [fault for fault in seen.fault_counts if fault.kind in CAPTURED_FAULTS], f"{what}: {'; '.join(seen.faults())}"


def networks(name, options):
    """Return those of the two small networks that a method takes; every method takes an MLP."""
    taken = [label for label in ("784-500-10", "cnn") if variants.accepts(name, options, NETWORKS[label])]
    assert taken[0] == "784-500-10"
    return taken


@pytest.mark.parametrize("label", SIMPLEST)
def test_a_step_stays_on_the_device_and_within_its_budget(label):
    name = SIMPLEST[label]
    options = variants.variants(name)[label]
    for network in networks(name, options):
        within_budget(label, network, *watched(name, options, NETWORKS[network]))
        small = {"784-500-10": MLP, "cnn": CNN}[network]
        check(*watched(name, quick(options), small, members=5), f"{label}, {small.name}, 5 members")


def within_budget(label, network, method, seen):
    check(method, seen, f"{label}, {network}")
    budget = BUDGETS[label, network]
    assert seen.kernels <= budget, f"{label}, {network}: {seen.kernels} kernels, {budget} allowed"


@pytest.mark.parametrize("label", ["sgd", "sibp", "sibp variant=armijo"])
def test_a_deep_net_is_within_its_budget(label):
    name = label.split()[0]
    within_budget(label, "784-600x10-10", *watched(name, variants.variants(name)[label], NETWORKS["784-600x10-10"]))


@pytest.mark.parametrize("label", sorted(ALL.keys() - SIMPLEST.keys()))
def test_a_step_of_two_options_stays_on_the_device(label):
    options = quick(variants.variants(ALL[label])[label])
    for network in (MLP, CNN):
        if variants.accepts(ALL[label], options, network):
            check(*watched(ALL[label], options, network, members=2), f"{label}, {network.name}, 2 members")


def test_there_is_no_budget_for_what_is_no_variant():
    taken = {(label, network) for label, name in SIMPLEST.items() for network in networks(name, variants.variants(name)[label])}
    deep = {(label, "784-600x10-10") for label in ("sgd", "sibp", "sibp variant=armijo")}
    assert BUDGETS.keys() == taken | deep


@pytest.mark.parametrize("name", registry.METHODS)
def test_kernels_do_not_grow_with_images_or_members(name):
    options = quick(registry.options(name)())
    for network in (MLP, CNN):
        if not variants.accepts(name, options, network):
            continue
        one, images, members = (watched(name, options, network, *sizes)[1].kernels for sizes in ((1, 40), (1, 80), (2, 40)))
        assert images == one, f"{network.name}: {images - one} more kernels for 40 more images"
        assert members - one <= PER_MEMBER.get(name, 0), f"{network.name}: {members - one} more kernels for another member"


def test_what_the_page_on_speed_promises_is_budgeted():
    promised = {("sgd", "784-500-10"): 40, ("sibp", "784-500-10"): 110, ("sibp", "784-600x10-10"): 450}
    promised |= {("sibp variant=armijo", network): budget for (label, network), budget in promised.items() if label == "sibp"}
    assert all(BUDGETS[key] <= most for key, most in promised.items())


@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_no_loss_or_activation_leaves_the_device(activation, loss):
    network = papers.mlp([20, 10, 5], activation=activation)
    for name in ("sgd", "sibp"):
        check(*watched(name, quick(registry.options(name)()), network, loss=loss), f"{name}, {activation}, {loss}")


# Around the step: what the training loop does at each one must not look at the device either.


@pytest.mark.parametrize("members", [1, 5])
@pytest.mark.parametrize("sampling", ["permutation", "replacement"])
def test_the_sampler_and_the_loop_do_not_look_at_the_device(sampling, members):
    cpu = Samples(torch.zeros(40, 20, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    batches = Batches(cpu, range(members), 10, sampling, torch.float32)
    batches.at(0)
    with fake_device() as mode:
        batches.samples = Samples(empty(mode, 40, 20, dtype=torch.uint8), empty(mode, 40, dtype=torch.int64))
        batches.member, batches._order = empty(mode, members, dtype=torch.int64), empty(mode, members, 40, dtype=torch.int64)
        run = Run(fake_cuda.affines(mode, MLP, members), {}, empty(mode, members, dtype=torch.int64))
        losses_ = empty(mode, members)
        assert not watch(mode, lambda: batches.at(1)).faults()
        assert not watch(mode, lambda: run.mark(~losses_.isfinite())).faults()


@pytest.mark.parametrize("network", [MLP, CNN], ids=["mlp", "cnn"])
def test_measuring_does_not_look_at_the_device(network):
    with fake_device() as mode:
        parameters = fake_cuda.affines(mode, network, 5)
        samples = Samples(empty(mode, 40, *network.input_shape, dtype=torch.uint8), empty(mode, 40, dtype=torch.int64))
        loss = losses.get("cross-entropy")
        assert not watch(mode, lambda: evaluation.measure(network, loss, parameters, samples, torch.float32)).faults()
        assert not watch(mode, lambda: evaluation.prune(parameters, 0.5)).faults()


# The test of the test: each fault, planted, is found with its file and line.


class Planted(SGD):
    """SGD with a fault in its step."""

    def update(self, parameters, state, trace, delta):
        self.fault(trace.output)
        super().update(parameters, state, trace, delta)


FAULTS = {
    "a branch on a value": ("read: _local_scalar_dense", lambda x: bool((x > 1e9).any())),
    "a number": ("read: _local_scalar_dense", lambda x: x.sum().item()),
    "a boolean index": ("read: index", lambda x: x[x > 0]),
    "where": ("read: nonzero", lambda x: torch.where(x > 0)),
    "a constant from the host": ("transfer: _to_copy", lambda x: x + torch.tensor([1.0], device=x.device)),
    "a copy to the host": ("transfer: _to_copy", lambda x: x.cpu()),
    "a tensor left on the host": ("mix: add", lambda x: torch.ops.aten.add(x, torch.ones(5))),
    "no deterministic kernel": ("alert: cumsum", lambda x: x.cumsum(-1)),
    "nor one in place": ("alert: put", lambda x: x.clone().put_(torch.zeros_like(x[0, 0, :1], dtype=torch.int64), x[0, 0, :1])),
    "a kernel that declares nothing": ("undeclared: sibp_test::silent", lambda x: torch.ops.sibp_test.silent(x)),
}


@custom_op("sibp_test::silent", mutates_args=())
def silent(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@custom_op("sibp_test::declared", mutates_args=())
def declared(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


for operator in (silent, declared):
    operator.register_fake(torch.empty_like)


def planted(fault):
    method = Planted(MLP, losses.get("cross-entropy"), [registry.options("sgd")()])
    method.fault = fault
    with fake_device() as mode:
        fake_cuda.on_device(mode, method)
        parameters, x, y = fake_cuda.affines(mode, MLP, 1), empty(mode, 1, 8, 20), empty(mode, 1, 8, dtype=torch.int64)
        return watch(mode, lambda: method.step(parameters, {}, x, y))


@pytest.mark.parametrize("what", FAULTS)
def test_a_planted_fault_is_named_with_its_line(what):
    expected, fault = FAULTS[what]
    faults = planted(fault).faults()
    line = fault.__code__.co_firstlineno
    assert any(said.startswith(expected) and f"test_fake_cuda.py:{line}" in said for said in faults), faults


def test_a_step_without_a_planted_fault_has_none():
    assert not planted(lambda x: None).faults()


def test_a_kernel_of_ours_counts_what_it_declares(monkeypatch):
    monkeypatch.setitem(DECLARED, "sibp_test::declared", lambda x: Work(7, x.nbytes, 3 * x.numel()))
    more, plain = planted(lambda x: torch.ops.sibp_test.declared(x)), planted(lambda x: None)
    assert not more.faults()
    assert more.operations - plain.operations == {Operation("sibp_test::declared", "ours", torch.float32, Work(7, 160, 120)): 1}
    assert more.kernels == plain.kernels + 7


def test_a_step_over_its_budget_is_found(monkeypatch):
    monkeypatch.setitem(BUDGETS, ("sgd", "784-500-10"), 3)
    with pytest.raises(AssertionError, match=r"sgd, 784-500-10: \d+ kernels, 3 allowed"):
        within_budget("sgd", "784-500-10", *watched("sgd", registry.options("sgd")(), NETWORKS["784-500-10"]))


def test_a_flag_that_is_no_longer_true_is_found():
    method, seen = watched("sgd", registry.options("sgd")(), MLP)
    monkey = type("Shy", (type(method),), {"capture_obstacle": "no reason"})
    method.__class__ = monkey
    with pytest.raises(AssertionError, match="can be captured"):
        check(method, seen, "sgd")


def test_an_option_of_a_new_type_is_refused(monkeypatch):
    own = registry.options("sgd")
    new = type("New", (own,), {"__annotations__": {"order": "tuple[int, ...]"}, "order": (1,)})
    monkeypatch.setattr(registry.METHODS["sgd"], "options", new)
    with pytest.raises(TypeError, match=r"New\.order"):
        variants.switches("sgd")


def test_memory_is_what_is_held_at_a_time():
    with fake_device() as mode:
        x = empty(mode, 1000)

        def work():
            first = x + 1
            second = first * 2
            del first
            return second + x

        assert watch(mode, work).peak == 2 * 4000


def test_what_is_counted_of_a_product_is_its_work():
    with fake_device() as mode:
        A, B = empty(mode, 3, 100, 784), empty(mode, 3, 784, 500)
        ((operation, times),) = watch(mode, lambda: A @ B).operations.items()
    assert (operation.name, operation.kind, times) == ("bmm", "product", 1)
    assert operation.work == Work(1, 4 * 3 * (100 * 784 + 784 * 500 + 100 * 500), 2 * 3 * 100 * 784 * 500, 3 * 2 * 8 * 3)
