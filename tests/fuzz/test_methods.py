"""Every method on random networks, sizes, precisions and step sizes: no exception, and no member's NaN reaches another."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from sibp.core.options import describe
from sibp.methods import registry
from sibp.nets import activations, initialisation, losses, papers, propagation
from tests.fuzz.profiles import profile

NUMBERS = st.sampled_from([1e-30, 1e-8, 1e-3, 0.1, 1.0, 30.0, 1e4, 1e12, 1e30])
CHOICES = {
    "sgd": {"momentum": [0.0, 0.9], "l1": [0.0, 0.1]},
    "adam": {},
    "bcd": {},
    "rmsprop": {"momentum": [0.0, 0.9]},
    "proxprop": {
        "solver": ["cg", "exact", "gradient"],
        "variant": ["paper", "released"],
        "optimizer": ["sgd", "adam", "rmsprop"],
        "reduction": ["mean", "sum"],
        "space": ["auto", "batch", "weight"],
    },
    "proxbp": {"solver": ["cg", "exact"], "space": ["auto", "batch", "weight"]},
    "sibp": {
        "variant": ["newton", "armijo", "released", "released-rowwise"],
        "space": ["auto", "batch", "weight"],
        "l1": [0.0, 0.1],
    },
}
SIZES = {"eta": "sgd adam rmsprop proxprop sibp".split(), "lam": ["proxbp", "sibp"], "tau_prox": ["proxprop"]}
SIZES |= {name: ["bcd"] for name in ("alpha", "rho", "gamma")}


@st.composite
def cases(draw):
    """Draw a network, a method's options for some members, which member is broken, and a mini-batch's size and scale."""
    name = draw(st.sampled_from(sorted(CHOICES)))
    chosen = {key: draw(st.sampled_from(values)) for key, values in CHOICES[name].items()}
    if "cg_steps" in describe(registry.options(name)):
        chosen["cg_steps"] = draw(st.integers(1, 4))
    if chosen.get("optimizer", "sgd") != "sgd":
        chosen |= {"momentum": 0.0, "nesterov": False}
    members = draw(st.integers(2, 4))
    sizes = [{key: draw(NUMBERS) for key, takers in SIZES.items() if name in takers} for _ in range(members)]
    options = [registry.options(name)(**chosen | size) for size in sizes]
    widths = draw(st.lists(st.integers(1, 7), min_size=2, max_size=5))
    activation = draw(st.sampled_from(["identity", "relu"] if name == "bcd" else sorted(activations.ACTIVATIONS)))
    network = papers.mlp(widths, activation, bias=draw(st.booleans()))
    if name != "bcd" and draw(st.integers(0, 3)) == 0:
        network = papers.cnn((2, 4, 4), channels=(2, 3), pools=draw(st.integers(0, 2)), classes=3, activation=activation)
    return {
        "name": name,
        "options": options,
        "network": network,
        "loss": draw(st.sampled_from(["cross-entropy", "squared"])),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
        "samples": draw(st.integers(1, 9)),
        "scale": draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3])),
        "std": draw(st.sampled_from([0.0, 0.01, 0.5, 3.0])),
        "broken": draw(st.integers(0, members - 1)),
        "bad": draw(st.sampled_from([math.nan, math.inf])),
    }


def trained(case, broken=None):
    """Return all tensors and losses after two steps; the broken member starts from NaN or infinity."""
    network, dtype, seeds = case["network"], case["dtype"], list(range(len(case["options"])))
    method = registry.build(case["name"], network, losses.get(case["loss"]), case["options"], dtype=dtype)
    parameters = initialisation.initialise(network, seeds, std=case["std"], dtype=dtype, device="cpu")
    if broken is not None:
        for tensor in propagation.tensors(parameters):
            tensor[broken] = case["bad"]
    generator = torch.Generator().manual_seed(1)
    x = case["scale"] * torch.randn(1, case["samples"], *network.input_shape, generator=generator, dtype=dtype)
    y = torch.randint(network.layers[-1].fan_out, (1, case["samples"]), generator=generator)
    state = method.start(parameters)
    told = [method.step(parameters, state, x, y) for _ in range(2)]
    return [*propagation.tensors(parameters), *told]


@profile
@given(cases())
def test_no_exception_and_no_nan_from_one_member_in_another(case):
    beside, healthy = trained(case, case["broken"]), trained(case)
    others = torch.arange(len(case["options"])) != case["broken"]
    for ours, theirs in zip(beside, healthy, strict=True):
        assert ours.dtype == case["dtype"] or ours.ndim == 1
        torch.testing.assert_close(ours[others], theirs[others], rtol=0, atol=0, equal_nan=True)
