"""The command line: exit codes, one-line errors, and that nothing is written before all is checked."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sibp import cli
from sibp.bench import measure
from sibp.results import records
from sibp.training import checkpoint, runs
from sibp.training.checkpoint import Stopped
from tests.unit.tiny import mapping, write


@pytest.fixture
def sibp(tmp_path, monkeypatch, capsys):
    """Run a command in a folder with the tiny experiment and return its exit code, output and error lines."""
    write(tmp_path, mapping(methods={"sgd": {}, "sibp": {"lam": 1, "variant": "armijo"}}), "workflow/experiments/tiny.yaml")
    write(tmp_path, {"name": "full"}, "workflow/scales/full.yaml")
    write(tmp_path, {"name": "laptop", "limits": {"seeds": 1}}, "workflow/scales/laptop.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIBP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def call(*arguments):
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err.splitlines()

    return call


def test_run_trains_all_methods_and_says_where_the_results_are(sibp, tmp_path):
    code, out, _ = sibp("run", "tiny", "--scale", "full", "--out", "results")
    assert code == 0
    assert out.splitlines() == ["results/tiny/sgd.parquet", "results/tiny/sibp.parquet"]
    run = records.read(tmp_path / "results/tiny/sibp.parquet")
    about = run.record
    assert run.rows["status"].iloc[-1] == "done"
    assert (about["scale"], about["device_kind"], about["seeds"]) == ("full", "cpu", [0, 1])


def test_run_can_train_one_method_of_a_file_with_given_threads(sibp, tmp_path):
    path = "workflow/experiments/tiny.yaml"
    assert sibp("run", path, "--method", "sgd", "--threads", "1", "--out", "r")[0] == 0
    assert sorted(file.name for file in (tmp_path / "r/tiny").iterdir()) == ["sgd.parquet"]
    assert records.read_record(tmp_path / "r/tiny/sgd.parquet")["threads"] == 1


def test_scale_auto_is_laptop_without_cuda(sibp, tmp_path):
    assert sibp("run", "tiny", "--method", "sgd", "--out", "r")[0] == 0
    assert records.read_record(tmp_path / "r/tiny/sgd.parquet")["scale"] == "laptop"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rum"], "did you mean 'run'?"),
        ([], "the following arguments are required: COMMAND"),
        (["run", "tiny"], "the following arguments are required: --out"),
        (["run", "tinny", "--out", "r"], "got 'tinny', need a .yaml file or an id of workflow/experiments; did you mean 'tiny'?"),
        (["run", "no.yaml", "--out", "r"], "no.yaml: No such file or directory"),
        (
            ["run", "tiny", "--out", "r", "--scale", "fulll"],
            "need auto, full, laptop or the path of a scale file (.yaml); did you mean 'full'?",
        ),
        (["run", "tiny", "--out", "r", "--method", "sgdd"], "methods: got 'sgdd', need sgd or sibp; did you mean 'sgd'?"),
        (["run", "tiny", "--out", "r", "--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
        (["run", "tiny", "--out", "r", "--device", "cuda"], "device: cuda asked for, but torch"),
        (["run", "tiny", "--out", "r", "--threads", "0"], "argument --threads: got '0', need a whole number >= 1"),
        (["run", "tiny", "--out", "r", "--threads", "100000"], "argument --threads: got 100000, need at most 1024"),
        (["run", "tiny", "--out", ""], "argument --out: got '', need a path"),
        (["run", "tiny", "--out", "r", "--tensorboard", ""], "argument --tensorboard: got '', need a path"),
        (["run", "tiny", "--out", "r", "--data-dir", ""], "argument --data-dir: got '', need a path"),
        (["check", "--out", ""], "argument --out: got '', need a path"),
        (["show", ""], "argument PATH: got '', need a path"),
        (["data", "mnist", "--json", "/"], "json: got '/', which is a folder, need a file"),
        (["run", "tiny", "--out", "workflow/scales/full.yaml"], "out: cannot write to workflow/scales/full.yaml/tiny"),
        (["run", "tiny", "--outt", "r"], "--out"),
        (["list", "tinny"], "did you mean 'tiny'?"),
        (["list", "tiny", "--threads", "2"], "unrecognized arguments: --threads 2"),
        (["data", "mnst"], "data set: got 'mnst', need mnist, fashion-mnist or cifar10; did you mean 'mnist'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(sibp, tmp_path, arguments, line):
    code, out, errors = sibp(*arguments)
    assert (code, out, len(errors)) == (2, "", 1)
    assert errors[0].startswith("sibp: error: ")
    assert line in errors[0]
    assert not (tmp_path / "r").exists()


def test_data_that_is_missing_is_found_before_training(sibp, tmp_path):
    write(tmp_path, mapping(data__generated=False), "workflow/experiments/tiny.yaml")
    code, _, errors = sibp("run", "tiny", "--out", "r")
    assert code == 2
    assert "data set 'mnist' is not in the cache" in errors[0]
    assert "sibp data mnist" in errors[0]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (records.RecordError("r/tiny: No space left"), 1, "sibp: error: r/tiny: No space left"),
        (MemoryError("25 members\nneed more"), 1, "sibp: error: out of memory: 25 members need more"),
        (MemoryError(), 1, "sibp: error: out of memory: MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), 1, "sibp: error: out of memory: DefaultCPUAllocator: can't"),
        (RuntimeError("two\nlines"), 1, "sibp: error: RuntimeError: two lines (--debug shows where)"),
        (KeyboardInterrupt(), 130, "sibp: interrupted"),
        (Stopped(signal.SIGTERM, "all is kept"), 143, "sibp: stopped by SIGTERM, all is kept"),
    ],
)
def test_what_fails_while_training_is_one_line(sibp, monkeypatch, fault, code, line):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(runs, "run", fail)
    found, _, errors = sibp("run", "tiny", "--out", "r")
    assert found == code
    assert len(errors) == 1
    assert errors[0].startswith(line)


FIT = {"network": "rnn", "steps": 1, "data": {"name": "mnist", "train": 20, "validation": 10, "test": 10, "generated": True}}
FITS = {
    "seeds": 1,
    "evaluations": 1,
    "methods": {"sgd": {"lr": 0.1}},
    "networks": {"cell": FIT, "other": {**FIT, "data": {**FIT["data"]}}},
}


def test_fit_trains_the_networks_of_a_file_anywhere(sibp, tmp_path, monkeypatch):
    path = write(tmp_path, {"id": "mine", "title": "fits", "methods": {}, "fits": FITS}, "own/mine.yaml")
    monkeypatch.chdir(path.parent)
    assert sibp("fit", "mine.yaml", "cell", "--out", "r")[:2] == (0, "r/mine/cell.json\n")
    result = json.loads(Path("r/mine/cell.json").read_text())
    assert (result["scale"], [run["split"] for run in result["runs"]]) == ("full", ["validation", "test"])
    for words, line in (
        (["celt"], "network: got 'celt', need cell or other; did you mean 'cell'?"),
        (["--device", "cuda"], "device: cuda asked for, but torch"),
    ):
        code, out, errors = sibp("fit", "mine.yaml", *words, "--out", "s")
        assert (code, out, len(errors)) == (2, "", 1) and line in errors[0]
    code, out, errors = sibp("fit", "../workflow/experiments/tiny.yaml", "--out", "s")
    assert (code, out, errors) == (2, "", ["sibp: error: tiny: fits no networks, need the key fits"])
    real = FITS | {"networks": {"cell": FIT | {"data": FIT["data"] | {"generated": False}}}}
    write(tmp_path, {"id": "mine", "title": "fits", "methods": {}, "fits": real}, "own/mine.yaml")
    code, _, errors = sibp("fit", "mine.yaml", "--out", "s")
    assert (code, len(errors)) == (2, 1) and "data set 'mnist' is not in the cache" in errors[0]
    assert not Path("s").exists()


def test_debug_shows_the_traceback(sibp):
    code, _, errors = sibp("run", "no.yaml", "--out", "r", "--debug")
    assert code == 2 and errors[0].startswith("Traceback")
    assert errors[-1].startswith("sibp: error: no.yaml: No such file")


def test_exhibits_that_train_nothing_say_so(sibp, tmp_path):
    drawn = {"id": "drawn", "title": "x", "runs": "tiny"}
    write(tmp_path, drawn, "workflow/experiments/drawn.yaml")
    write(tmp_path, {"id": "plain", "title": "x", "methods": {}}, "workflow/experiments/plain.yaml")
    assert sibp("run", "drawn", "--out", "r")[:2] == (0, "drawn: nothing to train, it is drawn from the runs of tiny\n")
    assert sibp("run", "plain", "--out", "r")[:2] == (0, "plain: nothing to train, it is computed\n")
    assert not (tmp_path / "r").exists()


def test_list_shows_labels_members_and_steps(sibp):
    _, out, _ = sibp("list", "--scale", "full")
    assert [line.split() for line in out.splitlines()] == [
        ["tiny", "A", "tiny", "experiment", "[full]"],
        ["sgd", "2", "members", "x", "6", "steps"],
        ["sibp", "2", "members", "x", "6", "steps"],
    ]


def test_list_without_experiments_says_where_they_should_be(sibp, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    code, _, errors = sibp("list")
    assert (code, len(errors)) == (2, 1)
    assert "workflow/experiments: holds no experiment files" in errors[0]


def test_lines_not_a_bar_are_shown_where_there_is_no_terminal(sibp):
    _, _, errors = sibp("run", "tiny", "--method", "sgd", "--out", "r")
    assert len(errors) == 2 and errors[1].startswith("sibp: the results are in r/tiny")
    assert errors[0].startswith("tiny sgd: step 6/6")
    assert "test accuracy" in errors[0]


def test_help_and_version_do_not_wait_for_torch():
    program = "import sys; from sibp.cli import main; code = main(sys.argv[1:]); print(code, 'torch' in sys.modules)"
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", program, option], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "0 False"


@pytest.mark.parametrize(("command", "seconds"), [("run", checkpoint.SECONDS), ("bench", measure.SECONDS)])
def test_the_help_knows_the_seconds_that_hold_where_none_are_given(sibp, command, seconds):
    assert f"(default: {seconds:g})" in " ".join(sibp(command, "--help")[1].split())


OWN = mapping(id="mine", methods={"sgd": {"eta": 0.1}})


def test_an_experiment_of_one_s_own_runs_anywhere_as_its_file_says(sibp, tmp_path, monkeypatch):
    write(tmp_path, OWN, "own/mine.yaml")
    (tmp_path / "scales").mkdir()  # somebody's folder of that name, which has nothing to do with it
    for name, words in (("a", ()), ("b", ("--scale", "full"))):
        assert sibp("run", "own/mine.yaml", "--out", name, *words)[0] == 0
        about = records.read_record(tmp_path / name / "mine/sgd.parquet")
        assert (about["scale"], about["seeds"]) == ("full", [0, 1])  # the checkout's `laptop` has one seed
    monkeypatch.chdir(tmp_path / "own")
    assert sibp("run", "mine.yaml", "--out", "c")[0] == 0
    write(tmp_path, {"name": "small", "limits": {"epochs": 1}}, "own/small.yaml")
    assert sibp("run", "mine.yaml", "--out", "d", "--scale", "small.yaml")[0] == 0
    assert records.read_record(tmp_path / "own/d/mine/sgd.parquet")["scale"] == "small"
    code, _, errors = sibp("run", "mine.yaml", "--out", "e", "--scale", "laptop")
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith("sibp: error: scale: got 'laptop', need auto, full or the path of a scale file (.yaml)")
    code, _, errors = sibp("run", "mine", "--out", "e")
    assert (code, len(errors)) == (2, 1) and errors[0].endswith("; did you mean 'mine.yaml'?")


def test_choices_that_are_not_there_name_the_file_and_what_to_write(sibp, tmp_path):
    write(tmp_path, mapping(id="mine", methods={"sgd": {"selected": "lenet"}}), "own/mine.yaml")
    code, _, errors = sibp("run", "own/mine.yaml", "--out", "r")
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith("sibp: error: own/mine.yaml: methods.sgd.selected: there is no ")
    assert errors[0].endswith("write the method's options here instead")


NAMES = ["a/b", "../../x", "/tmp/evil", "x" * 101, "", "a\nb", ".", "..", ".a", "-a", "a b", "ä", "a\0b", "a*"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["methods", "id", "runs", "bench", "scale"])
def test_a_name_that_would_lead_elsewhere_is_refused_before_anything_is_written(sibp, tmp_path, place, name):
    eta = {"method": "sgd", "eta": 0.1}
    changes = {"methods": {"methods": {name: eta}}, "id": {"id": name}, "scale": {}}
    plain = {"runs": name, "bench": {name: {}}}
    content = {"id": "mine", "title": "x", place: plain[place]} if place in plain else mapping(**{"id": "mine", **changes[place]})
    write(tmp_path, content, "own/mine.yaml")
    write(tmp_path, {"name": "renames", "experiments": {"mine": {"methods": {name: eta}}}}, "own/renames.yaml")
    before = sorted(tmp_path.rglob("*"))
    code, out, errors = sibp("run", "own/mine.yaml", "--out", "r/s", *(["--scale", "own/renames.yaml"] if place == "scale" else []))
    assert (code, out, len(errors)) == (2, "", 1)
    assert (
        f"{place if place != 'scale' else 'methods'}: got " in errors[0] and "need a name for files: 1 to 100 letters" in errors[0]
    )
    assert len(errors[0]) < 400
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a", "A.b-c_1", "x" * 100, "1", "_", "a.parquet", "a.json", "a.pt"])
def test_every_name_that_is_allowed_keeps_its_results(sibp, tmp_path, name):
    write(tmp_path, mapping(id="mine", seeds=1, methods={name: {"method": "sgd", "eta": 0.1}}), "own/mine.yaml")
    assert sibp("run", "own/mine.yaml", "--out", "r", "--checkpoint-seconds", "0")[0] == 0
    assert records.read_record(tmp_path / f"r/mine/{name}.parquet")["method"] == name
    assert len(list((tmp_path / "r/mine").iterdir())) == 1


def test_labels_that_only_differ_in_capitals_are_refused(sibp, tmp_path):
    write(tmp_path, mapping(id="mine", methods={"SGD": {"method": "sgd", "eta": 0.1}, "sgd": {"eta": 0.1}}), "own/mine.yaml")
    code, _, errors = sibp("run", "own/mine.yaml", "--out", "r")
    assert code == 2 and "methods: got 'SGD' and 'sgd', which are one file where capitals do not count" in errors[0]


def test_a_run_ends_with_where_its_results_are_and_how_to_draw_them(sibp):
    _, _, errors = sibp("run", "tiny", "--method", "sgd", "--out", "my results")
    assert errors[-1] == "sibp: the results are in my results/tiny; to draw them: sibp show 'my results/tiny'"
    assert sibp("show", "my results/tiny")[0] == 0


def test_slower_code_is_told_once_and_recorded(sibp, tmp_path, monkeypatch):
    from sibp.kernels import native

    monkeypatch.setattr(native, "fallback", lambda: "slower code runs: no C++ compiler found")
    _, _, errors = sibp("run", "tiny", "--out", "r")
    assert errors.count("slower code runs: no C++ compiler found") == 1
    for label in ("sgd", "sibp"):
        assert "slower code runs: no C++ compiler found" in records.read_record(tmp_path / f"r/tiny/{label}.parquet")["notes"]


@pytest.mark.parametrize("command", ["list", "doctor"])
def test_a_reader_that_wants_no_more_ends_the_command_without_a_word(command, tmp_path):
    write(tmp_path, mapping(), "workflow/experiments/tiny.yaml")
    write(tmp_path, {"name": "laptop"}, "workflow/scales/laptop.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "sibp", command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert (process.wait(), said) == (128 + signal.SIGPIPE, "")


def test_an_environment_whose_package_is_another_checkout_s_says_so(tmp_path):
    (tmp_path / "copy/sibp").mkdir(parents=True)
    (tmp_path / "copy/sibp/__init__.py").touch()
    code = "import sys; sys.prefix = 'copy/.venv'; from sibp import cli; sys.path.remove(sys.argv[1]); cli.main(['--version'])"
    checkout = str(Path(cli.__file__).parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {code}", checkout]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (
        done.stderr == f"sibp: running the package in {checkout}/sibp, not the one beside copy/.venv: make setup there mends that\n"
    )
    quiet = subprocess.run([sys.executable, "-m", "sibp", "--version"], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
