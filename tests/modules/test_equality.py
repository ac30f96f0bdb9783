"""The two drivers make the same steps: the engine of the exhibits, and the watch over a module."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sibp
from sibp import methods
from sibp.nets import losses
from sibp.nets.from_sequential import network_of, parameters_of


def mlp(activation="relu"):
    return sibp.mlp([20, 16, 12, 5], std=0.3, activation=activation, dtype=torch.float64)


def cnn():
    return sibp.lenet("cifar10", dtype=torch.float64)


def small_cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 3, stride=2), nn.LeakyReLU(), nn.Flatten(), nn.Linear(8, 5)),
    ).double()


NETS = {"MLP": (mlp, (20,)), "tanh": (lambda: mlp("tanh"), (20,)), "CNN": (cnn, (3, 32, 32)), "small CNN": (small_cnn, (3, 6, 6))}


def batches(net, count, size=20):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(size, *NETS[net][1], generator=generator, dtype=torch.float64)
        yield x, torch.randint(5, (size,), generator=generator)


def in_place(model, method, options):
    optimizer = {"sibp": sibp.SIBP, "proxbp": sibp.ProxBP}[method](model.parameters(), **options)
    return lambda x, y: optimizer.step(lambda: F.cross_entropy(model(x), y))


def as_gradient(model, method, options):
    oracle, sgd = sibp.Oracle(model.parameters(), method, **options), torch.optim.SGD(model.parameters(), lr=1.0)

    def step(x, y):
        sgd.zero_grad()
        with oracle:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
        sgd.step()
        return loss.detach()

    return step


def difference(net, method, options, way, steps):
    """Return the largest difference of losses and parameters over some steps."""
    theirs = NETS[net][0]()
    mine = copy.deepcopy(theirs)
    before = copy.deepcopy(theirs)
    step, largest = way(mine, method, options), 0.0
    for x, y in batches(net, steps):
        losses_ = methods.step(theirs, method, x, y, **options), step(x, y)
        pairs = [losses_, *zip(theirs.parameters(), mine.parameters(), strict=True)]
        largest = max(largest, *((a - b).abs().max().item() for a, b in pairs))
    assert all(not torch.equal(a, b) for a, b in zip(mine.parameters(), before.parameters(), strict=True))
    return largest


VARIANTS = [
    ("sibp", {"variant": variant, "space": space}) for variant in ("newton", "armijo") for space in ("auto", "batch", "weight")
]
VARIANTS += [("sibp", {"variant": variant, "l1": 0.01}) for variant in ("newton", "armijo")]
VARIANTS += [("proxbp", {"solver": "cg", "space": space}) for space in ("batch", "weight")] + [("proxbp", {"solver": "exact"})]


@pytest.mark.parametrize("way", [in_place, as_gradient])
@pytest.mark.parametrize(("method", "options"), VARIANTS)
def test_an_mlp_takes_the_engines_steps(method, options, way):
    assert difference("MLP", method, options, way, 4) < 1e-10


@pytest.mark.parametrize("way", [in_place, as_gradient])
@pytest.mark.parametrize("variant", ["newton", "armijo"])
def test_a_smooth_activation_takes_them_too(variant, way):
    assert difference("tanh", "sibp", {"variant": variant}, way, 4) < 1e-12


# with 5 iterations the problem itself is ill-conditioned: a last bit changed in the weights moves the engine's own result by 1e-8
CONVOLUTIONAL = [
    ("sibp", {"variant": "newton", "cg_steps": 3}),
    ("sibp", {"variant": "armijo"}),
    ("proxbp", {"cg_steps": 3}),
    ("proxbp", {"solver": "exact"}),
]


@pytest.mark.parametrize("way", [in_place, as_gradient])
@pytest.mark.parametrize(("method", "options"), CONVOLUTIONAL)
def test_the_papers_cnn_takes_the_engines_steps(method, options, way):
    assert difference("CNN", method, options, way, 2) < 1e-10


@pytest.mark.parametrize("way", [in_place, as_gradient])
@pytest.mark.parametrize(("method", "options"), CONVOLUTIONAL)
def test_strides_and_leaky_relu_take_them_too(method, options, way):
    assert difference("small CNN", method, options, way, 4) < 1e-10


def test_channels_last_takes_them_too():
    theirs = small_cnn()
    mine = copy.deepcopy(theirs).to(memory_format=torch.channels_last)
    step = in_place(mine, "sibp", {"variant": "armijo"})
    for x, y in batches("small CNN", 3):
        methods.step(theirs, "sibp", x, y, variant="armijo")
        step(x.contiguous(memory_format=torch.channels_last), y)
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(theirs.parameters(), mine.parameters(), strict=True))


PROXPROP = [{}, {"solver": "exact"}, {"solver": "gradient"}, {"variant": "released"}, {"reduction": "sum"}]


@pytest.mark.parametrize("net", ["MLP", "small CNN"])
@pytest.mark.parametrize("options", PROXPROP)
def test_proxprop_with_adam_takes_the_engines_steps(net, options):
    theirs = NETS[net][0]()
    mine = copy.deepcopy(theirs)
    member = methods.options("proxprop")(optimizer="adam", **options)
    engine = methods.build("proxprop", network_of(theirs, NETS[net][1]), losses.get("cross-entropy"), [member], dtype=torch.float64)
    parameters = parameters_of(theirs)
    state = engine.start(parameters)
    oracle, adam = sibp.Oracle(mine.parameters(), "proxprop", **options), torch.optim.Adam(mine.parameters(), lr=1e-3)
    for x, y in batches(net, 3):
        engine.step(parameters, state, x[None], y[None])
        adam.zero_grad()
        with oracle:
            F.cross_entropy(mine(x), y).backward()
        adam.step()
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(theirs.parameters(), mine.parameters(), strict=True))


@pytest.mark.parametrize("loss", [F.mse_loss, lambda out, y: (out - y).square().sum(1).mean()])
def test_squared_loss_has_the_engines_scale_whichever_mean_it_is(loss):
    theirs = mlp()
    mine = copy.deepcopy(theirs)
    optimizer = sibp.SIBP(mine.parameters(), eta=0.02, lam=0.1, variant="armijo")
    for x, y in batches("MLP", 3):
        target = F.one_hot(y, 5).double()
        methods.step(theirs, "sibp", x, target, loss="squared", eta=0.02, lam=0.1, variant="armijo")
        optimizer.step(lambda x=x, target=target: loss(mine(x), target))
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(theirs.parameters(), mine.parameters(), strict=True))


def test_many_rows_go_through_the_kernels_and_come_out_as_without_them(monkeypatch):
    """Tokens: a dense layer with more rows than a batch space is good for."""
    from sibp.kernels import native

    results = []
    for off in (False, True):
        model = mlp()
        optimizer = sibp.SIBP(model.parameters(), variant="armijo")
        x = torch.randn(8, 100, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = torch.arange(800).view(8, 100) % 5
        step = lambda: optimizer.step(lambda: F.cross_entropy(model(x).flatten(0, 1), y.flatten()))  # noqa: B023, E731
        if off:
            with native.off():
                step()
        else:
            step()
        results.append([p.detach().clone() for p in model.parameters()])
    assert all((a - b).abs().max() < 1e-11 for a, b in zip(*results, strict=True))
