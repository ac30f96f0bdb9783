"""The run under sanitizers says why it is not one, and fails where it would prove nothing. What it finds, only `make check` can tell."""

from types import SimpleNamespace

import pytest

from sibp.kernels import native
from tools import sanitize


@pytest.mark.parametrize(("needed", "status"), [("", 0), ("needed", 1)])
def test_a_compiler_without_sanitizers_is_one_line_and_fails_where_they_are_needed(needed, status, tmp_path, monkeypatch, capsys):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho libasan.so\n")  # the name alone is what GCC prints for a file that it does not have
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("SANITIZERS", needed)
    assert sanitize.main() == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"sanitizers: not run, {compiler} has no libasan.so") and "libgcc" in line


def test_kernels_that_were_not_loaded_fail(monkeypatch):
    monkeypatch.setattr(native, "FLAGS", ["-O3"])
    monkeypatch.setattr(native, "status", lambda: "no C++ compiler found")
    with pytest.raises(pytest.exit.Exception, match="the kernels were not loaded: no C\\+\\+ compiler found") as caught:
        sanitize.pytest_configure()
    assert caught.value.returncode == 1
    assert "-O3" not in native.FLAGS and "-fsanitize=address,undefined" in native.FLAGS


def test_arrays_that_are_not_watched_fail(monkeypatch):
    monkeypatch.setattr(native, "FLAGS", [])
    monkeypatch.setattr(native, "status", lambda: "compiled")
    with pytest.raises(pytest.exit.Exception, match="not watched") as caught:
        sanitize.pytest_configure()
    assert caught.value.returncode == 1


def test_a_skipped_test_fails():
    sanitize.pytest_runtest_logreport(SimpleNamespace(skipped=False))
    with pytest.raises(pytest.exit.Exception, match="test_x was skipped") as caught:
        sanitize.pytest_runtest_logreport(SimpleNamespace(skipped=True, nodeid="test_x"))
    assert caught.value.returncode == 1
