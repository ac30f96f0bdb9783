"""Steps on a network of one's own on fake CUDA tensors: after the first ones nothing keeps them from being recorded as a graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp
from sibp.bench.check import own
from sibp.bench.fake_cuda import empty, fake_device, watch

NETS = {
    "784-500-10": (lambda: sibp.mlp([784, 500, 10]), (784,)),
    "BatchNorm": (own.network, (2, 4, 4)),
}
KERNELS = {  # what docs/speed.md says; a step more than that needs a reason
    ("sibp", "784-500-10"): 67,
    ("sibp", "BatchNorm"): 125,
    ("proxbp", "784-500-10"): 42,
    ("proxbp", "BatchNorm"): 97,
    ("oracle", "784-500-10"): 42,
    ("oracle", "BatchNorm"): 56,
}


def on_device(mode, model):
    """Replace a module's parameters and buffers by ones on the device that hold nothing."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(empty(mode, *parameter.shape)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, empty(mode, *buffer.shape, dtype=buffer.dtype))
    return model


def backward(tensors, gradients, **_):
    """Do what torch's engine does, which would need the device: call each node of a graph once all its errors are there."""
    order, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for after, _ in node.next_functions:
                if after is not None:
                    visit(after)
            order.append(node)

    (loss,), (error,) = tensors, gradients
    visit(loss.grad_fn)
    errors = {loss.grad_fn: {0: error}}
    with torch.no_grad():
        for node in reversed(order):
            if (given := errors.pop(node, None)) is None:
                continue  # a parameter that has moved already
            call = node.apply if isinstance(node, torch.autograd.function.BackwardCFunction) else node
            sent = call(*(given.get(i) for i in range(len(node._input_metadata))))
            sent = sent if isinstance(sent, tuple) else (sent,)
            for (after, number), error in zip(node.next_functions, sent, strict=False):
                if after is not None and error is not None:
                    there = errors.setdefault(after, {})
                    there[number] = there[number] + error if number in there else error


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    monkeypatch.setattr("sibp.modules.watch._engine_run_backward", backward)


def stepper(kind, model, rest=own.rest):
    """Return how a network is trained, a function of its closure, and its groups."""
    if kind != "oracle":
        optimizer = {"sibp": sibp.SIBP, "proxbp": sibp.ProxBP}[kind](model.parameters(), rest=rest)
        return optimizer.step, optimizer.param_groups
    oracle, sgd = sibp.Oracle(model.parameters(), "proxprop"), torch.optim.SGD(model.parameters(), foreach=False)

    def step(closure):
        sgd.zero_grad()
        with oracle:
            loss = closure()
            loss.backward()
        sgd.step()
        return loss

    return step, sgd.param_groups


def third_step(kind, net, monkeypatch, captured=True, rest=own.rest, rate=None):
    """Return what the third step does, after the first two have made what is kept."""
    build, shape = NETS[net]
    with fake_device() as mode:
        model = on_device(mode, build())
        x, y = empty(mode, 100, *shape), empty(mode, 100, dtype=torch.int64)
        step, groups = stepper(kind, model, rest)
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
        for _ in range(2):
            assert not watch(mode, lambda: step(lambda: F.cross_entropy(model(x), y))).raised
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captured)
        if rate is not None:
            groups[0]["lr"] = rate
        return watch(mode, lambda: step(lambda: F.cross_entropy(model(x), y)))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", ["sibp", "proxbp", "oracle"])
def test_a_captured_step_does_not_look_at_the_device_and_is_within_its_budget(kind, net, monkeypatch):
    seen = third_step(kind, net, monkeypatch)
    assert seen.faults() == []
    assert seen.kernels <= KERNELS[kind, net]


def test_outside_a_graph_a_step_waits_only_for_a_loss_that_rest_must_not_see(monkeypatch):
    assert third_step("sibp", "784-500-10", monkeypatch, captured=False, rest=None).faults() == []
    (fault,) = third_step("sibp", "BatchNorm", monkeypatch, captured=False).faults()
    assert fault.startswith("read: _local_scalar_dense at modules/watch.py")


def test_another_step_size_costs_no_look_at_the_device(monkeypatch):
    assert third_step("sibp", "784-500-10", monkeypatch, captured=False, rest=None, rate=0.01).faults() == []
