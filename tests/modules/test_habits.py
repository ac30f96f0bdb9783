"""A torch optimizer in every habit: closures, modes, gradients, hooks."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp
from tests.modules.small import X, Y, equal, loss, net

DEVICES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [sibp.SIBP, partial(sibp.SIBP, variant="armijo"), sibp.ProxBP])
def test_a_step_returns_the_loss_before_it_in_the_models_dtype_and_on_its_device(kind, dtype, device):
    model, x, y = net(dtype, device), X.to(device, dtype), Y.to(device)
    expected = loss(model, x, y)
    value = kind(model.parameters()).step(lambda: loss(model, x, y))
    assert (value.dtype, value.device, value.shape) == (dtype, expected.device, ())
    assert torch.equal(value, expected) and not value.requires_grad


def test_parameters_move_in_place_and_are_shared_with_whoever_holds_them():
    model = net()
    weight, before = model[0].weight, model[0].weight.detach().clone()
    address, version = weight.data_ptr(), weight._version
    sibp.SIBP(model.parameters()).step(lambda: loss(model))
    assert model[0].weight is weight and weight.data_ptr() == address
    assert not torch.equal(weight, before) and weight._version > version
    assert all(p.grad is None for p in model.parameters())


def test_a_closure_may_go_backward_itself():
    plain, torchs, another = net(), net(), net()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    optimizers = {model: sibp.SIBP(model.parameters()) for model in (torchs, another)}

    def closure(model, go):
        optimizers[model].zero_grad()
        value = loss(model)
        go(value)
        return value

    optimizers[torchs].step(lambda: closure(torchs, torch.Tensor.backward))
    assert equal(plain, torchs)
    optimizers[another].step(lambda: closure(another, torch.autograd.backward))
    assert equal(plain, another)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_every_gradient_mode_gives_the_same_step(mode):
    plain, other = net(), net()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    optimizer = sibp.SIBP(other.parameters())
    with mode():
        optimizer.step(lambda: loss(other))
    assert equal(plain, other)


def test_plain_gradients_inside_a_closure_move_nothing():
    model, twin = net(), net()
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(twin, x), x)

    def closure():
        (slope,) = torch.autograd.grad(loss(model, x), x)
        assert equal(model, twin)
        torch.testing.assert_close(slope, expected)
        return loss(model, X + 0.1 * slope.sign())

    sibp.SIBP(model.parameters()).step(closure)
    other = sibp.SIBP(twin.parameters())
    other.step(lambda: loss(twin, X + 0.1 * expected.sign()))
    assert equal(model, twin)


def test_micro_batches_in_one_closure_are_one_joint_problem():
    model, whole = net(), net()
    optimizer = sibp.SIBP(model.parameters(), terms=12)
    optimizer.step(lambda: (loss(model, X[:6], Y[:6]) + loss(model, X[6:], Y[6:])) / 2)
    assert optimizer.report(model)["0.weight"] == "implicit with relu, joint over 2 uses"
    sibp.Oracle(whole.parameters(), "sibp")
    sibp.SIBP(whole.parameters()).step(lambda: loss(whole))
    # the output layer has the same subproblem; below it the error has gone through the old weights instead of the new ones
    assert (model[2].weight - whole[2].weight).abs().max() < 1e-12
    assert (model[0].weight - whole[0].weight).norm() < 0.1 * (whole[0].weight - net()[0].weight).norm()


def test_gradients_are_added_to_what_is_there_as_torch_does():
    model = net()
    oracle = sibp.Oracle(model.parameters(), "proxprop")
    for _ in range(2):
        with oracle:
            loss(model).backward()
    twice = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with oracle:
        loss(model).backward()
    assert all(torch.allclose(a, 2 * p.grad) for a, p in zip(twice, model.parameters(), strict=True))


def test_proxprops_output_layer_has_the_gradient_however_often_it_is_used():
    head, x = nn.Linear(6, 3).double(), X
    closure = lambda: F.cross_entropy(head(x) + head(2 * x), Y)  # noqa: E731
    expected = torch.autograd.grad(closure(), [*head.parameters()])
    with sibp.Oracle(head.parameters(), "proxprop"):
        closure().backward()
    assert all(torch.allclose(p.grad, gradient, rtol=1e-12) for p, gradient in zip(head.parameters(), expected, strict=True))


def test_a_compiled_model_trains_as_the_plain_one():
    plain, model = net(), net()
    compiled = torch.compile(model, backend="eager")
    ours, theirs = sibp.SIBP(model.parameters()), sibp.SIBP(plain.parameters())
    for _ in range(3):
        assert torch.equal(ours.step(lambda: loss(compiled)), theirs.step(lambda: loss(plain)))
    assert equal(plain, model)
    assert ours.report(model)["0.weight"] == "implicit with relu"


def test_hooks_of_torchs_optimizers_are_called():
    model, calls = net(), []
    optimizer = sibp.SIBP(model.parameters())
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    optimizer.step(lambda: calls.append("step") or loss(model))
    assert calls == ["before", "step", "after"]


def test_a_step_leaves_no_garbage_for_pythons_collector():
    import gc

    model = net()
    optimizer = sibp.SIBP(model.parameters())
    optimizer.step(lambda: loss(model))
    gc.collect()
    gc.disable()
    try:
        before = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        for _ in range(5):
            optimizer.step(lambda: loss(model))
        assert sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()) <= before
    finally:
        gc.enable()


def test_stacked_copies_are_refused_by_name():
    """Ensembles of one's own model are not offered: docs/own-network.md."""
    models = [net() for _ in range(2)]
    stacked, _ = torch.func.stack_module_state(models)
    stacked = {name: nn.Parameter(p.detach()) for name, p in stacked.items()}
    run = torch.vmap(lambda p, x: torch.func.functional_call(models[0], p, (x,)), (0, None))
    optimizer = sibp.SIBP(list(stacked.items()))
    with pytest.raises(ValueError, match=r"SIBP: .* and 3 more would have ordinary gradients"):
        optimizer.step(lambda: F.cross_entropy(run(stacked, X).flatten(0, 1), Y.repeat(2)))


def test_the_public_names_are_reachable_from_the_package():
    for name in sibp.__all__:
        assert callable(getattr(sibp, name))
    with pytest.raises(AttributeError, match="module 'sibp' has no attribute 'SIPB'"):
        _ = sibp.SIPB
