"""A torch optimizer in every habit: groups, schedulers, closures, modes, hooks, reports."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp

DEVICES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


def net(dtype=torch.float64, device="cpu"):
    return sibp.mlp([6, 8, 3], std=0.4, dtype=dtype, device=device)


def normed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


X = torch.randn(12, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(12) % 3


def loss(model, x=X, y=Y):
    return F.cross_entropy(model(x), y)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


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


def test_groups_have_their_own_options():
    model = net()
    optimizer = sibp.SIBP(
        [{"params": model[0].parameters(), "eta": 0.3, "lam": 0.2}, {"params": model[2].parameters(), "max_change": 0.5}], eta=0.05
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.05]
    assert [group["lam"] for group in optimizer.param_groups] == [0.2, 0.5]
    first, last = net(), net()  # the layers differ from nets with one of the two settings only where they should
    optimizer.step(lambda: loss(model))
    sibp.SIBP(first.parameters(), eta=0.3, lam=0.2).step(lambda: loss(first))
    sibp.SIBP(last.parameters(), eta=0.05, max_change=0.5).step(lambda: loss(last))
    assert torch.equal(model[2].weight, last[2].weight) and not torch.equal(model[2].weight, first[2].weight)


def test_a_group_that_is_not_implicit_goes_to_rest_with_its_own_options():
    model, twin = net(), net()
    groups = [
        {"params": model[0].parameters()},
        {"params": model[2].parameters(), "implicit": False, "lr": 0.5, "weight_decay": 0.1},
    ]
    optimizer = sibp.SIBP(groups, rest=torch.optim.SGD)
    assert optimizer.rest.param_groups[1]["lr"] == 0.5 and optimizer.rest.param_groups[1]["weight_decay"] == 0.1
    optimizer.step(lambda: loss(model))
    sgd = torch.optim.SGD(twin[2].parameters(), lr=0.5, weight_decay=0.1)
    loss(twin).backward()
    sgd.step()
    assert torch.equal(model[2].weight, twin[2].weight)
    report = optimizer.report(model)
    assert report["0.weight"] == "implicit with relu"
    assert report["2.weight"] == "first order, because it is in a group with implicit: False"


def test_parameters_that_are_unfrozen_later_join():
    model = normed()
    model[0].requires_grad_(False)
    optimizer = sibp.SIBP(model[3].parameters(), rest=torch.optim.AdamW)
    optimizer.step(lambda: loss(model))
    before = model[0].weight.clone()
    model[0].requires_grad_(True)
    optimizer.add_param_group({"params": [*model[0].parameters(), *model[1].parameters()], "eta": 0.2})
    optimizer.step(lambda: loss(model))
    assert not torch.equal(model[0].weight, before)
    assert optimizer.report(model)["1.weight"] == "first order, because it is used by NativeBatchNorm"
    with pytest.raises(ValueError, match="lam: got -1"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))], "lam": -1})
    assert len(optimizer.param_groups) == 2


def test_frozen_layers_stay_and_the_error_goes_through_them():
    model = sibp.mlp([6, 8, 8, 3], std=0.4, dtype=torch.float64)
    model[2].requires_grad_(False)
    model[4].bias.requires_grad_(False)
    before = copy.deepcopy(model)
    optimizer = sibp.SIBP(model.parameters())
    optimizer.step(lambda: loss(model))
    moved = {name: not torch.equal(p, q) for (name, p), q in zip(model.named_parameters(), before.parameters(), strict=True)}
    assert moved == {"0.weight": True, "0.bias": True, "2.weight": False, "2.bias": False, "4.weight": True, "4.bias": False}
    assert optimizer.report(model)["2.weight"] == "frozen"


def changed(change):
    """Return a model after two steps with a change between them."""
    model = net()
    optimizer = sibp.SIBP(model.parameters(), eta=0.1)
    optimizer.step(lambda: loss(model))
    change(optimizer)
    optimizer.step(lambda: loss(model))
    return model


def set_value(key, value, optimizer):
    optimizer.param_groups[0][key] = value


def test_what_is_set_in_a_group_counts_from_the_next_step_on():
    models = [changed(partial(set_value, *pair)) for pair in [("lr", 0.1), ("lr", 0.2), ("lam", 0.1), ("cg_steps", 2)]]
    assert not any(equal(models[0], other) for other in models[1:])
    still = changed(lambda o: set_value("lr", 0.0, o))
    once = net()
    sibp.SIBP(once.parameters(), eta=0.1).step(lambda: loss(once))
    assert equal(still, once)  # a schedule that has come to 0


def test_torchs_schedulers_schedule_eta():
    model, twin = net(), net()
    optimizer, plain = sibp.SIBP(model.parameters(), eta=0.4), sibp.SIBP(twin.parameters(), eta=0.4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for i in range(4):
        optimizer.step(lambda: loss(model))
        scheduler.step()
        plain.param_groups[0]["lr"] = 0.4 * 0.5**i
        plain.step(lambda: loss(twin))
    assert optimizer.param_groups[0]["lr"] == 0.4 * 0.5**4
    assert equal(model, twin)


def test_a_module_that_changes_between_steps_is_trained_as_it_is():
    for _ in range(20):
        model = net()
        optimizer = sibp.SIBP(model.parameters())
        optimizer.step(lambda: loss(model))  # noqa: B023
        model[1] = nn.Sigmoid()
        model[1] = nn.Tanh()
        twin = copy.deepcopy(model)
        assert torch.equal(optimizer.step(lambda: loss(model)), loss(twin))  # noqa: B023
        sibp.SIBP(twin.parameters()).step(lambda: loss(twin))  # noqa: B023
        assert equal(model, twin)


def test_batches_of_another_size_and_of_one_are_taken():
    model = net()
    optimizer = sibp.SIBP(model.parameters())
    for size in (12, 5, 1):
        assert optimizer.step(lambda: loss(model, X[:size], Y[:size])).isfinite()  # noqa: B023
    assert optimizer.report(model)["0.weight"] == "implicit with relu"


class Experts(nn.Module):
    """Two experts, a convolution and a dense one, of which samples go to one or to the other."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(1, 4, (1, 3)), nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x, to_left):
        left, right = self.left(x[to_left, None, None]).relu().flatten(1), self.right(x[~to_left]).relu()
        return self.head(torch.cat([left, right]))


