"""Nothing in the package or the workflow runs code that a file or a user could put there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("sibp", "workflow") for path in (ROOT / folder).rglob("*.py"))
BARE = {"eval", "exec", "compile", "__import__", "breakpoint"}
DOTTED = {"os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load", "pd.read_pickle", "pandas.read_pickle"}
LOADING = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def dotted(node):
    """Return a.b.c of an attribute or name, else nothing."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""


def is_true(call, name):
    return any(word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is True for word in call.keywords)


def loader_is_safe(call):
    """Tell whether yaml.load is given a class made from SafeLoader in the same file; its name ends in Loader and is private."""
    named = [dotted(word.value) for word in call.keywords if word.arg == "Loader"]
    return named in (["yaml.SafeLoader"], ["_Loader"])


def faults(source):
    """Return line and what is wrong there, for each call that may run foreign code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        method = name.rpartition(".")[2]
        arrays = name in ("np.load", "numpy.load") and is_true(node, "allow_pickle")
        if name in BARE | DOTTED or arrays or is_true(node, "shell"):
            found.append((node.lineno, name))
        elif name.split(".")[0] in LOADING and method in ("load", "loads", "Unpickler", "open"):
            found.append((node.lineno, name))
        elif name == "torch.load" and not is_true(node, "weights_only"):
            found.append((node.lineno, name))
        elif name == "yaml.load" and not loader_is_safe(node):
            found.append((node.lineno, name))
    return found


def test_no_source_runs_foreign_code():
    wrong = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(wrong) > 60
    assert {path: found for path, found in wrong.items() if found} == {}


def test_the_package_s_own_yaml_loader_is_a_safe_one():
    import yaml

    from sibp.experiments import yaml_file

    assert issubclass(yaml_file._Loader, yaml.SafeLoader)


@pytest.mark.parametrize(
    "source",
    [
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "pickle.load(file)",
        "pickle.Unpickler(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
    ],
)
def test_each_kind_of_fault_is_found(source):
    assert len(faults(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f, weights_only=True)",
        "yaml.safe_load(t)",
        "yaml.load(t, Loader=yaml.SafeLoader)",
        "re.compile('a')",
        "model.eval()",
    ],
)
def test_harmless_calls_are_not(source):
    assert faults(source) == []
