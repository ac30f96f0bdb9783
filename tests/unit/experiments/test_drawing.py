"""What an exhibit shows: short forms, and faults in one line."""

import pytest

from sibp.experiments import schema
from sibp.experiments.drawing import Column, Figure, Line
from sibp.experiments.strict import parse
from sibp.experiments.yaml_file import SpecError

FIGURE = {"caption": "C.", "panels": ["train_loss"], "lines": ["a", "b"], "table": ["train_loss"]}


def figure(**keys: object) -> Figure:
    return parse(Figure, FIGURE | keys, "f")


def test_lines_may_be_labels_names_or_mappings():
    assert figure().lines == {"a": Line(), "b": Line()}
    lines = figure(lines={"a": "A", "b": {"name": "B", "like": "a"}, "c": None}).lines
    assert lines == {"a": Line(name="A"), "b": Line(name="B", like="a"), "c": Line()}


def test_columns_may_be_metrics_or_mappings():
    table = figure(
        table=["train_loss", {"metric": "test_accuracy", "best": True}, {"metric": "train_accuracy", "shares": [0.5, 1]}]
    ).table
    best, shares = Column(metric="test_accuracy", best=True), Column(metric="train_accuracy", shares=(0.5, 1.0))
    assert table == (Column(metric="train_loss"), best, shares)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"lines": 3}, "lines: got 3, need labels"),
        ({"lines": []}, "lines: got [], need labels"),
        ({"lines": {"a": {"like": "z"}}}, "lines.like: got 'z', need one of a"),
        ({"rows": {"above": ["a", "c"]}}, "rows: got 'c', need one of a, b"),
        ({"differences": {"a": "c"}}, "differences: got 'c', need one of a, b"),
        ({"axis": "step"}, "axis: got 'step', need epoch or seconds"),
        ({"panels": ["train_los"]}, "panels[0]: got 'train_los', need train_loss"),
        ({"table": [{"metric": "train_loss", "shares": [0]}]}, "table[0].shares[0]: got 0"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_a_fault_is_named_in_one_line(keys, fault):
    with pytest.raises(SpecError) as error:
        figure(**keys)
    assert fault.lower() in str(error.value).lower() and "\n" not in str(error.value)


def test_an_exhibit_shows_one_thing_of_its_own_labels_and_it_is_no_setting_of_its_runs():
    drawn = {"id": "x", "title": "X", "runs": "y", "figure": FIGURE}
    assert schema.experiment(drawn, "x").figure.caption == "C."
    assert "figure" not in schema.experiment(drawn, "x").model_dump()
    with pytest.raises(SpecError, match="got figure and notebook, need at most one of figure, table, notebook"):
        schema.experiment(drawn | {"notebook": "figure"}, "x")
