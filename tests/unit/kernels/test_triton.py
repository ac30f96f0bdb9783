"""Triton's kernels without a device: they compile, their launches are declared, and their numbers are held against the eager solvers'."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sibp.bench import fake_cuda
from sibp.kernels.launches import DECLARED
from sibp.kernels.status import status as kernels_of
from sibp.kernels.switch import off
from sibp.kernels.triton import calls, operators
from sibp.methods import registry
from sibp.nets import losses, papers

LAYERS = [(1, 100, 784, 500), (3, 100, 500, 10)]  # E, R, I, O
SEARCHES = {"armijo": (True, 0.1, 0.6, 50), "newton": (False, 0.0, 0.5, 3)}
TYPES = {torch.float32: "*fp32", torch.float64: "*fp64"}


def operator_arguments(size, iterations, search, dtype=torch.float32):
    """Return operator -> arguments without numbers, on a layer of this size; a convolution for the rows of one."""
    E, R, I, O = size
    empty = lambda *shape: torch.empty(*shape, dtype=dtype, device="meta")  # noqa: E731
    K, X, Z, b, column = empty(E, R, R), empty(E, R, I), empty(E, R, O), empty(E, 1, O), empty(E, 1, 1)
    images, dense = empty(E, R, 3, 8, 8), [1, 1, 1, 1, 0, 0]
    W, P = empty(E, I, O), empty(E, 75, O)
    Z_image, how = empty(E, 64 * R, O), (iterations, *SEARCHES[search], 0.0)
    return [
        ("targets", (Z, Z, column, Z, 0.01)),
        ("targets", (Z, Z, column, None, 0.01)),
        ("armijo_exponents", (Z, b, *[column] * 8, 1.0, 0.1, 0.6, 50)),
        ("minimise_batch", (K, Z, Z, column, Z, *how)),
        ("minimise_bias", (Z, Z, column, b, *how)),
        ("minimise_weights", (X, dense, Z, Z, column, W, *how)),
        ("minimise_weights", (images, [5, 5, 1, 1, 2, 2], Z_image, Z_image, column, P, *how)),
        ("minimise_sparse", (X, dense, False, Z, Z, W, column, column, W, W, Z, iterations, 20, 0.0)),
        ("minimise_sparse", (empty(1, R, 0), dense, True, Z, Z, b, column, column, b, b, Z, iterations, 20, 0.0)),
        (
            "minimise_sparse",
            (images, [5, 5, 1, 1, 2, 2], False, *[Z_image] * 2, P, column, column, P, P, Z_image, iterations, 20, 0.0),
        ),
        ("solve_linear_batch", (K, Z, column, column, Z, iterations)),
        ("solve_linear_weights", (X, dense, True, Z, column, column, empty(E, I + 1, O), iterations)),
        ("solve_linear_weights", (images, [5, 5, 1, 1, 2, 2], False, Z_image, column, column, P, iterations)),
    ]


def launched(name, arguments, monkeypatch):
    """Return the launches that a call of an operator would make."""
    made = []
    monkeypatch.setattr(operators, "run", made.extend)
    getattr(operators, name)._init_fn(*arguments)
    return made


def test_every_operator_declares_what_it_launches():
    named = {f"sibp::{operator._name}" for operator in operators.OPERATORS}
    assert named == {name for name in DECLARED if name.startswith("sibp::")}
    assert named == {f"sibp::{name}" for name, _ in operator_arguments(LAYERS[0], 1, "newton")}
    assert named == {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("sibp::")}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("size", LAYERS)
@pytest.mark.parametrize("iterations", [1, 5])
def test_the_launches_are_those_declared_and_grow_with_the_iterations_alone(iterations, size, search, monkeypatch):
    for (name, given), (_, other) in zip(
        operator_arguments(size, iterations, search), operator_arguments(LAYERS[0], iterations, search), strict=True
    ):
        launches = launched(name, given, monkeypatch)
        assert len(launches) == DECLARED[f"sibp::{name}"](*given).kernels == DECLARED[f"sibp::{name}"](*other).kernels
        assert all(max(launch.grid) < 2**31 and max(launch.grid[1:], default=0) < 2**16 for launch in launches)  # CUDA's limits
        for launch in launches:
            wanted = launch.kernel.arg_names
            assert len(wanted) == len(launch.arguments) + len(launch.constants)
            assert set(wanted[len(launch.arguments) :]) == launch.constants.keys()
            integers = {name for name, value in zip(wanted, launch.arguments, strict=False) if isinstance(value, int)}
            assert integers == set(launch.kernel.do_not_specialize)  # one code for all sizes


def kernels(dtype, monkeypatch):
    """Return every kernel there is as launches, each of what it is compiled for once."""
    found = {}
    for search in SEARCHES:
        for name, given in operator_arguments(LAYERS[1], 2, search, dtype):
            for launch in launched(name, given, monkeypatch):
                found[launch.kernel.__module__, launch.kernel.__name__, *launch.constants.items()] = launch
    return found


def compiled(launch, capability):
    """Return the machine code of a launch's kernel for a device that need not be there."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    types = [TYPES[a.dtype] if isinstance(a, torch.Tensor) else "i32" for a in launch.arguments]
    signature = dict(zip(launch.kernel.arg_names, types, strict=False)) | dict.fromkeys(launch.constants, "constexpr")
    source = ASTSource(launch.kernel, signature, launch.constants)
    return compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch.warps})


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "dtype"), [(80, torch.float64), (90, torch.float32)])
def test_every_variant_of_every_kernel_compiles(dtype, capability, monkeypatch):
    for launch in kernels(dtype, monkeypatch).values():
        code = compiled(launch, capability)
        assert len(code.asm["cubin"]) > 0
        # what a program may have on these devices, and for float32 on the smallest of their generations
        assert code.metadata.shared <= (160 if dtype == torch.float64 else 99) * 2**10