@pytest.mark.parametrize("to_left", [True, False])
def test_a_layer_that_no_row_went_through_stays_and_needs_no_rest(to_left):
    torch.manual_seed(0)
    model, x, y = Experts(), torch.randn(6, 3), torch.randint(3, (6,))
    before = copy.deepcopy(model.state_dict())
    loss = lambda: F.cross_entropy(model(x, torch.full((6,), to_left)), y)  # noqa: E731
    oracle = sibp.Oracle(model.parameters(), "sibp")
    with oracle:
        loss().backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad.any()}
    assert moved == {"left" if to_left else "right", "head"}
    sibp.SIBP(model.parameters()).step(loss)
    assert moved == {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def test_what_a_functorch_transform_differentiates_is_autograds():
    """A derivative along the inputs inside the closure changes nothing of the step; a batch that `vmap` takes apart is first order."""
    models, (x, y) = [sibp.mlp([4, 5, 3], std=0.5, seed=0) for _ in range(2)], (torch.rand(6, 4), torch.arange(6) % 3)
    plain, both = (sibp.SIBP(model.parameters()) for model in models)
    plain.step(lambda: F.cross_entropy(models[0](x), y))
    slope = lambda: torch.func.vjp(models[1], x)[1](torch.ones(6, 3))[0]  # noqa: E731
    both.step(lambda: F.cross_entropy(models[1](x), y) + 0 * slope().detach().sum())
    assert all(torch.equal(p, q) for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True))
    with pytest.raises(ValueError, match="would have ordinary gradients"):
        both.step(lambda: F.cross_entropy(torch.vmap(models[1])(x), y))


def test_non_contiguous_inputs_and_weights_are_taken():
    plain, other = net(), net()
    other[0].weight = nn.Parameter(other[0].weight.detach().t().contiguous().t())
    assert not other[0].weight.is_contiguous()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    sibp.SIBP(other.parameters()).step(lambda: loss(other, X.repeat_interleave(2, 1)[:, ::2]))
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(plain.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.to_sparse_csr,
        lambda x: torch.nested.nested_tensor(list(x.split(6)), layout=torch.jagged),
    ],
    ids=["coo", "csr", "jagged"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_a_layer_whose_input_has_no_rows_is_autograds(make):
    model, x = net(), make(X)
    rows = (lambda z: torch.nested.to_padded_tensor(z, 0.0).flatten(0, 1)) if x.is_nested else torch.relu
    closure = lambda: F.cross_entropy(model[2](rows(model[0](x))), Y)  # noqa: E731
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"0\..* and 1 more would have ordinary gradients"):
        sibp.SIBP(model.named_parameters()).step(closure)
    assert equal(model, before)
    optimizer = sibp.SIBP(model.parameters(), rest=torch.optim.SGD)
    optimizer.step(closure)
    report = optimizer.report(model)
    assert report["0.weight"].startswith("first order") and report["2.weight"] == "implicit"


