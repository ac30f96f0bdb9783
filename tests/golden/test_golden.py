"""What is kept of the golden runs is what the code computes: to the bit on the machine that kept it, to rounding elsewhere."""

import json

import numpy as np
import pytest

from sibp.methods import registry
from tests.golden import runs

KEPT = json.loads(runs.KEPT.read_text(encoding="utf-8"))
ROUNDING = {"loss": 2e-3, "accuracy": 0.03}  # of float32 through nine steps with searches, on another processor


@pytest.mark.parametrize("name", runs.FILES)
def test_runs_compute_what_is_kept(name):
    values = runs.run(name)
    expected = {label: kept for label, kept in KEPT["runs"].items() if label.startswith(f"{name}/")}
    assert values.keys() == expected.keys()
    if runs.machine() == KEPT["machine"]:
        assert {label: value["bits"] for label, value in values.items()} == {
            label: kept["bits"] for label, kept in expected.items()
        }
    for label, kept in expected.items():
        for column, numbers in kept["values"].items():
            near = {"atol": ROUNDING["accuracy"]} if column.endswith("accuracy") else {"rtol": ROUNDING["loss"]}
            np.testing.assert_allclose(values[label]["values"][column], numbers, err_msg=f"{label} {column}", **near)


def test_every_method_has_a_golden_run():
    assert {kept["algorithm"] for kept in KEPT["runs"].values()} == set(registry.METHODS)
