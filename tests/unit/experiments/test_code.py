"""What code a job runs: an edit that can change its numbers changes the fingerprint, others do not."""

from pathlib import Path

import pytest

from sibp.experiments import code
from tests.unit.tiny import write


@pytest.fixture
def package(tmp_path):
    """A package with a trainer, two methods that share a helper, and C++ that one of them builds."""
    sources = {
        "__init__.py": "",
        "training/runs.py": "from sibp import cache, methods\nfrom sibp.nets import losses\n",
        "nets/losses.py": "x = 1\n",
        "results/progress.py": "bar = 1\n",
        "cache.py": "from sibp.results import progress\n",
        "methods/__init__.py": "from sibp.methods.sgd import SGD\nfrom sibp.methods.sibp import SIBP\n",
        "methods/base.py": "class Method: pass\n",
        "methods/sgd.py": '"""SGD."""\nfrom sibp.methods.base import Method\ndef step(): return 1\n',
        "methods/sibp.py": "from sibp.methods.base import Method\nfrom ..kernels import native\ndef step(): return 2\n",
        "kernels/native.py": "",
        "kernels/csrc/kernels.cpp": "int one = 1;\n",
    }
    for name, text in sources.items():
        write(tmp_path, text, name)
    return tmp_path


def changed_by(package: Path, name: str, text: str) -> set[str]:
    """Return the methods whose fingerprint an edit changes."""

    def prints() -> dict[str, str]:
        code.fingerprint.cache_clear()  # its key is the folder, which an edit does not change
        return {method: code.fingerprint(method, package) for method in ("sgd", "sibp")}

    before = prints()
    (package / name).write_text(text)
    after = prints()
    return {method for method in before if before[method] != after[method]}


def test_the_modules_are_those_that_training_with_the_method_imports(package):
    assert code.modules("sgd", package) == [
        "sibp.cache",
        "sibp.methods.base",
        "sibp.methods.sgd",
        "sibp.nets.losses",
        "sibp.training.runs",
    ]
    assert "sibp.kernels.native" in code.modules("sibp", package)


def test_an_edit_of_a_method_changes_its_own_fingerprint_only(package):
    assert changed_by(package, "methods/sgd.py", "from sibp.methods.base import Method\ndef step(): return 3\n") == {"sgd"}
    assert changed_by(package, "kernels/csrc/kernels.cpp", "int one = 2;\n") == {"sibp"}
    assert changed_by(package, "nets/losses.py", "x = 2\n") == {"sgd", "sibp"}
    assert changed_by(package, "methods/base.py", "class Method: x = 1\n") == {"sgd", "sibp"}


def test_comments_docstrings_layout_and_the_progress_bar_change_no_fingerprint(package):
    same = '"""Other words."""\nfrom sibp.methods.base import Method\n\n\n# why\ndef step():\n    """Step."""\n    return 1\n'
    assert changed_by(package, "methods/sgd.py", same) == set()
    assert changed_by(package, "results/progress.py", "bar = 2\n") == set()


def test_what_checks_and_draws_is_no_part_of_a_run_and_every_module_that_is_left_out_is_there():
    assert not {f"sibp.experiments.{name}" for name in ("checks", "code", "drawing", "faults")} & set(code.modules("sgd"))
    files = [code.PACKAGE.joinpath(*name.split(".")[1:]) for name in code.INERT]
    assert all(file.with_suffix(".py").is_file() or (file / "__init__.py").is_file() for file in files)


def test_every_method_of_the_package_has_a_fingerprint_of_its_own():
    methods = [
        file.stem for file in (code.PACKAGE / "methods").glob("[!_]*.py") if file.stem not in {"base", "registry", "sequential"}
    ]
    assert len({code.fingerprint(method) for method in methods}) == len(methods) > 5


def test_a_script_s_files_are_those_of_the_packages_that_it_imports_one_through_another(tmp_path):
    texts = {
        "app/main.py": "import json\nfrom app.parts import wheel\nfrom lib import other\n",
        "app/parts/__init__.py": "",
        "app/parts/wheel.py": "from lib.numbers import pi\n",
        "app/parts/unused.py": "",
        "lib/numbers.py": "from lib import other\n",
        "lib/other.py": "",
    }
    for name, text in texts.items():
        write(tmp_path, text, name)
    main = tmp_path / "app/main.py"
    files = code.sources([main], tmp_path, ("app", "lib.numbers"))
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "app/main.py",
        "app/parts/__init__.py",
        "app/parts/wheel.py",
        "lib/numbers.py",
    ]
    assert code.imported(main, tmp_path, ("lib",)) == {"lib.other": tmp_path / "lib/other.py"}