@pytest.mark.parametrize("options", [{}, {"solver": "exact"}])
def test_a_loss_without_a_value_changes_nothing(options):
    model = normed()
    bad = X.clone()
    bad[3, 2] = float("nan")
    optimizer = (sibp.ProxBP if options else sibp.SIBP)(model.parameters(), rest=torch.optim.AdamW, **options)
    optimizer.step(lambda: loss(model))
    before, rest = copy.deepcopy(model), copy.deepcopy(optimizer.rest.state_dict())
    assert optimizer.step(lambda: loss(model, bad)).isnan()
    assert equal(model, before)
    now = optimizer.rest.state_dict()["state"]
    assert all(torch.equal(a, now[i][k]) for i, state in rest["state"].items() for k, a in state.items())


def test_autocast_solves_in_the_parameters_dtype():
    model = net(torch.float32)
    optimizer, x = sibp.SIBP(model.parameters()), X.float()
    before = loss(model, x).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [optimizer.step(lambda: loss(model, x)).item() for _ in range(10)]
    assert losses[-1] < 0.95 * losses[0] and losses[0] == pytest.approx(before, rel=0.01)
    assert model[0].weight.dtype == torch.float32
    assert (model[0].weight != model[0].weight.bfloat16()).any()  # more digits than the forward pass has


def test_another_default_device_is_no_matter():
    plain, other = net(), net()
    sibp.SIBP(plain.parameters()).step(lambda: loss(plain))
    optimizer = sibp.SIBP(other.parameters())
    with torch.device("meta"):
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


def test_the_report_names_parameters_and_prints():
    model = normed()
    optimizer = sibp.SIBP(model.named_parameters(), rest=torch.optim.AdamW)
    assert set(optimizer.report(model).values()) == {"no step yet"}
    optimizer.step(lambda: loss(model))
    assert optimizer.report(model) == {
        "0.weight": "implicit",
        "0.bias": "implicit",
        "1.weight": "first order, because it is used by NativeBatchNorm",
        "1.bias": "first order, because it is used by NativeBatchNorm",
        "3.weight": "implicit",
        "3.bias": "implicit",
    }
    assert "3.weight  implicit" in repr(optimizer) and "83 of 99 numbers implicit" in repr(optimizer)
    alone = sibp.SIBP([model[3].weight], rest=torch.optim.AdamW)
    alone.step(lambda: loss(model))
    assert alone.report(model)["3.bias"] == "not one of this optimizer's parameters"
    unused = nn.Linear(2, 2)
    assert sibp.SIBP([*model.parameters(), *unused.parameters()], rest=torch.optim.AdamW).report(unused)["weight"] == "no step yet"


def test_parameters_that_have_no_shape_yet_are_printed_and_trained():
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3)).double()
    optimizer = sibp.SIBP(model.named_parameters())
    assert "0.weight  no step yet" in repr(optimizer)
    optimizer.step(lambda: F.cross_entropy(model[2](torch.tanh(model[0](X), out=None)), Y))
    assert "0.weight  implicit with tanh" in repr(optimizer) and "83 of 83 numbers implicit" in repr(optimizer)


def test_the_oracle_reports_too():
    model = normed()
    oracle = sibp.Oracle(model.named_parameters(), "sibp")
    with oracle:
        loss(model).backward()
    assert oracle.report(model)["3.weight"] == "implicit"
    assert "1.weight  first order, because it is used by NativeBatchNorm" in repr(oracle)


def test_the_activation_is_inside_only_if_nothing_else_reads_the_pre_activation():
    layer, head = nn.Linear(6, 8).double(), nn.Linear(8, 3).double()
    params = [*layer.parameters(), *head.parameters()]

    def how(forward):
        optimizer = sibp.SIBP(params)
        optimizer.step(lambda: F.cross_entropy(head(forward(layer(X))), Y))
        return optimizer.report(layer)["weight"]

    assert how(F.relu) == "implicit with relu"
    assert how(lambda z: torch.tanh(z)) == "implicit with tanh"
    assert how(lambda z: F.leaky_relu(z, 0.2)) == "implicit"  # no such activation in the engine
    assert how(lambda z: F.relu(z) + z) == "implicit"
    assert how(lambda z: F.relu(z) + torch.sigmoid(z)) == "implicit"
    assert how(lambda z: F.relu(z.mul_(2))) == "implicit"
    assert how(lambda z: F.relu_(z)) == "implicit with relu"


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
