import math

import pytest
import torch

from sibp.nets import initialisation, losses, papers, propagation, to_sequential
from sibp.nets.from_sequential import network_of

NETWORKS = {
    "mlp": papers.mlp([5, 4, 3], "tanh"),
    "mlp without bias": papers.mlp([5, 4, 3], bias=False),
    "one layer": papers.mlp([5, 3]),
    "cnn": papers.cnn((2, 8, 8), channels=(3, 4, 2), classes=3),
    "cnn of P's program": papers.cnn((2, 8, 8), channels=(3, 4, 2), pools=2, classes=3),
    "lenet5": papers.lenet5((1, 12, 12), classes=3, activation="softplus"),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


def test_output_and_gradients_equal_torchs_for_every_member(network, randn):
    seeds, x, y = [3, 1], randn(4, *network.input_shape), torch.tensor([0, 2, 1, 0])
    parameters = initialisation.initialise(network, seeds, law="torch", dtype=torch.float64)
    trace = propagation.forward(network, parameters, x[None])
    gradients = propagation.tensors(propagation.loss_gradients(network, parameters, losses.get("cross-entropy"), x[None], y[None]))
    assert torch.equal(trace.output, propagation.output(network, parameters, x[None]))
    for e, seed in enumerate(seeds):
        model = to_sequential.to_module(network, seed, law="torch", dtype=torch.float64)
        assert torch.allclose(trace.output[e], model(x), rtol=1e-12, atol=1e-14)
        torch.nn.functional.cross_entropy(model(x), y).backward()
        for mine, p in zip(gradients, model.parameters(), strict=True):
            assert torch.allclose(mine[e].reshape(p.shape), p.grad, rtol=1e-10, atol=1e-13)


def test_the_module_of_a_network_is_read_back_as_that_network(network):
    assert network_of(to_sequential.to_module(network), network.input_shape) == network


def test_backward_sends_the_error_through_the_old_weights(randn):
    network = papers.mlp([5, 4, 4, 3])
    parameters, x = initialisation.initialise(network, [0], std=0.5, dtype=torch.float64), randn(1, 6, 5)
    trace, delta = propagation.forward(network, parameters, x), randn(1, 6, 3)
    plain = {i: D for i, _, D in propagation.backward(network, parameters, trace, delta)}
    for i, _, D in propagation.backward(network, parameters, trace, delta):
        assert torch.equal(D, plain[i])
        parameters[i].W.zero_()


def test_the_papers_networks_have_the_papers_sizes():
    cnn, program, lenet5 = papers.build("cnn"), papers.build("cnn", pools=2), papers.build("lenet5")
    assert [layer.weight_shape for layer in cnn.layers] == [(16, 3, 5, 5), (20, 16, 5, 5), (20, 20, 5, 5), (10, 320)]
    assert program.layers[-1].weight_shape == (10, 20 * 8 * 8)
    assert [layer.weight_shape for layer in lenet5.layers] == [(6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    assert lenet5.parameter_count == 61706  # LeCun et al. 1998 with dense connections
    assert papers.build("mlp", widths=[784, 500, 10]).parameter_count == 784 * 500 + 500 + 5000 + 10


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "cn"}, "kind: got 'cn', need mlp, cnn or lenet5; did you mean 'cnn'"),
        ({"kind": "cnn", "widths": [3, 2]}, "widths: is no setting of kind cnn, need one of input_shape, channels"),
        ({"kind": "mlp"}, "widths: is missing, kind mlp needs it"),
        ({"kind": "mlp", "widths": [3]}, r"widths: got \[3\], need at least two numbers >= 1"),
        ({"kind": "mlp", "widths": [3, 0, 2]}, r"widths: got \[3, 0, 2\], need at least two numbers >= 1"),
        ({"kind": "mlp", "widths": [3, 2], "activation": "rleu"}, "activation: got 'rleu'"),
        ({"kind": "cnn", "pool": 4}, r"pool: is no setting of kind cnn.*did you mean 'pools'\?"),
        ({"kind": "cnn", "pools": 4}, "pools: got 4, need 0..3, the number of convolutions"),
        ({"kind": "cnn", "input_shape": [784]}, r"input_shape: got \[784\], need channels, height and width"),
        ({"kind": "lenet5", "input_shape": [1, 8, 8]}, r"input_shape: got \[1, 8, 8\], too small for lenet5"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings, line):
    with pytest.raises(ValueError, match=line):
        papers.build(**settings)


WIDE = papers.mlp([400, 300, 50])


def standardised(law, **settings):
    """Return each layer's weights and biases times sqrt(I), or as they are for the law that knows no I."""
    parameters = initialisation.initialise(WIDE, [0], law=law, dtype=torch.float64, **settings)
    return [(W * math.sqrt(W.shape[2]), b * math.sqrt(W.shape[2])) for W, b in parameters]


def test_the_normal_law_has_its_mean_and_standard_deviation_for_weights_and_biases():
    (W, b), _ = initialisation.initialise(WIDE, [0], mean=0.15, std=0.02, dtype=torch.float64)
    for tensor, error in ((W, 3e-4), (b, 5e-3)):
        assert tensor.mean().item() == pytest.approx(0.15, abs=error)
        assert tensor.std().item() == pytest.approx(0.02, abs=error)


def test_torchs_law_is_uniform_within_one_over_root_fan_in_for_weights_and_biases():
    for W, b in standardised("torch"):
        for tensor in (W, b):
            assert tensor.abs().max() <= 1
        assert W.var().item() == pytest.approx(1 / 3, rel=0.03)
        assert W.abs().max() > 0.99
        assert b.std() > 0.4
    linear = torch.nn.Linear(400, 300)  # what torch itself does
    assert linear.weight.abs().max() <= 1 / 20 and linear.bias.abs().max() <= 1 / 20


def test_hes_law_has_variance_two_over_fan_in_and_no_bias():
    for W, b in standardised("he"):
        assert W.var().item() == pytest.approx(2, rel=0.03)
        assert (b == 0).all()


@pytest.mark.parametrize("law", initialisation.LAWS)
def test_a_constant_bias_takes_the_place_of_the_laws(law):
    parameters = initialisation.initialise(WIDE, [0, 1], law=law, bias=0.1)
    assert all((b == 0.1).all() and b.shape[0] == 2 for _, b in parameters)
    assert torch.equal(parameters[0].W, initialisation.initialise(WIDE, [0, 1], law=law)[0].W)


@pytest.mark.parametrize("law", initialisation.LAWS)
def test_a_seed_gives_the_same_net_in_every_ensemble_and_precision(law):
    together = initialisation.initialise(WIDE, [4, 9, 2], law=law)
    alone = initialisation.initialise(WIDE, [9], law=law, dtype=torch.float64)
    for a, b in zip(propagation.tensors(together), propagation.tensors(alone), strict=True):
        assert torch.equal(a[1], b[0].float())
    assert not torch.equal(together[0].W[0], together[0].W[1])


def test_an_unknown_law_is_refused():
    with pytest.raises(ValueError, match="law: got 'xavier', need normal, torch or he"):
        initialisation.initialise(WIDE, [0], law="xavier")
