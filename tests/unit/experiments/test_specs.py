"""Experiment and scale files: what they resolve to, and the line that each fault gets."""

import re
from pathlib import Path

import pytest
import yaml

from sibp.experiments import specs
from sibp.experiments.jobs import Job
from sibp.experiments.schema import Computed
from sibp.experiments.settings import Every
from sibp.experiments.specs import SpecError
from sibp.experiments.strict import parse
from tests.unit.tiny import experiment, mapping, write

WORKFLOW = Path(__file__).parents[3] / "workflow"
EXPERIMENTS = sorted((WORKFLOW / "experiments").glob("*.yaml"))
SCALES = sorted(path.stem for path in (WORKFLOW / "scales").glob("*.yaml"))


def scale(folder, **settings):
    return specs.load_scale(write(folder, {"name": "small", **settings}, "scales/small.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_resolves_at_every_scale(path):
    loaded = specs.load_experiment(path)
    for name in SCALES:
        resolved = specs.resolve(loaded, specs.load_scale(name, WORKFLOW / "scales"))
        assert resolved.scale == name
        assert all(Job(resolved, label).members for label in resolved.labels)


def leaves(mapping, *above):
    """Return the paths of all values of a mapping."""
    nested = [leaves(value, *above, key) if isinstance(value, dict) else [(*above, key)] for key, value in mapping.items()]
    return [path for paths in nested for path in paths]


def without(mapping, key, *below):
    """Return a mapping without the value at a path and what is empty without it."""
    rest = without(mapping[key], *below) if below else {}
    return {name: value for name, value in mapping.items() if name != key} | ({key: rest} if rest else {})


@pytest.mark.parametrize("name", SCALES)
def test_no_value_of_a_scale_is_without_effect(name):
    whole = specs.load_scale(name, WORKFLOW / "scales")
    files = {path.stem: path for kind in ("experiments", "selection") for path in (WORKFLOW / kind).glob("*.yaml")}
    for exhibit, own in whole.experiments.items():
        loaded = specs.load_experiment(files[exhibit], shallow=True)

        def resolved(own, loaded=loaded):
            return specs.resolve(loaded, whole.model_copy(update={"experiments": {loaded.id: own}}), shallow=True)

        for path in leaves(own):
            try:
                assert resolved(without(own, *path)) != resolved(own), f"{exhibit}: {'.'.join(path)}"
            except SpecError:  # without it the experiment is none
                continue


def test_the_papers_settings_are_kept_at_full_scale():
    loaded = specs.load_experiment(WORKFLOW / "experiments/j-table2.yaml")
    full = specs.resolve(loaded, specs.load_scale("full", WORKFLOW / "scales"))
    assert full.model_copy(update={"scale": None}) == loaded
    assert len(Job(full, "sibp").members) == 75


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"epoch": 3}, "epoch: unknown key, need one of id, title"),
        ({"training__epoch": 3}, "training.epoch: unknown key, need one of epochs, steps"),
        ({"training__sampling": "permutaton"}, "need permutation or replacement; did you mean 'permutation'?"),
        ({"training__steps": 3}, "training: got epochs and steps, need exactly one of epochs, steps"),
        ({"training__epochs": 0}, "training.epochs: got 0, need greater than 0"),
        ({"training__epochs": True}, "training.epochs: got True, need a whole number"),
        ({"training__batch_size": "all"}, "training.batch_size: got 'all', need a whole number from 1 to 1000000000 or full"),
        ({"training__batch_size": 61}, "training.batch_size: got 61, need at most data.train = 60, or full"),
        ({"training__fixed_layers": 2}, "training.fixed_layers: got 2, need less than the network's 2 layers"),
        ({"training__measure": []}, "training.measure: got [], need a list of at least 1"),
        ({"training__measure": ["trian"]}, "training.measure[0]: got 'trian', need train, validation"),
        ({"training__measure": ["test"], "data__test": 0}, "training.measure: got 'test', but `data` leaves no samples"),
        ({"training__measure": ["test"], "data__merge_test": True}, "training.measure: got 'test', but `data` leaves no"),
        ({"network__widths": [785, 6, 10]}, "network: got an input of 785, need 784 for mnist, 28x28"),
        ({"network__widths": [784, 6, 11]}, "network: got an output of 11, need 10 for mnist"),
        ({"network__kind": "mpl"}, "network.kind: got 'mpl'"),
        ({"network__activation": "rleu"}, "network.activation: got 'rleu'"),
        ({"network__init": {"std": float("inf")}}, "network.init.std: got inf, need a finite number"),
        ({"loss": "cross_entropy"}, "loss: got 'cross_entropy', need cross-entropy or squared; did you mean 'cross-entropy'?"),
        ({"data__name": "mnst"}, "data.name: got 'mnst', need mnist, fashion-mnist, cifar10 or chain; did you mean 'mnist'?"),
        ({"data__generated": False, "data__train": 60000}, "data: got train + validation = 60000 + 10, need at most 60000"),
        ({"data__generated": False, "data__test": 10001}, "data.test: got 10001, need at most 10000 for mnist"),
        ({"loss": None}, "loss: missing"),
        ({"loss": None, "los": "squared"}, "did you mean 'loss'? (and 1 more)"),  # not first that it is missing
        ({"methods": {}}, "methods: missing"),
        ({"runs": "j-table2"}, "got runs and data, loss, methods, network, seeds, training, need one or the other"),
        ({"methods": {"sgdd": {"eta": 1}}}, "methods.sgdd: got 'sgdd', need "),
        ({"methods": {"mine": {"method": "sibb"}}}, "did you mean 'sibp'?"),
        ({"methods": {"sgd": {"lr": 1}}}, "methods.sgd.lr: unknown key, need one of eta"),
        ({"methods": {"sibp": {"lam": -1}}}, "methods.sibp.lam: got -1, need greater than 0"),
        ({"methods": {"sibp": {"lam": "big"}}}, "methods.sibp.lam: got 'big', need a number"),
        ({"methods": {"sibp": {"grid": {"lam": [1, -1]}}}}, "methods.sibp.lam: got -1, need greater than 0"),
        ({"methods": {"sgd": {"eta": 1, "grid": {"eta": [1]}}}}, "methods.sgd.eta: is fixed and in the grid"),
        ({"methods": {"sgd": {"grid": {"eta": [1, 1]}}}}, "methods.sgd.grid.eta: got [1, 1], need different values"),
        ({"methods": {"sgd": {"grid": {"eta": []}}}}, "methods.sgd.grid.eta: got [], need a list of at least 1"),
        ({"methods": {"sgd": {"grid": {"eta": 0.1}}}}, "methods.sgd.grid.eta: got 0.1, need a list"),
        ({"methods": {"sgd": None}}, "methods.sgd: got None, need names with values"),
        ({"training__evaluate_every": {"log_points": 10**6}}, "evaluate_every.log_points: got 1000000, need less than or equal to"),
        ({"data__test": 1e20}, "data.test: got 1e+20, need a whole number"),
        ({"data__test": 10**20}, "data.test: got 100000000000000000000, need less than or equal to 1000000000"),
        ({"training__epochs": 10**20}, "training.epochs: got 100000000000000000000, need less than or equal to 1000000000"),
        ({"training__batch_size": 10**10}, "training.batch_size: got 10000000000, need a whole number from 1 to 1000000000"),
        ({"seeds": 10**399}, f"seeds: got 1{'0' * 79}... (400 characters), need"),
        ({"methods": {"sgd": {"network": {"widths": [784, 6, 9]}}}}, "methods.sgd.network: got an output of 9, need 10"),
        ({"first_seed": 2**62}, "first_seed: got 4611686018427387904, need less than 4611686018427387904"),
        ({"methods": {"sgd": {"training": {"epoch": 1}}}}, "methods.sgd.training.epoch: unknown key"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_that_names_file_place_value_and_what_is_allowed(tmp_path, changes, line):
    path = write(tmp_path, mapping(**changes))
    with pytest.raises(SpecError) as caught:
        specs.load_experiment(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


CHAIN = {"name": "chain", "train": 10}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"network__widths": [1, 1]}, "loss: got 'cross-entropy', need squared, since chain has no classes"),
        ({"loss": "squared"}, "network: got an input of 784, need 1 for chain"),
        ({"loss": "squared", "network__widths": [1, 1], "data": {**CHAIN, "train": 11}}, "need at most 10 for chain"),
    ],
)
def test_the_chain_wants_a_squared_loss_and_scalars(tmp_path, changes, line):
    whole = {"data": CHAIN, "training": {"steps": 3, "batch_size": "full", "measure": ["train"]}} | changes
    with pytest.raises(SpecError, match=line):
        specs.load_experiment(write(tmp_path, mapping(**whole)))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id: tiny\nid: other\n", "line 2, column 1: key 'id' is given twice"),
        ("id: tiny\n  title: x\n", "line 2, column 8: "),
        ("- a\n- b\n", "got list, need a mapping of names"),
        ("", "got NoneType, need a mapping of names"),
        ("id: other\ntitle: x\nmethods: {}\n", "id: got 'other', need 'tiny', the file's name"),
    ],
)
def test_a_file_that_is_no_experiment_gets_one_line(tmp_path, text, line):
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        specs.load_experiment(path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_one_that_is_not_text_get_one_line(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        specs.load_experiment(tmp_path / "absent.yaml")
    (tmp_path / "tiny.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="is not a text file"):
        specs.load_experiment(tmp_path / "tiny.yaml")


def test_an_exhibit_may_be_drawn_from_other_runs_or_train_nothing(tmp_path):
    drawn = {"id": "tiny", "title": "x", "runs": "a-table1"}
    assert specs.load_experiment(write(tmp_path, drawn)).runs == ("a-table1",)
    assert not specs.load_experiment(write(tmp_path, {"id": "tiny", "title": "x", "methods": {}})).labels
    with pytest.raises(SpecError, match="has no methods to train, it is drawn from the runs of a-table1"):
        assert specs.load_experiment(write(tmp_path, drawn)).trained


def test_numbers_in_scientific_notation_are_numbers(tmp_path):
    text = yaml.safe_dump(mapping()).replace("0.01", "1e-3")
    members = Job(specs.load_experiment(write(tmp_path, text)), "sgd").members
    assert members[1].options.eta == 1e-3


def test_limits_are_caps_and_leave_smaller_values_alone(tmp_path):
    limits = {"seeds": 1, "epochs": 1, "train": 40, "test": 999, "batch_size": 10}
    resolved = specs.resolve(experiment(), scale(tmp_path, limits=limits))
    assert (resolved.seeds, resolved.training.epochs, resolved.data.train) == (1, 1, 40)
    assert (resolved.data.test, resolved.training.batch_size) == (20, 10)


def test_limits_hold_for_a_label_s_own_training_too(tmp_path):
    own = experiment(methods={"sgd": {"training": {"epochs": 9, "batch_size": "full"}}})
    resolved = specs.resolve(own, scale(tmp_path, limits={"epochs": 3, "batch_size": 10}))
    assert resolved.training_of("sgd").epochs == 3
    assert resolved.training_of("sgd").batch_size == "full"


def test_limits_hold_for_what_a_file_leaves_to_its_defaults(tmp_path):
    small = scale(tmp_path, limits={"seeds": 1, "batch_size": 10})
    assert specs.resolve(experiment(training={"epochs": 2}), small).training.batch_size == 10
    data = {"name": "mnist", "train": 60, "generated": True}
    fits = {"methods": {"sgd": {}}, "networks": {"rnn": {"network": "rnn", "steps": 5, "data": data}}}
    fitted = specs.resolve(parse(Computed, {"id": "tiny", "title": "x", "fits": fits}, "tiny"), small).fits
    assert (fitted.seeds, fitted.networks["rnn"].batch_size, fitted.networks["rnn"].data.train) == (1, 10, 60)


def test_a_scale_s_own_keys_come_after_the_limits_merge_mappings_and_replace_lists(tmp_path):
    own = {"training": {"epochs": 7}, "network": {"widths": [784, 3, 10]}, "methods": {"sgd": {"grid": {"eta": [5]}}}}
    resolved = specs.resolve(experiment(), scale(tmp_path, limits={"epochs": 1}, experiments={"tiny": own}))
    assert resolved.training.epochs == 7
    assert resolved.training.batch_size == 20
    assert resolved.network.widths == (784, 3, 10)
    assert resolved.methods["sgd"].grid == {"eta": (5,)}


def test_a_fault_that_a_scale_brings_in_names_the_scale(tmp_path):
    with pytest.raises(SpecError, match=r"^tiny at scale small: training.batch_size: got 20, need at most data.train = 5"):
        specs.resolve(experiment(), scale(tmp_path, limits={"train": 5}))


def test_a_scale_with_generated_data_needs_no_real_data(tmp_path):
    real = experiment(data__generated=False)
    assert not real.data.generated
    assert specs.resolve(real, scale(tmp_path, data="generated")).data.generated


def test_a_scale_is_found_by_name_and_its_faults_are_named(tmp_path):
    write(tmp_path, mapping())
    write(tmp_path, {"name": "big"}, "scales/small.yaml")
    write(tmp_path, {"name": "odd", "experiments": {"tinny": {}}}, "scales/odd.yaml")
    with pytest.raises(
        SpecError, match=r"scale: got 'smal', need odd, small, full or the path of a scale file .*; did you mean 'small'"
    ):
        specs.load_scale("smal", tmp_path / "scales")
    with pytest.raises(SpecError, match="name: got 'big', need 'small'"):
        specs.load_scale("small", tmp_path / "scales")
    with pytest.raises(SpecError, match="unknown experiment 'tinny'; did you mean 'tiny'"):
        specs.load_scale("odd", tmp_path / "scales")


def test_a_label_s_training_goes_over_the_experiment_s_and_steps_take_the_place_of_epochs():
    label = {"method": "sgd", "training": {"steps": 3, "sampling": "replacement"}}
    training = experiment(methods={"short": label}).training_of("short")
    assert (training.steps, training.epochs, training.sampling, training.batch_size) == (3, None, "replacement", 20)


def test_evaluation_points_are_given_in_exactly_one_way():
    with pytest.raises(ValueError, match="got epochs and steps, need exactly one of epochs, steps, log_points"):
        Every(epochs=1, steps=1)


def chosen(folder, **choices):
    return write(folder, {"search": {"chosen": choices}}, "selection/chosen.yaml")


def test_a_selected_label_takes_the_options_that_the_search_chose(tmp_path):
    chosen(tmp_path, sgd={"eta": 0.25})
    loaded = specs.load_experiment(write(tmp_path, mapping(methods__sgd={"selected": "search", "momentum": 0.5})))
    assert [member.options.eta for member in Job(loaded, "sgd").members] == [0.25, 0.25]
    assert Job(loaded, "sgd").members[0].options.momentum == 0.5


def test_a_choice_may_be_another_label_s(tmp_path):
    chosen(tmp_path, adam={"eta": 0.002})
    loaded = specs.load_experiment(write(tmp_path, mapping(methods__sgd={"selected": "search.adam"})))
    assert Job(loaded, "sgd").members[0].options.eta == 0.002


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ({"selected": "serach"}, "methods.sgd.selected: got 'serach', need search; did you mean 'search'?"),
        ({"selected": "search", "eta": 0.1}, "methods.sgd.eta: is given here and chosen by 'search', need one of the two"),
    ],
)
def test_a_wrong_selection_gets_one_line(tmp_path, method, line):
    chosen(tmp_path, sgd={"eta": 0.25})
    with pytest.raises(SpecError, match=re.escape(line)):
        specs.load_experiment(write(tmp_path, mapping(methods__sgd=method)))


def test_the_folders_beside_a_file_are_found_from_within_its_own(tmp_path, monkeypatch):
    chosen(tmp_path, sgd={"eta": 0.25})
    path = write(tmp_path, mapping(methods__sgd={"selected": "search"}))
    write(tmp_path, {"name": "odd", "experiments": {"tinny": {}}}, "scales/odd.yaml")
    monkeypatch.chdir(path.parent)
    assert Job(specs.load_experiment(path.name), "sgd").members[0].options.eta == 0.25
    monkeypatch.chdir(tmp_path / "scales")
    with pytest.raises(SpecError, match="unknown experiment 'tinny'; did you mean 'tiny'"):
        specs.load_scale("odd.yaml")


def test_a_search_without_this_label_gets_one_line(tmp_path):
    chosen(tmp_path, adam={"eta": 0.001})
    with pytest.raises(SpecError, match="the search 'search' chose nothing for this label"):
        specs.load_experiment(write(tmp_path, mapping(methods__sgd={"selected": "search"})))


def test_a_label_s_network_keys_go_over_the_experiment_s_those_of_init_one_by_one():
    loaded = experiment(methods__sgd={"network": {"activation": "tanh", "init": {"law": "he"}}})
    assert loaded.network.activation == "relu"
    assert loaded.network_of("sgd").activation == "tanh"
    assert (loaded.network_of("sgd").init.law, loaded.network_of("sgd").init.std) == ("he", 0.05)
