"""The torch-style front: what it refuses, and that a refused step changes nothing."""

import copy
import io

import pytest
import torch
from torch import nn

import sibp
from sibp.methods import registry
from sibp.nets import initialisation, papers, propagation
from sibp.nets.convert import network_of

MAKE = {
    "SIBP": lambda model: sibp.SIBP(model),
    "SIBP armijo": lambda model: sibp.SIBP(model, variant="armijo"),
    "ProxBP": lambda model: sibp.ProxBP(model),
    "ProxProp": lambda model: sibp.ProxProp(model),
}
DEVICES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


def net(dtype=torch.float32, device="cpu", seed=0):
    return sibp.mlp([6, 8, 3], std=0.4, seed=seed, dtype=dtype, device=device)


def batch(dtype=torch.float32, device="cpu", size=12):
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(3, (size,), generator=generator)
    return torch.randn(size, 6, generator=generator).to(device, dtype), y.to(device)


def go(optimizer, x, y):
    return optimizer.backward(x, y) if isinstance(optimizer, sibp.ProxProp) else optimizer.step(x, y)


def everything(model):
    return [p.clone() for p in model.parameters()] + [p.grad for p in model.parameters()]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MAKE)
def test_a_step_returns_the_loss_before_it_in_the_models_dtype_and_on_its_device(name, dtype, device):
    model, (x, y) = net(dtype, device), batch(dtype, device)
    expected = nn.functional.cross_entropy(model(x), y)
    loss = go(MAKE[name](model), x, y)
    assert (loss.dtype, loss.device, loss.shape) == (dtype, expected.device, ())
    assert not loss.requires_grad
    assert torch.allclose(loss, expected)


@pytest.mark.parametrize("name", MAKE)
def test_the_front_makes_the_same_step_as_the_engine(name):
    model, (x, y) = net(torch.float64), batch(torch.float64)
    optimizer = MAKE[name](model)
    options = registry.options(optimizer.method)(**optimizer.options.model_dump())
    engine = registry.build(optimizer.method, network_of(model, (6,)), optimizer.loss, [options], torch.float64)
    parameters = initialisation.initialise(papers.mlp([6, 8, 3]), [0], std=0.4, dtype=torch.float64)
    before = [t.clone() for t in propagation.tensors(parameters)]
    go(optimizer, x, y)
    if name == "ProxProp":
        _, expected = engine.loss_and_directions(parameters, x[None], y[None])
        mine = [p.grad for p in model.parameters()]
        assert all(torch.equal(p, b[0].reshape(p.shape)) for p, b in zip(model.parameters(), before, strict=True))
    else:
        engine.step(parameters, engine.start(parameters), x[None], y[None])
        expected, mine = propagation.tensors(parameters), list(model.parameters())
        assert not torch.equal(expected[0], before[0])
    assert all(torch.equal(a, b[0].reshape(a.shape)) for a, b in zip(mine, expected, strict=True))


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
    ((X.long(), Y), r"x: got torch\.int64, need the model's torch\.float32"),
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


@pytest.mark.parametrize("name", MAKE)
def test_a_refused_step_says_why_in_one_line_and_changes_nothing(name):
    model = net()
    optimizer = MAKE[name](model)
    go(optimizer, X, Y)
    kept, saved = everything(model), copy.deepcopy(vars(optimizer).get("state"))
    for (x, y), line in REFUSED:
        with pytest.raises(ValueError, match=line) as caught:
            go(optimizer, x, y)
        assert "\n" not in str(caught.value)
        now = everything(model)
        assert all(a is b or torch.equal(a, b) for a, b in zip(now, kept, strict=True))
        assert vars(optimizer).get("state") == saved
    go(optimizer, X, Y)  # and goes on as if nothing had been


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
        sibp.SIBP(net(), loss="squared").step(X, target)


def test_squared_loss_takes_classes_or_values():
    one, other = net(), net()
    sibp.SIBP(one, loss="squared").step(X, Y)
    sibp.SIBP(other, loss="squared").step(X, nn.functional.one_hot(Y, 3).float())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda m: sibp.SIBP(m, etta=1), r"SIBP: etta: unknown key, need one of eta, lam.*did you mean 'eta'\?"),
        (lambda m: sibp.SIBP(m, eta=-1), "SIBP: eta: got -1, need greater than 0"),
        (lambda m: sibp.SIBP(m, lam=float("nan")), "SIBP: lam: got nan"),
        (lambda m: sibp.SIBP(m, variant="newtn"), r"SIBP: variant: got 'newtn', need .*did you mean 'newton'\?"),
        (lambda m: sibp.SIBP(m, cg_steps=0), "SIBP: cg_steps: got 0"),
        (lambda m: sibp.ProxBP(m, solver="lu"), "ProxBP: solver: got 'lu', need cg or exact"),
        (lambda m: sibp.ProxProp(m, tau_prox=0), "ProxProp: tau_prox: got 0, need greater than 0"),
        (lambda m: sibp.ProxProp(m, eta=1.0), "ProxProp: eta: unknown key, need one of tau_prox"),
        (lambda m: sibp.BCD(m, X, Y, rho=0), "BCD: rho: got 0, need greater than 0"),
        (lambda m: sibp.SIBP(m, loss="mse"), "loss: got 'mse', need cross-entropy or squared"),
        (lambda m: sibp.SIBP(nn.Sequential(m, nn.Dropout())), r"model\.1: Dropout is not supported, need one of Linear"),
        (lambda m: sibp.SIBP(m.half()), r"model\.0\.weight: is torch\.float16, need torch\.float32 or torch\.float64"),
        (lambda m: sibp.mlp([3]), r"widths: got \[3\], need at least two numbers >= 1"),
        (lambda m: sibp.mlp([3, 2], std=-1), "std: got -1, need a number >= 0"),
        (lambda m: sibp.mlp([3, 2], dtype=torch.float16), r"dtype: got torch\.float16, need torch\.float32 or torch\.float64"),
        (lambda m: sibp.lenet("cifar"), r"lenet: got 'cifar', need cifar10 or mnist; did you mean 'cifar10'\?"),
        (lambda m: sibp.lenet("cifar10", pools=5), r"pools: got 5, need 0\.\.3"),
    ],
)
def test_bad_arguments_are_refused_at_construction_in_one_line(make, line):
    with pytest.raises(ValueError, match=line) as caught:
        make(net())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["SIBP", "SIBP armijo", "ProxBP"])
