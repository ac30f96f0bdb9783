"""What every method must do, whatever its mathematics: one table, and each row passes every test below.

A new method or variant joins by one row; `test_the_table_is_complete` fails until it does.
"""

import math
from dataclasses import replace

import pytest
import torch

from sibp.core.options import describe
from sibp.experiments import checks, schema
from sibp.experiments.strict import parse
from sibp.experiments.yaml_file import SpecError
from sibp.methods import registry
from sibp.nets import initialisation, losses, papers, propagation

SIZE, SAMPLES, CLASSES = 5, 24, 3
MLP = papers.mlp([6, 9, 8, CLASSES])
CNN = papers.cnn((2, 4, 4), channels=(3, 4), pools=2, classes=CLASSES)

# label -> (method, options)
TABLE = {
    "sgd": ("sgd", {"eta": 0.3}),
    "sgd-momentum": ("sgd", {"eta": 0.1, "momentum": 0.8}),
    "sgd-nesterov": ("sgd", {"eta": 0.1, "momentum": 0.8, "nesterov": True}),
    "sgd-l1": ("sgd", {"eta": 0.3, "l1": 1e-3}),
    "adam": ("adam", {"eta": 0.02}),
    "rmsprop": ("rmsprop", {"eta": 0.01}),
    "rmsprop-momentum": ("rmsprop", {"eta": 0.003, "momentum": 0.8}),
    "proxprop": ("proxprop", {"eta": 0.3}),
    "proxprop-exact": ("proxprop", {"eta": 0.3, "solver": "exact"}),
    "proxprop-gradient": ("proxprop", {"eta": 0.1, "solver": "gradient"}),
    "proxprop-weight": ("proxprop", {"eta": 0.3, "space": "weight", "tolerance": 0.01}),
    "proxprop-released": ("proxprop", {"eta": 0.3, "variant": "released"}),
    "proxprop-adam": ("proxprop", {"eta": 0.02, "optimizer": "adam", "reduction": "sum"}),
    "proxprop-rmsprop": ("proxprop", {"eta": 0.01, "optimizer": "rmsprop"}),
    "proxbp": ("proxbp", {"space": "batch"}),
    "proxbp-weight": ("proxbp", {"space": "weight"}),
    "proxbp-exact": ("proxbp", {"solver": "exact"}),
    "bcd": ("bcd", {}),
    "sibp-l1": ("sibp", {"l1": 1e-3}),
    **{
        f"sibp-{variant}-{space}": ("sibp", {"variant": variant, "space": space, "cg_steps": 3})
        for variant in ("newton", "armijo", "released", "released-rowwise")
        for space in ("batch", "weight")
    },
}
DEVICES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


