"""A captured step is the step: the bookkeeping here on any machine, the graphs themselves where there is a GPU."""

import pytest
import torch

from sibp.methods import registry
from sibp.nets import initialisation, losses, papers, propagation
from sibp.training import cuda_graph

NETWORK = papers.mlp([6, 9, 3])
LABELS = {
    "sgd": {"momentum": 0.9},
    "adam": {},
    "rmsprop": {},
    "proxbp": {},
    "proxprop": {},
    "sibp": {},
    "sibp armijo": {"variant": "armijo"},
    "sibp released": {"variant": "released"},
    "sibp released-rowwise": {"variant": "released-rowwise"},
}


def gpu(test):
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test))


def begin(label="sgd", device="cpu", members=2, network=NETWORK):
    """Return a method, parameters and state of an ensemble at step 0."""
    name, options = label.split()[0], LABELS.get(label, {})
    options = [registry.options(name)(**options)] * members
    method = registry.build(name, network, losses.get("cross-entropy"), options, dtype=torch.float64, device=device)
    parameters = initialisation.initialise(network, list(range(members)), std=0.3, dtype=torch.float64, device=device)
    return method, parameters, method.start(parameters)


def batches(count, device="cpu", sizes=(8,)):
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        B = sizes[i % len(sizes)]
        x = torch.randn(1, B, 6, generator=generator, dtype=torch.float64)
        yield x.to(device), torch.randint(0, 3, (1, B), generator=generator).to(device)


def train(step, parameters, state, given):
    told = torch.stack([step(x, y) for x, y in given])
    return [told, *propagation.tensors(parameters), *(tensor for tensors in state.values() for tensor in tensors)]


def replaying(step):
    """Stand in for a graph on a machine without one: warm up, then make the step anew at each replay, into the same tensor."""
    step()
    losses = step()
    return lambda: losses.copy_(step()), losses


@pytest.fixture
def recorded(monkeypatch):
    """Let steps be `recorded` on the CPU; the list grows by one for each recording."""
    made = []
    monkeypatch.setattr(cuda_graph, "_obstacle", lambda parameters: None)
    monkeypatch.setattr(cuda_graph, "record", lambda step: made.append(1) or replaying(step))
    return made


def test_on_a_cpu_steps_run_eagerly_and_say_why():
    method, parameters, state = begin()
    example = next(batches(1))
    step = cuda_graph.captured(method, parameters, state, *example)
    mine = train(step, parameters, state, batches(3))
    method, parameters, state = begin()
    expected = train(lambda x, y: method.step(parameters, state, x, y), parameters, state, batches(3))
    assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))
    assert step.reason == "a graph needs a CUDA device, the parameters are on cpu"


@pytest.mark.parametrize("label", LABELS)
def test_recording_changes_nothing_and_replays_follow_the_mini_batches(label, recorded):
    method, parameters, state = begin(label)
    step = cuda_graph.captured(method, parameters, state, *next(batches(1)))
    mine = train(step, parameters, state, batches(4))
    method, parameters, state = begin(label)
    expected = train(lambda x, y: method.step(parameters, state, x, y), parameters, state, batches(4))
    assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))
    assert step.reason is None and len(recorded) == 1


def test_a_new_shape_is_recorded_once_and_too_many_run_eagerly(recorded):
    method, parameters, state = begin()
    sizes = (8, 4, 3, 2, 1)
    step = cuda_graph.captured(method, parameters, state, *next(batches(1)))
    train(step, parameters, state, batches(10, sizes=sizes))
    assert len(recorded) == cuda_graph.MOST == 4
    assert step.eager_steps == 2


def test_a_step_that_cannot_be_recorded_runs_eagerly_and_says_why(monkeypatch):
    def refuse(step):
        step()
        raise RuntimeError("operation not permitted when stream is capturing\nand a long explanation")

    monkeypatch.setattr(cuda_graph, "_obstacle", lambda parameters: None)
    monkeypatch.setattr(cuda_graph, "record", refuse)
    method, parameters, state = begin()
    before = [tensor.clone() for tensor in propagation.tensors(parameters)]
    step = cuda_graph.captured(method, parameters, state, *next(batches(1)))
    assert step.reason == "not recorded: operation not permitted when stream is capturing"
    assert all(torch.equal(a, b) for a, b in zip(propagation.tensors(parameters), before, strict=True))
    step(*next(batches(1)))
    assert not torch.equal(parameters[0].W, before[0])


def test_the_first_cause_is_named_where_ending_the_recording_fails_too(monkeypatch):
    def refuse(step):
        try:
            raise RuntimeError("a look at a value\nand more")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(cuda_graph, "_obstacle", lambda parameters: None)
    monkeypatch.setattr(cuda_graph, "record", refuse)
    assert cuda_graph.captured(*begin(), *next(batches(1))).reason == "not recorded: a look at a value"


def test_memory_that_runs_out_in_a_recording_is_no_reason_to_run_eagerly(monkeypatch):
    def refuse(step):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(cuda_graph, "_obstacle", lambda parameters: None)
    monkeypatch.setattr(cuda_graph, "record", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        cuda_graph.captured(*begin(), *next(batches(1)))


def test_a_method_that_says_so_is_not_even_tried(recorded):
    method, parameters, state = begin("bcd")
    step = cuda_graph.captured(method, parameters, state, *next(batches(1)))
    assert step.reason == method.capture_obstacle and not recorded


def test_a_method_that_replaces_its_state_is_not_replayed(recorded, monkeypatch):
    monkeypatch.setattr(registry.METHODS["bcd"], "capture_obstacle", None)
    method, parameters, state = begin("bcd")
    step = cuda_graph.captured(method, parameters, state, *next(batches(1)))
    assert step.reason == "bcd replaces its state in a step"
    assert state == {}


@gpu
@pytest.mark.parametrize("label", LABELS)
def test_a_graph_gives_what_eager_steps_give(label):
    method, parameters, state = begin(label, "cuda")
    step = cuda_graph.captured(method, parameters, state, *next(batches(1, "cuda")))
    mine = train(step, parameters, state, batches(5, "cuda", sizes=(8, 5)))
    method, parameters, state = begin(label, "cuda")
    expected = train(lambda x, y: method.step(parameters, state, x, y), parameters, state, batches(5, "cuda", sizes=(8, 5)))
    assert step.reason is None and step.eager_steps == 0
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@gpu
@pytest.mark.parametrize("label", LABELS)
def test_a_step_never_waits_for_the_device(label):
    method, parameters, state = begin(label, "cuda")
    x, y = next(batches(1, "cuda"))
    method.step(parameters, state, x, y)  # libraries may wait while they are set up
    torch.cuda.set_sync_debug_mode("error")
    try:
        method.step(parameters, state, x, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
def test_a_convolutional_step_is_recorded_too():
    network = papers.cnn((2, 4, 4), channels=(3, 4), pools=2, classes=3)
    method, parameters, state = begin("sibp", "cuda", network=network)
    x, y = torch.randn(1, 6, 2, 4, 4, dtype=torch.float64, device="cuda"), torch.arange(6, device="cuda")[None] % 3
    assert cuda_graph.captured(method, parameters, state, x, y).reason is None