def test_resuming_from_a_saved_state_gives_the_same_bits(name):
    straight, (x, y) = net(), batch()
    optimizer = MAKE[name](straight)
    for _ in range(3):
        optimizer.step(x, y)
    file = io.BytesIO()
    torch.save({"model": straight.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved, resumed = torch.load(file, weights_only=True), net(seed=5)
    resumed.load_state_dict(saved["model"])
    other = type(optimizer)(resumed, eta=7.0)  # the saved options win
    other.load_state_dict(saved["optimizer"])
    for _ in range(3):
        assert torch.equal(optimizer.step(x, y), other.step(x, y))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_bcd_resumes_with_the_same_bits():
    straight, (x, y) = net(), batch()
    optimizer = sibp.BCD(straight, x, y, alpha=2.0)
    for _ in range(3):
        optimizer.step()
    saved, resumed = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(straight)
    other = sibp.BCD(resumed, x, y)
    other.load_state_dict(saved)
    for _ in range(3):
        assert torch.equal(optimizer.step(), other.step())
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ({"method": "proxbp"}, "state_dict: is of method 'proxbp', need 'sibp'"),
        ({"options": {"eta": -1.0}}, "SIBP: eta: got -1.0, need greater than 0"),
        ({"loss": "mse"}, "loss: got 'mse'"),
        (None, "state_dict: has no loss, method, options, state"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(damage, line):
    optimizer = sibp.SIBP(net(), eta=0.3)
    with pytest.raises(ValueError, match=line):
        optimizer.load_state_dict({} if damage is None else optimizer.state_dict() | damage)
    assert (optimizer.options.eta, optimizer.loss.name) == (0.3, "cross-entropy")


@pytest.mark.parametrize("name", MAKE)
def test_non_contiguous_inputs_are_taken(name):
    one, other = net(torch.float64), net(torch.float64)
    x, y = batch(torch.float64)
    wide, tall = x.repeat_interleave(2, 1), y.repeat_interleave(3)
    go(MAKE[name](one), x, y)
    go(MAKE[name](other), wide[:, ::2], tall[::3])
    for a, b in zip(everything(one), everything(other), strict=True):
        assert a is b or torch.allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_every_gradient_mode_gives_the_same_step(name, mode):
    results = []
    for context in (torch.no_grad, mode):
        model = net()
        optimizer = MAKE[name](model)
        x = X.clone().requires_grad_()
        with context():
            go(optimizer, x, Y)
        results.append([p.detach() if p.grad is None else p.grad for p in model.parameters()])
        assert x.grad is None
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_parameters_are_shared_with_whoever_holds_them():
    model = net()
    weight, whole = model[0].weight, list(model.parameters())
    before, address = weight.clone(), weight.data_ptr()
    sibp.SIBP(model).step(X, Y)
    assert model[0].weight is weight and weight.data_ptr() == address
    assert not torch.equal(weight, before)
    assert all(a is b for a, b in zip(whole, model.parameters(), strict=True))
    assert torch.autograd.grad(model(X).sum(), whole)[0].isfinite().all()  # the module still trains with autograd


def test_a_module_exchanged_between_steps_is_seen():
    model = net(torch.float64)
    optimizer, (x, y) = sibp.SIBP(model), batch(torch.float64)
    optimizer.step(x, y)
    model[1] = nn.Tanh()
    fresh = copy.deepcopy(model)
    assert torch.equal(optimizer.step(x, y), sibp.SIBP(fresh).step(x, y))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_batches_of_another_size_and_images_are_taken():
    model = sibp.lenet("cifar10", std=0.05, pools=2)
    optimizer = sibp.SIBP(model)
    for size in (3, 1):
        x = torch.rand(size, 3, 32, 32, generator=torch.Generator().manual_seed(size))
        assert optimizer.step(x, torch.arange(size)).isfinite()


def test_the_oracle_feeds_a_torch_optimizer():
    model, (x, y) = net(), batch()
    oracle, adam = sibp.ProxProp(model, tau_prox=1.0, cg_steps=3), torch.optim.Adam(model.parameters(), lr=0.02)
    told = []
    for _ in range(60):
        told.append(oracle.backward(x, y).item())
        adam.step()
    assert told[-1] < 0.5 * told[0]


def test_the_oracle_sets_gradients_instead_of_adding_to_them():
    model = net()
    oracle = sibp.ProxProp(model)
    oracle.backward(X, Y)
    first = [p.grad.clone() for p in model.parameters()]
    oracle.backward(X, Y)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), first, strict=True))


def test_the_public_names_are_reachable_from_the_package():
    for name in sibp.__all__:
        assert callable(getattr(sibp, name))
    with pytest.raises(AttributeError, match="module 'sibp' has no attribute 'SIPB'"):
        _ = sibp.SIPB
