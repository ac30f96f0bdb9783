"""The CPU kernels as operators of torch: wrong arguments are one clear error, and fake tensors, compilers and counters see them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import sibp
from sibp.kernels import cpu, native
from sibp.kernels.launches import DECLARED
from sibp.kernels.operators import NAMESPACE

needs_compiler = pytest.mark.skipif(native.status() != "compiled", reason=native.status())
SEARCH = {"iterations": 3, "armijo": True, "sigma": 0.1, "shrink": 0.5, "trials": 8, "leak": 0.0}


def arguments(**shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(*shape, generator=generator) + 0.1 for name, shape in shapes.items()}


DENSE = {"X": (2, 6, 5), "Z": (2, 6, 3), "T": (2, 6, 3), "lam": (2, 1, 1), "b": (2, 1, 3), "P": (2, 6, 3)}
IMAGES = {"images": (2, 2, 3, 5, 4), "lam": (2, 1, 1), "b": (2, 1, 6)}  # 2 * 3 * 4 rows and 3 * 3 * 3 inputs
GEOMETRY = {"geometry": [3, 3, 0, 1]}
ROWS, WEIGHTS = (2, 24, 6), (2, 27, 6)
CALLS = {
    "targets": (arguments(Z=(2, 6, 3), delta=(2, 6, 3), eta=(2, 1, 1), D=(2, 6, 3)) | {"leak": 0.01}),
    "cross": arguments(W=(2, 3, 5), D=(2, 6, 3), X=(1, 6, 5)),
    "minimise": arguments(**DENSE) | SEARCH,
    "update": arguments(X=(2, 6, 5), Z=(2, 6, 3), delta=(2, 6, 3), eta=(2, 1, 1), lam=(2, 1, 1), b=(2, 1, 3), W=(2, 3, 5))
    | {"P": None}
    | SEARCH,
    "linear": arguments(X=(2, 6, 5), R=(2, 6, 3), lam=(2, 1, 1), tolerance=(2, 1, 1), D=(2, 6, 3))
    | {"joint": True, "iterations": 3},
    "minimise_weights": arguments(**IMAGES, Z=ROWS, T=ROWS, P=WEIGHTS) | GEOMETRY | SEARCH,
    "linear_weights": arguments(images=IMAGES["images"], R=ROWS, lam=(2, 1, 1), tolerance=(2, 1, 1), D=(2, 28, 6))
    | GEOMETRY
    | {"joint": True, "iterations": 3},
    "minimise_l1": arguments(**IMAGES, Z=ROWS, T=ROWS, V=WEIGHTS, smooth=WEIGHTS, gamma=(2, 1, 1), D=WEIGHTS)
    | GEOMETRY
    | SEARCH
    | {"halvings": 5},
}


def clones(given, device=None):
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in given.items()}


def test_every_operator_is_tested_and_declared():
    made = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith(f"{NAMESPACE}::")}
    assert made == CALLS.keys() == {name.split("::")[1] for name in DECLARED if name.startswith(f"{NAMESPACE}::")}


def expanded(tensor):
    return tensor[:, :1].expand(-1, 6, -1)


WRONG = {
    "a size": ("minimise", {"T": torch.rand(2, 5, 3)}, r"T is \[2, 5, 3\], need \[E = 2, R = 6, O = 3\], each 1 or more"),
    "an axis": ("targets", {"eta": torch.rand(2)}, r"eta is \[2\], need \[E = 2, 1, 1\]"),
    "no rows": ("cross", {"D": torch.rand(2, 0, 3), "X": torch.rand(2, 0, 5)}, r"D is \[2, 0, 3\], need"),
    "members": ("minimise", {"X": torch.rand(3, 6, 5)}, "S is 3, need 1 or E = 2"),
    "a dtype": ("minimise", {"lam": torch.rand(2, 1, 1).double()}, "lam is torch.float64, need torch.float32"),
    "half": ("cross", {"W": torch.rand(2, 3, 5).half()}, "W is torch.float16, need torch.float32 or torch.float64"),
    "a device": ("linear", {"lam": torch.rand(2, 1, 1, device="meta")}, "lam is on meta, need cpu"),
    "strides": (
        "minimise",
        {"Z": expanded(torch.rand(2, 6, 3))},
        r"Z has the strides \[18, 0, 1\] for \[2, 6, 3\], need it contiguous",
    ),
    "a result on top": ("minimise", {"P": CALLS["minimise"]["Z"]}, "Z shares its memory with P, need its own"),
    "a geometry": ("minimise_weights", {"geometry": [3, 3]}, r"geometry is \[3, 3\], need height and width"),
    "a large kernel": (
        "minimise_weights",
        {"geometry": [9, 3, 0, 0]},
        r"geometry is \[9, 3, 0, 0\], need a kernel within images of 5 x 4",
    ),
    "rows": ("minimise_l1", {"geometry": [3, 3, 1, 1]}, "R is 24 and I 27, need R = 40 and I = 27 for these images"),
    "the bias's input": ("linear_weights", {"joint": False}, "R is 24 and I 28, need R = 24 and I = 27"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_argument_is_one_line_before_anything_is_read(what):
    name, change, message = WRONG[what]
    given = CALLS[name] | change
    with pytest.raises(ValueError, match=f"^{NAMESPACE}::{name}: {message}") as caught:
        getattr(cpu, name)(**given)
    assert "\n" not in str(caught.value)


@needs_compiler
@pytest.mark.parametrize("name", CALLS)
def test_an_operator_is_what_its_schema_says_and_its_fake_agrees(name):
    torch.library.opcheck(getattr(cpu, name), (), clones(CALLS[name]), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("name", CALLS)
def test_fake_tensors_run_through_and_are_checked(name):
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = {key: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value for key, value in CALLS[name].items()}
        with FlopCounterMode(display=False) as counter:
            getattr(cpu, name)(**fakes)
        assert counter.get_total_flops() == DECLARED[f"{NAMESPACE}::{name}"](*in_order(name, fakes)).flops > 0
        tensor = next(key for key, value in fakes.items() if isinstance(value, torch.Tensor))
        with pytest.raises(Exception, match=f"{NAMESPACE}::{name}: {tensor}"):
            getattr(cpu, name)(**fakes | {tensor: torch.empty(2)})


def in_order(name, given):
    return [given[argument.name] for argument in getattr(cpu, name)._schema.arguments]


def test_the_work_declared_is_that_of_the_eager_solver():
    """Products of a solve with 3 iterations: K, then one a conjugate gradient iteration."""
    E, R, I, O = 2, 6, 5, 3
    work = DECLARED[f"{NAMESPACE}::linear"](*in_order("linear", CALLS["linear"]))
    assert work.flops == E * R * R * I + 3 * (2 * E * R * R * O + 12 * E * R * O)


@needs_compiler
def test_a_profile_and_a_counter_see_the_names_of_a_step():
    model = sibp.mlp([64, 40, 10], std=0.1, seed=0)
    optimizer = sibp.SIBP(model.parameters())
    x, y = torch.rand(20, 64), torch.randint(10, (20,))
    closure = lambda: torch.nn.functional.cross_entropy(model(x), y)  # noqa: E731
    optimizer.step(closure)
    with torch.profiler.profile(acc_events=True) as profile:
        optimizer.step(closure)
    names = {event.key for event in profile.key_averages()}
    assert f"{NAMESPACE}::update" in names
    with FlopCounterMode(display=False) as counter:
        optimizer.step(closure)
    counted = {str(packet): flops for packet, flops in counter.get_flop_counts()["Global"].items()}
    assert counted[f"{NAMESPACE}.update"] > 2 * 20 * 20 * (64 + 40)


@needs_compiler
def test_a_compiler_takes_an_operator_into_its_graph():
    def solve(X, R, lam):
        D = torch.empty_like(R)
        cpu.linear(X, R, lam, torch.zeros_like(lam), D, True, 3)
        return 2 * D

    given = [CALLS["linear"][name] for name in ("X", "R", "lam")]
    compiled = torch.compile(solve, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*given), solve(*given))
