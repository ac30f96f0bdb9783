"""The fused kernels against the eager solvers they stand in for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sibp.kernels import cpu, native
from sibp.nets import activations, layers
from sibp.solvers import conjugate_gradient, dispatch
from sibp.solvers.conjugate_gradient import Rules
from sibp.solvers.dispatch import Seen
from sibp.solvers.linesearch import Armijo, Curvature
from sibp.solvers.subproblem import BatchSpace, BiasSpace, Subproblem
from tests.unit.kernels.solves import minimise

needs_compiler = pytest.mark.skipif(native.status() != "compiled", reason=native.status())
SEARCHES = [Armijo(), Curvature(), Curvature(halvings=0)]
NAMES = list(native.LEAKS)
SIZES = [(1, 1, 1, 1), (1, 7, 9, 3), (3, 20, 30, 17), (2, 33, 10, 70), (1, 100, 20, 400)]


def case(name, size, dtype=torch.float64, lam=0.5, seed=0):
    E, R, I, O = size
    g = torch.Generator().manual_seed(seed)
    randn = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)  # noqa: E731
    X, W, b = randn(E, R, I), randn(E, O, I) / I**0.5, randn(E, 1, O)
    Z = X @ W.mT + b
    T = activations.get(name).value(Z) - 0.3 * randn(E, R, O)
    return X, b, Z, T, torch.linspace(lam, 2 * lam, E, dtype=dtype).reshape(E, 1, 1)


@needs_compiler
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", SEARCHES)
def test_minimise_equals_the_eager_solver(search, name, size):
    X, _, Z, T, lam = case(name, size)
    space = BatchSpace(X)
    S, Z_end = conjugate_gradient.minimise(Subproblem(space, activations.get(name), Z, T, lam), 5, Rules(search))
    Z_mine = Z.clone()
    mine = minimise(space, name, Z_mine, T, lam, 5, Rules(search))
    torch.testing.assert_close(mine, S, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(Z_mine, Z_end, rtol=1e-8, atol=1e-10)


@needs_compiler
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_bias_is_solved_after_it_as_the_eager_solver_does(search, name, size):
    X, b, Z, T, lam = case(name, size)
    Z_end, mine = Z.clone(), b.clone()
    minimise(BatchSpace(X), name, Z_end, T, lam, 5, Rules(search), mine)
    p, _ = conjugate_gradient.minimise(Subproblem(BiasSpace(), activations.get(name), Z_end, T, lam), 5, Rules(search))
    torch.testing.assert_close(mine, b + p, rtol=1e-8, atol=1e-10)


@needs_compiler
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_linear_cg_equals_the_eager_solver(size, tolerance):
    X, _, Z, T, lam = case("identity", size)
    space = BatchSpace(X, joint=True)
    for stop in (tolerance, tolerance * lam):  # one for all members, and one for each
        expected = conjugate_gradient.solve_linear(space, Z - T, lam, 5, stop)
        torch.testing.assert_close(dispatch.solve_linear(space, Z - T, lam, 5, stop), expected, rtol=1e-8, atol=1e-10)


def test_linear_cg_falls_back_to_the_eager_solver_where_no_kernel_applies():
    X, _, Z, T, lam = case("identity", (2, 33, 10, 7))
    with native.off():
        slow = dispatch.solve_linear(BatchSpace(X), Z - T, lam, 5)
    assert torch.equal(slow, conjugate_gradient.solve_linear(BatchSpace(X), Z - T, lam, 5))


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_targets_are_sigma_minus_the_step_and_the_error_before_sigma(name, randn):
    Z, delta, eta = randn(2, 5, 7), randn(2, 5, 7), torch.tensor([0.1, 2.0], dtype=torch.float64).reshape(2, 1, 1)
    sigma = activations.get(name)
    T, D = dispatch.targets(name, Z, delta.clone(), eta)
    torch.testing.assert_close(T, sigma.value(Z) - eta * delta)
    torch.testing.assert_close(D, delta * sigma.slope(Z, sigma.value(Z)))
    alone, none = dispatch.targets(name, Z, delta, eta, with_error=False)
    assert none is None and torch.equal(alone, T) and alone.data_ptr() == delta.data_ptr()  # no array of its own


@needs_compiler
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("size", [(1, 33, 10, 7), (2, 20, 60, 40)], ids=["torch's product", "the kernel's"])
def test_an_update_is_its_parts_to_the_bit_and_overwrites_no_input(size, search, randn):
    X, b, Z, delta, lam = case("relu", size, torch.float32)
    W, eta, rules = randn(size[0], size[3], size[2]).float(), 0.3 * lam, Rules(search)
    for name, z in (("relu", Z), ("identity", None)):
        start = torch.zeros_like(Z) if z is None else z
        T, _ = dispatch.targets(name, start, delta.clone(), eta, with_error=False)
        w, beta, space = W.clone(), b.clone(), BatchSpace(X)
        space.move(w, None, minimise(space, name, start.clone(), T, lam, 3, rules, beta))
        mine, bias, given = W.clone(), b.clone(), [t.clone() for t in (X, Z, delta)]
        dispatch.update(Seen(X, z, delta), (eta, lam), mine, bias, dispatch.update_arguments(name, 3, rules))
        assert torch.equal(mine, w) and torch.equal(bias, beta)
        assert all(torch.equal(t, was) for t, was in zip((X, Z, delta), given, strict=True))


@needs_compiler
def test_float32_follows_float64():
    X, _, Z, T, lam = case("relu", (2, 20, 30, 17))
    wide = minimise(BatchSpace(X), "relu", Z.clone(), T, lam, 5, Rules(Curvature()))
    X, Z, T, lam = (a.float() for a in (X, Z, T, lam))
    narrow = minimise(BatchSpace(X), "relu", Z, T, lam, 5, Rules(Curvature()))
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-3, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("search", SEARCHES)
def test_the_number_of_threads_does_not_change_a_bit(search):
    def solve(threads):
        torch.set_num_threads(threads)
        X, b, Z, T, lam = case("relu", (2, 100, 20, 400), torch.float32)
        S = minimise(BatchSpace(X), "relu", Z, T, lam, 5, Rules(search), b)
        return S, Z, b, dispatch.solve_linear(BatchSpace(X), Z - T, lam, 5)

    try:
        results = [solve(threads) for threads in (1, 2, 3)]
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@needs_compiler
@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
@pytest.mark.parametrize("size", [(5, 100, 20, 400), (3, 100, 20, 2000), (40, 30, 10, 100)])  # several groups
def test_members_solved_in_groups_equal_each_alone_to_the_bit(size, shared):
    X, b, Z, T, lam = case("relu", size, torch.float32)
    X = X[:1].expand_as(X) if shared else X
    Z_together, b_together = Z.clone(), b.clone()
    S = minimise(BatchSpace(X), "relu", Z_together, T, lam, 5, Rules(Curvature()), b_together)
    for e in range(size[0]):
        one = slice(e, e + 1)
        Z_alone, b_alone = Z[one].clone(), b[one].clone()
        S_alone = minimise(BatchSpace(X[one]), "relu", Z_alone, T[one], lam[one], 5, Rules(Curvature()), b_alone)
        assert torch.equal(S[one], S_alone) and torch.equal(Z_together[one], Z_alone) and torch.equal(b_together[one], b_alone)


@needs_compiler
@pytest.mark.parametrize("search", SEARCHES)
def test_a_member_that_is_nan_touches_nobody(search):
    X, b, Z, T, lam = case("relu", (3, 20, 30, 17))
    clean_b, bad_b, bad_Z = b.clone(), b.clone(), Z.clone()
    bad_Z[1] = torch.nan
    clean = minimise(BatchSpace(X), "relu", Z, T, lam, 5, Rules(search), clean_b)
    mine = minimise(BatchSpace(X), "relu", bad_Z, T, lam, 5, Rules(search), bad_b)
    assert torch.equal(mine[[0, 2]], clean[[0, 2]])
    assert torch.equal(bad_b[[0, 2]], clean_b[[0, 2]])


def test_without_kernels_the_eager_code_runs_and_says_why():
    code = (
        "import torch, sibp; from sibp.kernels import cpu, native; m = sibp.mlp([4, 3, 2], std=.5);"
        "x, y = torch.ones(5, 4), torch.zeros(5, dtype=torch.int64); "
        "l = sibp.SIBP(m.parameters()).step(lambda: torch.nn.functional.cross_entropy(m(x), y)); print(native.status(), bool(l.isfinite()))"
    )
    environment = {**os.environ, "SIBP_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "switched off by SIBP_NATIVE=0 True"


def test_a_compiler_that_fails_is_told_and_leaves_nothing(tmp_path):
    fake = tmp_path / "c++"
    fake.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no space left' >&2; exit 1\n")
    fake.chmod(0o755)
    environment = {**os.environ, "CXX": str(fake), "SIBP_CACHE": str(tmp_path / "cache")}
    code = "from sibp.kernels import cpu, native; print(native.status())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("not compiled:") and "no space left" in done.stdout
    assert not any((tmp_path / "cache").rglob("*.so"))


@needs_compiler
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_library_that_was_cut_short_is_compiled_anew(tmp_path, share):
    whole = Path(native._library()[0]._name)
    compiler = tmp_path / "c++"  # a fast one, which has this library to give
    compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\nfor last; do :; done; cp {whole} "$last"\n')
    compiler.chmod(0o755)
    environment = {**os.environ, "SIBP_CACHE": str(tmp_path), "CXX": str(compiler)}
    code = "from sibp.kernels import cpu, native; print(native.status())"

    def status():
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout

    assert status() == "compiled\n"
    (library,) = (tmp_path / "native").glob("*.so")
    os.truncate(library, int(share * library.stat().st_size))
    assert status() == "compiled\n"
    assert library.read_bytes() == whole.read_bytes()


def test_without_a_home_folder_the_eager_code_runs_and_the_line_names_the_way_out(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("SIBP_CACHE", "XDG_CACHE_HOME", "SIBP_NATIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(native.Path, "home", home)
    library, reason = native._library.__wrapped__()
    assert library is None
    assert ("no home folder" in reason and "SIBP_CACHE or XDG_CACHE_HOME" in reason) or reason == "no C++ compiler found"


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [(1, 1, 64, 32), (3, 7, 50, 41), (2, 100, 133, 70), (1, 300, 40, 130)])
def test_the_product_of_an_update_equals_torchs(size, shared, dtype, randn):
    E, R, I, O = size
    X, D, W = randn(E, R, I).to(dtype), randn(E, R, O).to(dtype), randn(E, O, I).to(dtype)
    X = X[:1].expand(E, -1, -1) if shared else X
    assert cpu.multiplies(D, X)
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(layers.cross(D, X), D.mT @ X, rtol=tolerance, atol=tolerance)
    expected = W + D.mT @ X
    layers.add_cross(W, D, X)
    torch.testing.assert_close(W, expected, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_products_that_are_no_work_for_the_kernel_stay_torchs(randn):
    D, X = randn(1, 8, 64), randn(1, 8, 64)
    assert cpu.multiplies(D, X)
    assert not cpu.multiplies(randn(1, 600, 64), randn(1, 600, 64))  # rows of a convolution
    assert not cpu.multiplies(D[:, :, :4], X[:, :, :4])
    assert not cpu.multiplies(D.half(), X.half())
    with native.off():
        assert not cpu.multiplies(D, X)
    W = randn(1, 64, 64)
    across, expected = W.mT, W.mT + D.mT @ X
    layers.add_cross(across, D, X)  # not contiguous
    torch.testing.assert_close(across, expected)
