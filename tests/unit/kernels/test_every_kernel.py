"""Every kernel at sizes that fill no vector, panel or block: single precision on one thread follows double on two.

`tools.sanitize` runs this file.
"""

import pytest
import torch

from sibp.kernels import cpu, native
from sibp.kernels.operators import NAMESPACE

pytestmark = pytest.mark.skipif(native.status() != "compiled", reason=native.status())
E, R, I, O = 2, 33, 21, 270  # three blocks of rows, nine or more panels of neurons; enough work for two threads
B, CHANNELS, HEIGHT, WIDTH, KERNEL, FILTERS = 7, 3, 12, 11, (5, 4), 16  # two blocks of samples
POSITIONS, INPUTS = B * HEIGHT * (WIDTH - 1), CHANNELS * KERNEL[0] * KERNEL[1]
ROWS, COLUMN = (E, R, O), (E, 1, 1)
PIXELS, WEIGHTS = (E, POSITIONS, FILTERS), (E, INPUTS, FILTERS)
SHAPES = {
    "targets": {"Z": ROWS, "delta": ROWS, "eta": COLUMN, "D": ROWS},
    "cross": {"W": (E, O, I), "D": ROWS, "X": (E, R, I)},
    "minimise": {"X": (E, R, I), "Z": ROWS, "T": ROWS, "lam": COLUMN, "b": (E, 1, O), "P": ROWS},
    "update": {"X": (E, R, I), "Z": ROWS, "delta": ROWS, "eta": COLUMN, "lam": COLUMN, "b": (E, 1, O), "W": (E, O, I)},
    "linear": {"X": (E, R, I), "R": ROWS, "lam": COLUMN, "tolerance": COLUMN, "D": ROWS},
    "minimise_weights": {"Z": PIXELS, "T": PIXELS, "lam": COLUMN, "b": (E, 1, FILTERS), "P": WEIGHTS},
    "linear_weights": {"R": PIXELS, "lam": COLUMN, "tolerance": COLUMN, "D": (E, INPUTS + 1, FILTERS)},
    "minimise_l1": {"Z": PIXELS, "T": PIXELS, "V": WEIGHTS, "smooth": WEIGHTS, "lam": COLUMN, "gamma": COLUMN}
    | {"b": (E, 1, FILTERS), "D": WEIGHTS},
}
SEARCH = {"sigma": 0.1, "shrink": 0.5, "trials": 10, "leak": 0.01}
OPTIONS = {"geometry": [*KERNEL, 2, 1], "joint": True, "iterations": 4, "halvings": 5} | SEARCH
SEARCHES = [(name, armijo) for name in SHAPES for armijo in ((False, True) if "minimise" in name or name == "update" else (False,))]


def arguments(name, armijo, shared):
    """Arrays in double precision: between -1 and 1, but for what must be positive."""
    generator = torch.Generator().manual_seed(0)
    shapes = SHAPES[name] | ({"images": (E, B, CHANNELS, HEIGHT, WIDTH)} if name.endswith(("weights", "l1")) else {})
    given = {key: 2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1 for key, shape in shapes.items()}
    given |= {key: given[key].abs() / 10 + 0.01 for key in ("lam", "eta", "gamma", "tolerance") if key in given}
    given |= {key: given[key][:1].clone() for key in ("X", "images") if shared and key in given}
    given |= OPTIONS | {"armijo": armijo}
    return {argument.name: given.get(argument.name) for argument in declared(name)}  # None for what has no shape


def declared(name):
    return getattr(cpu, name)._schema.arguments


def results(name, given, dtype):
    values = {key: value.to(dtype).clone() if isinstance(value, torch.Tensor) else value for key, value in given.items()}
    getattr(cpu, name)(**values)
    written = {argument.name for argument in declared(name) if argument.is_write}
    return {key: value.double() for key, value in values.items() if key in written and value is not None}


@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize(("name", "armijo"), SEARCHES)
def test_single_precision_on_one_thread_follows_double_on_two(name, armijo, shared):
    given = arguments(name, armijo, shared)
    narrow = results(name, given, torch.float32)
    torch.set_num_threads(2)
    try:
        wide = results(name, given, torch.float64)
    finally:
        torch.set_num_threads(1)
    for key, expected in wide.items():
        assert not torch.equal(expected, given[key])  # the kernel wrote to it
        torch.testing.assert_close(narrow[key], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_no_kernel_is_left_out():
    assert {f"{NAMESPACE}::{name}" for name in SHAPES} == {
        name for name in torch._C._dispatch_get_all_op_names() if name.startswith(f"{NAMESPACE}::")
    }
