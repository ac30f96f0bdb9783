"""Block coordinate descent as an object: what it refuses, and that it resumes."""

import copy

import pytest
import torch

import sibp

GENERATOR = torch.Generator().manual_seed(1)
X, Y = torch.randn(12, 6, generator=GENERATOR), torch.randint(3, (12,), generator=GENERATOR)


def net():
    return sibp.mlp([6, 8, 3], std=0.4)


def test_a_sweep_lowers_the_objective_and_resumes_with_the_same_bits():
    straight = net()
    optimizer = sibp.BCD(straight, X, Y, alpha=2.0)
    values = [optimizer.step().item() for _ in range(3)]
    assert values[2] < values[0]
    saved, resumed = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(straight)
    other = sibp.BCD(resumed, X, Y)
    other.load_state_dict(saved)
    for _ in range(3):
        assert torch.equal(optimizer.step(), other.step())
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: sibp.BCD(net(), X, Y, rho=0), "bcd: rho: got 0, need greater than 0"),
        (lambda: sibp.BCD(net(), X[:, :5], Y), "takes 6 inputs, got samples of shape"),
        (lambda: sibp.BCD(net(), X, Y + 1), r"y: classes 1\.\.3, need 0\.\.2"),
    ],
)
def test_bad_arguments_are_refused_at_construction(make, line):
    with pytest.raises(ValueError, match=line):
        make()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda s: {}, "state_dict: has no method, options, state"),
        (lambda s: s | {"method": "sibp"}, "state_dict: is of method 'sibp', need 'bcd'"),
        (lambda s: s | {"options": {"rho": -1.0}}, "bcd: rho: got -1.0, need greater than 0"),
        (lambda s: s | {"state": 5}, "state_dict: is damaged"),
        (lambda s: s | {"state": {"U": s["state"]["U"]}}, "state_dict: is damaged"),
        (
            lambda s: s | {"state": s["state"] | {"U": [t[:, :5] for t in s["state"]["U"]]}},
            r"state_dict: U is \[1, 5, 8\], \[1, 5, 3\]",
        ),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage, line):
    model = net()
    optimizer = sibp.BCD(model, X, Y, rho=0.7)
    optimizer.step()
    twin_model, twin = copy.deepcopy((model, optimizer))
    with pytest.raises(ValueError, match=line):
        optimizer.load_state_dict(damage(optimizer.state_dict()))
    assert torch.equal(optimizer.step(), twin.step())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin_model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (
            lambda: sibp.BCD(sibp.mlp([6, 8, 8, 3]), X, Y),
            r"U is \[1, 12, 8\], \[1, 12, 8\], \[1, 12, 3\] in float32, need \[1, 12, 8\], \[1, 12, 3\] in float32",
        ),
        (lambda: sibp.BCD(net().double(), X.double(), Y), r"U is .* in float64, need .* in float32 for this model and data"),
    ],
)
def test_the_state_of_another_model_is_refused(other, line):
    stranger, optimizer = other(), sibp.BCD(net(), X, Y)
    stranger.step()
    with pytest.raises(ValueError, match=line):
        optimizer.load_state_dict(stranger.state_dict())
    assert not optimizer.state
