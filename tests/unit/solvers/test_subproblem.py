"""The layer's objective, its gradient, and the three spaces that a displacement may live in."""

import pytest
import torch

from sibp.nets import activations
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Subproblem, WeightSpace, choose_space

ALL = list(activations.ACTIVATIONS)


def layer(randn, E=2, R=6, I=9, O=4):
    X, W, b = randn(E, R, I), randn(E, O, I), randn(E, 1, O)
    return X, W, b, randn(E, R, O)


def naive(name, X, W, W_old, b, T, lam):
    F = activations.get(name).value(X @ W.mT + b)
    return (F - T).square().sum((1, 2)) + (W - W_old).square().sum((1, 2)) / (2 * lam.flatten())


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_autograds_of_the_objective_in_the_paper(name, randn):
    X, W_old, b, T = layer(randn)
    lam = torch.tensor([0.5, 2.0], dtype=torch.float64).reshape(2, 1, 1)
    W = (W_old + 0.1 * randn(*W_old.shape)).requires_grad_()
    naive(name, X, W, W_old, b, T, lam).sum().backward()
    D = (W.detach() - W_old).mT
    problem = Subproblem(WeightSpace(X), activations.get(name), X @ W_old.mT + b, T, lam)
    torch.testing.assert_close(problem.gradient(X @ W.detach().mT + b, D).mT, W.grad)


@pytest.mark.parametrize("joint", [False, True])
def test_batch_space_and_weight_space_agree_on_everything(joint, randn):
    X, W, b, D = layer(randn)
    batch, weight = BatchSpace(X, joint), WeightSpace(X, joint)
    S = batch.coordinates(D)
    P = weight.coordinates(S)  # the same displacement X^T S
    torch.testing.assert_close(batch.image(S), weight.image(P))
    inner = [space.inner(space.vector(p), space.vector(q)).sum((1, 2)) for space, p, q in ((batch, S, 2 * S), (weight, P, 2 * P))]
    torch.testing.assert_close(*inner)
    moved = [(W.clone(), b.clone()), (W.clone(), b.clone())]
    batch.move(*moved[0], S)
    weight.move(*moved[1], P)
    for mine, theirs in zip(*moved, strict=True):
        torch.testing.assert_close(mine, theirs)
    for space, coordinates in ((batch, S), (weight, P)):
        dW, db = space.displacement(coordinates)
        torch.testing.assert_close(dW, moved[0][0] - W)
        assert (db is None) != joint
        if joint:
            torch.testing.assert_close(db, moved[0][1] - b)


def test_bias_space_is_weight_space_over_a_column_of_ones(randn):
    D = randn(2, 6, 4)
    ones = torch.ones(2, 6, 1, dtype=torch.float64)
    p = BiasSpace().coordinates(D)
    torch.testing.assert_close(p, WeightSpace(ones).coordinates(D))
    torch.testing.assert_close(BiasSpace().image(p).expand(2, 6, 4), WeightSpace(ones).image(p))


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "expected"),
    [
        (100, 784, 500, BatchSpace),
        (100, 500, 10, BatchSpace),
        (10, 1, 1, BatchSpace),
        (60000, 784, 500, WeightSpace),
        (102400, 75, 16, WeightSpace),
    ],
)
def test_auto_takes_batch_space_for_mini_batches_and_weight_space_for_many_rows(rows, inputs, outputs, expected):
    X = torch.empty(0, rows, inputs)  # no memory is touched: E = 0
    assert isinstance(choose_space("auto", X, outputs, products=5), expected)


def test_per_neuron_numbers_add_up_to_the_members(randn):
    X, W, b, T = layer(randn)
    lam = torch.ones(2, 1, 1, dtype=torch.float64)
    Z = X @ W.mT + b
    joint = Subproblem(BatchSpace(X), activations.get("relu"), Z, T, lam)
    apart = Subproblem(BatchSpace(X), activations.get("relu"), Z, T, lam, per_neuron=True)
    torch.testing.assert_close(apart.data_term(Z).sum(-1, keepdim=True), joint.data_term(Z))
