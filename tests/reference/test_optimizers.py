"""SGD, Adam and RMSprop against torch.optim on the same net and mini-batches, float64."""

import pytest
import torch
from torch.nn import functional

import sibp
from sibp.methods import registry
from sibp.nets import losses, propagation
from sibp.nets.from_sequential import network_of, parameters_of

WIDTHS, BATCH, STEPS = [12, 9, 7, 4], 10, 25

CASES = [
    ("sgd", {"eta": 0.3}, lambda p: torch.optim.SGD(p, lr=0.3)),
    ("sgd", {"eta": 0.1, "momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    (
        "sgd",
        {"eta": 0.1, "momentum": 0.95, "nesterov": True},
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.95, nesterov=True),
    ),
    ("adam", {"eta": 1e-2}, lambda p: torch.optim.Adam(p, lr=1e-2)),
    (
        "adam",
        {"eta": 1e-2, "beta1": 0.5, "beta2": 0.9, "eps": 1e-4},
        lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.5, 0.9), eps=1e-4),
    ),
    ("rmsprop", {"eta": 1e-2}, lambda p: torch.optim.RMSprop(p, lr=1e-2)),
    (
        "rmsprop",
        {"eta": 1e-3, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8},
        lambda p: torch.optim.RMSprop(p, lr=1e-3, alpha=0.9, eps=1e-3, momentum=0.8),
    ),
]


def batches(steps=STEPS):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(BATCH, WIDTHS[0], generator=generator, dtype=torch.float64)
        yield x, torch.randint(WIDTHS[-1], (BATCH,), generator=generator)


def net():
    return sibp.mlp(WIDTHS, std=0.4, seed=1, dtype=torch.float64)


@pytest.mark.parametrize(("name", "options", "torchs"), CASES, ids=lambda v: str(v) if not callable(v) else "")
def test_every_step_equals_torch_optim(name, options, torchs):
    mine, theirs = net(), net()
    method = registry.build(
        name, network_of(mine, (WIDTHS[0],)), losses.get("cross-entropy"), [registry.options(name)(**options)], dtype=torch.float64
    )
    parameters = parameters_of(mine)
    state, optimizer = method.start(parameters), torchs(theirs.parameters())
    start = [p.detach().clone() for p in theirs.parameters()]
    for x, y in batches():
        optimizer.zero_grad()
        loss = functional.cross_entropy(theirs(x), y)
        loss.backward()
        optimizer.step()
        mean = method.step(parameters, state, x[None], y[None])
        assert mean.item() == pytest.approx(loss.item(), rel=1e-12)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert (p - q).abs().max() < 1e-12
    assert all((p - q).abs().max() > 1e-3 for p, q in zip(mine.parameters(), start, strict=True))


def test_sgd_without_momentum_keeps_no_buffer():
    parameters = parameters_of(net())
    network = network_of(net(), (WIDTHS[0],))
    build = lambda **options: registry.build("sgd", network, losses.get("squared"), [registry.options("sgd")(**options)])  # noqa: E731
    assert build(eta=1.0).start(parameters) == {}
    assert len(build(eta=1.0, momentum=0.5).start(parameters)["momentum"]) == len(propagation.tensors(parameters))


def test_l1_adds_the_sign_of_the_parameters_to_the_gradient():
    mine, theirs = net(), net()
    method = registry.build(
        "sgd",
        network_of(mine, (WIDTHS[0],)),
        losses.get("squared"),
        [registry.options("sgd")(eta=0.1, l1=0.3)],
        dtype=torch.float64,
    )
    (x, y), parameters = next(batches(1)), parameters_of(mine)
    method.step(parameters, {}, x[None], y[None])
    loss = (theirs(x) - functional.one_hot(y, WIDTHS[-1])).square().sum(1).mean()
    (loss + 0.3 * sum(p.abs().sum() for p in theirs.parameters())).backward()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert (p - (q - 0.1 * q.grad)).abs().max() < 1e-12


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="nesterov: got true with momentum 0"):
        registry.options("sgd")(nesterov=True)


def test_proxprop_without_momentum_is_without_nesterov():
    assert registry.options("proxprop")(momentum=0).nesterov is False
    assert registry.options("proxprop")().nesterov is True
    with pytest.raises(ValueError, match="nesterov: got true with momentum 0, need a momentum > 0"):
        registry.options("proxprop")(momentum=0, nesterov=True)
    with pytest.raises(ValueError, match="nesterov: got true with optimizer adam, need sgd"):
        registry.options("proxprop")(optimizer="adam", nesterov=True)
