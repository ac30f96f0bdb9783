import pytest
import torch
from torch import nn

import sibp
from sibp.nets import propagation
from sibp.nets.from_sequential import check_parameters, network_of, parameters_of


class Doubled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Skipping(nn.Sequential):
    def forward(self, input):
        return input + super().forward(input)


TWICE = nn.Linear(4, 4)
GOOD = {
    "nested": nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Sequential(nn.Linear(5, 3))),
    "identities": nn.Sequential(nn.Identity(), nn.Linear(6, 5), nn.Identity(), nn.Tanh(), nn.Linear(5, 3), nn.Identity()),
    "two activations": nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.ReLU(), nn.Linear(5, 3)),
    "activation first": nn.Sequential(nn.Sigmoid(), nn.Linear(6, 5, bias=False), nn.Softplus(), nn.Linear(5, 3)),
    "no activation": nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)),
}
IMAGES = {
    "flatten": nn.Sequential(nn.Flatten(), nn.Linear(98, 3)),
    "conv": nn.Sequential(nn.Conv2d(2, 3, 3), nn.LeakyReLU(), nn.Flatten(), nn.Linear(75, 3)),
    "pool first": nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 3)),
    "activation after pooling": nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3)),
    "strides": nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(0, 1), bias=False),
        nn.ReLU(),
        nn.MaxPool2d((1, 2), stride=(1, 3), padding=(0, 1)),
        nn.Conv2d(3, 2, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 3),
    ),
}


@pytest.mark.parametrize("case", GOOD | IMAGES)
def test_the_network_computes_what_the_module_computes(case, randn):
    shape = (6,) if case in GOOD else (2, 7, 7)
    model, x = (GOOD | IMAGES)[case].double(), randn(4, *shape)
    network = network_of(model, shape)
    assert torch.allclose(propagation.output(network, parameters_of(model), x[None])[0], model(x), rtol=1e-12, atol=1e-14)


def test_one_activation_module_may_stand_in_several_places(randn):
    relu = nn.ReLU()
    model, x = nn.Sequential(nn.Linear(6, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 3)).double(), randn(4, 6)
    assert torch.allclose(propagation.output(network_of(model, (6,)), parameters_of(model), x[None])[0], model(x))


BAD = [
    (nn.Linear(3, 2), "model: got Linear, need an nn.Sequential of Linear, Conv2d"),
    (Skipping(nn.Linear(3, 3)), "model: got Skipping, need an nn.Sequential of"),
    (nn.Sequential(nn.Linear(6, 5), nn.Dropout(), nn.Linear(5, 3)), r"model\.1: Dropout is not supported, need one of Linear"),
    (nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))), r"model\.0\.1: BatchNorm1d is not supported"),
    (nn.Sequential(Doubled(6, 3)), r"model\.0: Doubled is not supported"),
    (nn.Sequential(TWICE, nn.ReLU(), TWICE), r"model\.2: is the layer model\.0 again, need a layer of its own"),
    (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), "model: must end with a Linear layer and no activation after it"),
    (nn.Sequential(nn.Conv2d(2, 3, 3)), "model: must end with a Linear layer"),
    (nn.Sequential(nn.ReLU()), "model: has no Linear or Conv2d layer"),
    (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 3)), r"model\.0: got Conv2d.*need groups=1"),
    (nn.Sequential(nn.Conv2d(2, 4, 3, padding="same"), nn.Linear(4, 3)), r"model\.0: .*zero padding given as numbers"),
    (nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2), nn.Linear(4, 3)), r"model\.0: .*need groups=1, dilation=1"),
    (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Linear(4, 3)), r"model\.0: .*ceil_mode=False"),
    (nn.Sequential(nn.Flatten(2), nn.Linear(4, 3)), r"model\.0: got Flatten.*need Flatten\(1, -1\)"),
    (nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.2), nn.Linear(3, 3)), r"model\.1: .*need negative_slope=0\.01"),
    (nn.Sequential(nn.Linear(4, 3), nn.Softplus(2.0), nn.Linear(3, 3)), r"model\.1: .*need beta=1, threshold=20"),
]


@pytest.mark.parametrize(("model", "line"), BAD, ids=[line[:40] for _, line in BAD])
def test_what_is_not_supported_is_refused_by_name_before_any_data(model, line):
    with pytest.raises(ValueError, match=line) as caught:
        network_of(model, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("place", "line"), [("", "model"), ("0", r"model\.0"), ("0.0", r"model\.0\.0")])
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_are_refused_since_a_step_would_not_call_them(place, line, kind):
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3))
    hook = getattr(model.get_submodule(place), f"register_{kind}_hook")(lambda *_: None)
    with pytest.raises(ValueError, match=f"^{line}: has hooks"):
        network_of(model, (6,))
    hook.remove()
    network_of(model, (6,))


@pytest.mark.parametrize(
    ("model", "shape", "line"),
    [
        (GOOD["nested"], (7,), r"model\.0\.0: takes 6 inputs, got samples of shape \(7,\)"),
        (nn.Sequential(nn.Linear(6, 5), nn.Linear(4, 3)), (6,), r"model\.1: takes 4 inputs, got samples of shape \(5,\)"),
        (IMAGES["conv"], (3, 7, 7), r"model\.0: takes images of 2 channels, got samples of shape \(3, 7, 7\)"),
        (IMAGES["conv"], (2, 2, 7), r"model\.0: a window of \(3, 3\) does not fit samples of shape \(2, 2, 7\)"),
        (IMAGES["pool first"], (98,), r"model\.0: takes images, got samples of shape \(98,\)"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(75, 3)), (2, 7, 7), r"model\.1: takes 75 inputs, got .* \(3, 5, 5\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_at_the_layer(model, shape, line):
    with pytest.raises(ValueError, match=line):
        network_of(model, shape)


def test_parameters_are_shared_not_copied():
    model = sibp.lenet("mnist")
    for view, parameter in zip(propagation.tensors(parameters_of(model)), model.parameters(), strict=True):
        view.add_(1)
        assert view.data_ptr() == parameter.data_ptr()
        assert torch.equal(view.flatten(), parameter.flatten())


def mixed(change):
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    change(model)
    return model


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda m: m.half(), r"model\.0\.weight: is torch\.float16, need torch\.float32 or torch\.float64"),
        (lambda m: m[2].double(), r"model\.2\.weight: dtype is torch\.float64, need torch\.float32 as for 0\.weight"),
        (lambda m: m[2].to("meta"), r"model\.2\.weight: device is meta, need cpu as for 0\.weight"),
        (lambda m: m[0].bias.requires_grad_(False), r"model\.0\.bias: requires_grad is False, need True as for 0\.weight"),
        (lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(6, 5).T)), r"model\.0\.weight: is not contiguous"),
        (lambda m: setattr(m[2], "bias", m[0].bias), r"model\.2\.bias: is 0\.bias again, need a parameter of its own"),
        (lambda m: m.__delitem__(slice(0, 3)), "model: has no Linear or Conv2d layer"),
    ],
)
def test_parameters_that_cannot_be_stepped_together_are_refused(change, line):
    with pytest.raises(ValueError, match=line):
        check_parameters(mixed(change))


def test_parameters_that_are_all_frozen_are_accepted():
    assert check_parameters(mixed(lambda m: m.requires_grad_(False))).shape == (5, 6)