def test_their_numbers_are_the_eager_solvers():
    folder = Path(__file__).with_name("interpreted")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (lambda patch: patch.setitem(sys.modules, "triton", None), "no Triton: "),
        (lambda patch: patch.setenv("SIBP_NATIVE", "0"), "switched off by SIBP_NATIVE=0"),
    ],
)
def test_without_triton_the_eager_code_runs_and_a_record_says_why(obstacle, reason, monkeypatch):
    cuda = torch.device("cuda")
    assert kernels_of(cuda).startswith("compiled by Triton ")
    try:
        calls._version.cache_clear()
        obstacle(monkeypatch)
        assert kernels_of(cuda).startswith(reason)
        with fake_cuda.fake_device() as mode:
            assert not calls.supports("relu", fake_cuda.empty(mode, 1, 2, 3))
    finally:
        monkeypatch.undo()
        calls._version.cache_clear()


def test_smooth_activations_other_types_and_a_switch_keep_to_the_eager_code():
    with fake_cuda.fake_device() as mode:
        Z, half = (fake_cuda.empty(mode, 1, 2, 3, dtype=dtype) for dtype in (torch.float32, torch.float16))
        assert calls.supports("relu", Z) and not calls.supports("tanh", Z) and not calls.supports("relu", half)
        assert not calls.supports("relu", torch.empty(1, 2, 3))
        with off():
            assert not calls.supports("relu", Z)


def step(name, options, widths, members, batch):
    """Return what a step does, on tensors that hold nothing."""
    network = papers.mlp(widths)
    method = registry.build(name, network, losses.get("cross-entropy"), [registry.options(name)(**options)] * members)
    with fake_cuda.fake_device() as mode:
        fake_cuda.on_device(mode, method)
        parameters = fake_cuda.affines(mode, network, members)
        x, y = fake_cuda.empty(mode, members, batch, widths[0]), fake_cuda.empty(mode, members, batch, dtype=torch.int64)
        with mode:
            state = method.start(parameters)
        return fake_cuda.watch(mode, lambda: method.step(parameters, state, x, y))


DEEP = [784, *[600] * 10, 10]
BUDGETS = [
    ("sgd", {}, [784, 500, 10], 40),
    ("sibp", {"variant": "newton"}, [784, 500, 10], 110),
    ("sibp", {"variant": "armijo"}, [784, 500, 10], 110),
    ("sibp", {"variant": "newton"}, DEEP, 450),
    ("sibp", {"variant": "armijo"}, DEEP, 450),
    ("proxbp", {}, [784, 500, 10], 100),
    ("proxprop", {}, [784, 500, 10], 110),
]


@pytest.mark.parametrize(("name", "options", "widths", "budget"), BUDGETS)
def test_a_step_keeps_to_its_number_of_kernels_whatever_the_members_and_images(name, options, widths, budget):
    seen = [step(name, options, widths, members, batch) for members, batch in [(1, 100), (7, 100), (1, 120)]]
    assert [one.faults() for one in seen] == [[]] * 3
    counts = [one.kernels for one in seen]
    assert max(counts) <= budget and len(set(counts)) == 1
    if name != "sgd":
        assert any(operation.name.startswith("sibp::") for operation in seen[0].operations)
