"""Groups of parameters, schedulers, frozen and unfrozen layers."""

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import sibp
from tests.modules.small import equal, loss, net, normed


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


@pytest.mark.parametrize("number", [np.float32, np.array, torch.tensor, lambda value: torch.tensor([value])])
def test_numbers_of_numpy_and_tensors_of_one_number_are_numbers(number):
    model, twin = net(), net()
    optimizer = sibp.SIBP(model.parameters(), eta=number(0.25), lam=number(0.5), max_change=number(0.125), terms=number(8.0))
    optimizer.step(lambda: loss(model))
    sibp.SIBP(twin.parameters(), eta=0.25, lam=0.5, max_change=0.125, terms=8).step(lambda: loss(twin))
    assert equal(model, twin)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(torch.load(file, weights_only=True))
    with pytest.raises(ValueError, match=r"terms: got .*, need a number > 0"):
        sibp.SIBP(model.parameters(), terms=number(0.0))


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
