"""What the optimizers say of how each parameter was trained."""

import torch
from torch import nn
from torch.nn import functional as F

import sibp
from tests.modules.small import X, Y, loss, normed


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
