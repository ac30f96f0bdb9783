"""One step of the engine on a module: what it refuses, and that a refused step changes nothing."""

import pytest
import torch
from torch import nn

import sibp
from sibp import methods
from sibp.nets import initialisation, losses, papers


def net(dtype=torch.float32):
    return sibp.mlp([6, 8, 3], std=0.4, dtype=dtype)


def batch(dtype=torch.float32, size=12):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 6, generator=generator).to(dtype), torch.randint(3, (size,), generator=generator)


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_method_makes_the_engines_step(method):
    model, (x, y) = net(torch.float64), batch(torch.float64)
    expected_loss = nn.functional.cross_entropy(model(x), y)
    parameters = initialisation.initialise(papers.mlp([6, 8, 3]), [0], std=0.4, dtype=torch.float64)
    engine = methods.build(
        method, papers.mlp([6, 8, 3]), losses.get("cross-entropy"), [methods.options(method)()], dtype=torch.float64
    )
    engine.step(parameters, engine.start(parameters), x[None], y[None])
    value = methods.step(model, method, x, y)
    assert torch.allclose(value, expected_loss) and value.shape == ()
    expected = [tensor[0] for layer in parameters for tensor in layer]
    assert all(torch.equal(p, e.reshape(p.shape)) for p, e in zip(model.parameters(), expected, strict=True))


@pytest.mark.parametrize("variant", ["newton", "armijo", "released", "released-rowwise"])
def test_all_variants_are_there(variant):
    model, (x, y) = net(), batch()
    before = [p.clone() for p in model.parameters()]
    methods.step(model, "sibp", x, y, variant=variant, eta=0.2, lam=0.3)
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def nan(x):
    x = x.clone()
    x[3, 2] = float("nan")
    return x


X, Y = batch()
REFUSED = [
    ((X[:0], Y[:0]), r"x: got shape \(0, 6\), need \[B, \.\.\.\] with B >= 1"),
    ((X[0], Y[:1]), r"x: got shape \(6,\), need \[B, \.\.\.\] with B >= 1"),
    ((X[:, :0], Y), r"model\.0: takes 6 inputs, got samples of shape \(0,\)"),
    ((X[:, :5], Y), r"model\.0: takes 6 inputs, got samples of shape \(5,\)"),
    ((X.double(), Y), r"x: got torch\.float64, need the model's torch\.float32"),
    ((X.to("meta"), Y), "x: is on meta, need the model's device cpu"),
    ((X, Y.to("meta")), "y: is on meta, need the model's device cpu"),
    ((X.numpy(), Y), r"x: got ndarray, need a torch\.Tensor"),
    ((X, Y.tolist()), r"y: got list, need a torch\.Tensor"),
    ((X, Y[:-1]), r"y: got torch\.int64 \(11,\), need class indices torch\.int64 \[12\]"),
    ((X, Y[:, None]), r"y: got torch\.int64 \(12, 1\), need class indices"),
    ((X, Y.int()), r"y: got torch\.int32 \(12,\), need class indices torch\.int64"),
    ((X, nn.functional.one_hot(Y).float()), r"y: got torch\.float32 \(12, 3\), need class indices"),
    ((X, Y + 1), r"y: classes 1\.\.3, need 0\.\.2"),
    ((X, Y - 1), r"y: classes -1\.\.1, need 0\.\.2"),
    ((nan(X), Y), "x: holds NaN or infinity, need finite numbers"),
    ((X / 0, Y), "x: holds NaN or infinity, need finite numbers"),
]


@pytest.mark.parametrize("method", ["sibp", "proxbp", "proxprop", "sgd"])
def test_a_refused_step_says_why_in_one_line_and_changes_nothing(method):
    model = net()
    before = [p.clone() for p in model.parameters()]
    for (x, y), line in REFUSED:
        with pytest.raises(ValueError, match=line) as caught:
            methods.step(model, method, x, y)
        assert "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (torch.zeros(12, 4), r"y: got shape \(12, 4\), need \[12, 3\]"),
        (torch.zeros(12, 3).double(), r"y: got torch\.float64, need torch\.float32"),
        (torch.full((12, 3), float("inf")), "y: holds NaN or infinity, need finite numbers"),
    ],
)
def test_values_as_targets_are_checked(target, line):
    with pytest.raises(ValueError, match=line):
        methods.step(net(), "sibp", X, target, loss="squared")


def test_squared_loss_takes_classes_or_values():
    one, other = net(), net()
    methods.step(one, "sibp", X, Y, loss="squared")
    methods.step(other, "sibp", X, nn.functional.one_hot(Y, 3).float(), loss="squared")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda m: methods.step(m, "sipb", X, Y), r"method: got 'sipb', need .*did you mean 'sibp'\?"),
        (lambda m: methods.step(m, "sibp", X, Y, etta=1), r"sibp: etta: unknown key, need one of eta, lam.*did you mean 'eta'\?"),
        (lambda m: methods.step(m, "sibp", X, Y, eta=-1), "sibp: eta: got -1, need greater than 0"),
        (lambda m: methods.step(m, "sibp", X, Y, loss="mse"), "loss: got 'mse', need cross-entropy or squared"),
        (lambda m: methods.step(nn.Sequential(m, nn.Dropout()), "sibp", X, Y), r"model\.1: Dropout is not supported"),
        (lambda m: methods.step(m.half(), "sibp", X, Y), r"model\.0\.weight: is torch\.float16, need torch\.float32"),
        (lambda m: sibp.mlp([3]), r"widths: got \[3\], need at least two numbers >= 1"),
        (lambda m: sibp.mlp([3, 2], std=-1), "std: got -1, need a number >= 0"),
        (lambda m: sibp.mlp([3, 2], dtype=torch.float16), r"dtype: got torch\.float16, need torch\.float32 or torch\.float64"),
        (lambda m: sibp.lenet("cifar"), r"lenet: got 'cifar', need cifar10 or mnist; did you mean 'cifar10'\?"),
        (lambda m: sibp.lenet("cifar10", pools=5), r"pools: got 5, need 0\.\.3"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(make, line):
    with pytest.raises(ValueError, match=line) as caught:
        make(net())
    assert "\n" not in str(caught.value)


def test_images_and_batches_of_any_size_are_taken():
    model = sibp.lenet("cifar10", std=0.05, pools=2)
    for size in (3, 1):
        x = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(size))
        assert methods.step(model, "sibp", x, torch.arange(size)).isfinite()