def data(network, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(SAMPLES) % CLASSES
    centres = 2 * torch.randn(CLASSES, *network.input_shape, generator=generator)
    x = centres[y] + torch.randn(SAMPLES, *network.input_shape, generator=generator)
    return x.to(device, dtype)[None], y.to(device)[None]


def options_of(label, size=SIZE, factor=1.0):
    """The members' options: every float differs from member to member."""
    name, given = TABLE[label]
    base = registry.options(name)(**given)
    floats = {key: value for key, value in vars(base).items() if isinstance(value, float)}
    return [replace(base, **{k: v * factor * (1 - 0.05 * e) for k, v in floats.items()}) for e in range(size)]


def begin(label, options, network=MLP, seeds=None, dtype=torch.float64, device="cpu"):
    """Return a method, parameters and state at the start."""
    seeds = seeds or list(range(len(options)))
    method = registry.build(TABLE[label][0], network, losses.get("cross-entropy"), options, dtype=dtype, device=device)
    parameters = initialisation.initialise(network, seeds, std=0.3, dtype=dtype, device=device)
    return method, parameters, method.start(parameters)


def run(label, options, steps, network=MLP, break_member=None, **where):
    """Return all parameters after some steps, and the losses [steps, E] before each."""
    method, parameters, state = begin(label, options, network, **where)
    if break_member is not None:
        parameters[0].W[break_member].fill_(math.nan)
    x, y = data(network, parameters[0].W.dtype, parameters[0].W.device)
    told = [method.step(parameters, state, x, y) for _ in range(steps)]
    return propagation.tensors(parameters), torch.stack(told)


def networks(label):
    return [MLP] if label == "bcd" else [MLP, CNN]  # BCD has dense layers only


def test_the_table_is_complete():
    def rows(name, field):
        default = describe(registry.options(name))[field].default
        return {given.get(field, default) for key, given in TABLE.values() if key == name}

    assert {name for name, _ in TABLE.values()} == set(registry.METHODS)
    for name in registry.METHODS:
        for field in {"variant", "solver", "optimizer"} & set(describe(registry.options(name))):
            assert rows(name, field) == set(describe(registry.options(name))[field].choices), (name, field)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("label", TABLE)
def test_a_small_problem_improves(label, device):
    for network in networks(label):
        options = options_of(label)
        (method, parameters, state), (x, y) = begin(label, options, network, device=device), data(network, device=device)
        loss = losses.get("squared" if label == "bcd" else "cross-entropy")  # BCD never sees another loss
        before = loss.value(propagation.output(network, parameters, x), y)
        for _ in range(15):
            method.step(parameters, state, x, y)
        after = loss.value(propagation.output(network, parameters, x), y)
        assert (after < 0.8 * before).all(), (before, after)


@pytest.mark.parametrize("label", TABLE)
def test_a_step_returns_the_mean_loss_before_it(label):
    (method, parameters, state), (x, y) = begin(label, options_of(label)), data(MLP)
    for _ in range(3):
        expected = losses.get("cross-entropy").value(propagation.output(MLP, parameters, x), y)
        assert torch.allclose(method.step(parameters, state, x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("label", TABLE)
def test_repeated_runs_are_bit_equal(label, device):
    first, again = (run(label, options_of(label), 6, device=device) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("label", TABLE)
def test_a_member_of_an_ensemble_equals_the_run_alone(label):
    for network in networks(label):
        options = options_of(label)
        together, told = run(label, options, 6, network)
        for e in (0, 3):
            alone, told_alone = run(label, [options[e]], 6, network, seeds=[e])
            assert torch.allclose(told[:, e], told_alone[:, 0], rtol=1e-9)
            for a, b in zip(together, alone, strict=True):
                assert (a[e] - b[0]).abs().max() < 1e-8 * b.abs().max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("label", TABLE)
def test_changing_one_member_leaves_the_others_bit_equal(label, device):
    options, other = options_of(label), options_of(label, factor=0.5)
    changed = [*options[:2], other[2], *options[3:]]
    first, _ = run(label, options, 6, device=device)
    second, _ = run(label, changed, 6, device=device, seeds=[0, 1, 77, 3, 4])
    kept = [0, 1, 3, 4]
    assert all(torch.equal(a[kept], b[kept]) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0][2], second[0][2])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("label", TABLE)
def test_a_lost_member_stays_lost_and_alone(label, device):
    kept = [0, 1, 3, 4]
    whole, _ = run(label, options_of(label), 3, device=device)
    broken, told = run(label, options_of(label), 3, break_member=2, device=device)
    assert all(torch.equal(a[kept], b[kept]) for a, b in zip(whole, broken, strict=True))
    assert all(tensor[kept].isfinite().all() for tensor in broken)
    assert not told[1:, 2].isfinite().any()


@pytest.mark.parametrize("label", [label for label in TABLE if "eta" in describe(registry.options(TABLE[label][0]))])
def test_a_member_with_a_huge_step_leaves_the_others_bit_equal(label):
    options = options_of(label)
    wild = [*options[:2], replace(options[2], eta=1e30), *options[3:]]
    kept = [0, 1, 3, 4]
    first, _ = run(label, options, 3, dtype=torch.float32)
    second, _ = run(label, wild, 3, dtype=torch.float32)
    assert all(torch.equal(a[kept], b[kept]) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("label", TABLE)
def test_resumed_equals_straight(label):
    straight, _ = run(label, options_of(label), 6)
    (method, parameters, state), (x, y) = begin(label, options_of(label)), data(MLP)
    for _ in range(3):
        method.step(parameters, state, x, y)
    copied = [type(layer)(*(tensor.clone() for tensor in layer)) for layer in parameters]
    kept = {name: [tensor.clone() for tensor in tensors] for name, tensors in state.items()}
    method, _, _ = begin(label, options_of(label))
    for _ in range(3):
        method.step(copied, kept, x, y)
    assert all(torch.equal(a, b) for a, b in zip(straight, propagation.tensors(copied), strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", TABLE)
def test_parameters_are_changed_in_place_in_their_dtype_and_on_their_device(label, dtype, device):
    (method, parameters, state), (x, y) = begin(label, options_of(label), dtype=dtype, device=device), data(MLP, dtype, device)
    before = [(t, t.data_ptr(), t.clone()) for t in propagation.tensors(parameters)]
    told = method.step(parameters, state, x, y)
    assert told.dtype == dtype
    for tensor, address, old in before:
        assert (tensor.dtype, tensor.device.type, tensor.data_ptr()) == (dtype, device, address)
        assert not torch.equal(tensor, old)


@pytest.mark.parametrize("label", ["proxprop", "proxbp", "sibp-newton-batch"])
def test_members_may_differ_in_floats_only(label):
    name, given = TABLE[label]
    pair = [registry.options(name)(**{**given, "cg_steps": steps}) for steps in (2, 3)]
    with pytest.raises(ValueError, match=f"{name}: members of one ensemble must agree in all but float options"):
        begin(label, pair)


def test_bcd_refuses_other_samples_than_it_began_with():
    (method, parameters, state), (x, y) = begin("bcd", options_of("bcd")), data(MLP)
    method.step(parameters, state, x, y)
    for other in (x.flip(1), x[:, 1:]):
        with pytest.raises(ValueError, match="bcd: the samples changed, need the same ones in the same order"):
            method.step(parameters, state, other, y[:, : other.shape[1]])


def check(widths, training, **network):
    mapping = {
        "id": "x",
        "title": "x",
        "data": {"name": "mnist", "train": 100, "test": 10},
        "network": {"widths": widths, **network},
        "loss": "cross-entropy",
        "training": {"epochs": 1},
        "methods": {"bcd": {"training": training}},
    }
    checks.check_experiment(parse(schema.Trained, mapping, "x"), "x")


@pytest.mark.parametrize("training", [{"batch_size": 10}, {"batch_size": "full", "sampling": "replacement"}])
def test_an_experiment_that_gives_bcd_mini_batches_is_refused(training):
    line = r"x: methods\.bcd\.training: got batch_size .* need full and permutation for bcd"
    with pytest.raises(SpecError, match=line):
        check([784, 10], training)


def test_an_experiment_that_holds_layers_of_bcd_is_refused():
    with pytest.raises(SpecError, match=r"fixed_layers: got 1, need none for bcd"):
        check([784, 5, 10], {"batch_size": "full", "fixed_layers": 1})


def test_an_experiment_with_a_network_that_bcd_cannot_have_is_refused():
    check([784, 5, 10], {"batch_size": "full"})
    with pytest.raises(SpecError, match=r"x: methods\.bcd: bcd: got 784-5-10, need dense layers with relu or identity"):
        check([784, 5, 10], {"batch_size": "full"}, activation="tanh")


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match=r"method: got 'sipb', need sgd, .*did you mean 'sibp'"):
        registry.get("sipb")
