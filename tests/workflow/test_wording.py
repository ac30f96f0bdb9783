"""A claim's numbers in words: what was measured, of whom, against whom."""

import math

import numpy as np
import pytest

from sibp.results.quantities import TAKES, Quantity
from workflow.figures import columns
from workflow.scripts.wording import Measured, sentence

NAMES = {"sibp": "SIBP", "sgd": "SGD", "proxbp": "ProxBP"}


def measured(label, *values, **quantity):
    return Measured(label, Quantity.parse({"metric": "test_accuracy"} | quantity), np.array(values, float))


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        ({}, "test accuracy"),
        ({"best": True}, "best test accuracy"),
        ({"over": "max"}, "test accuracy, best setting"),
        ({"metric": "train_loss", "epoch": 2, "over": "min"}, "train loss at epoch 2, best setting"),
        ({"metric": "train_loss", "over": "max"}, "train loss, worst setting"),
        ({"over": "range"}, "range of test accuracy over the settings"),
        ({"pruned": 0.7}, "test accuracy with 70 % of the weights cut"),
        ({"metric": "train_loss", "falls_to": 0.5, "over": "min"}, "steps until the train loss is 50 % of its start, best setting"),
        ({"epochs_to": 0.9}, "epochs to 0.9 test accuracy"),
        ({"failed": 0.2, "over": "min"}, ""),
    ],
)
def test_a_quantity_is_named(quantity, name):
    assert measured("a", 1, **quantity).name == name


def test_whatever_is_taken_has_a_name():
    assert set(columns.PHRASES) == set(TAKES)


@pytest.mark.parametrize(
    ("values", "quantity", "numbers"),
    [
        ([0.9], {}, "0.9000"),
        ([0.9, 0.9, 0.9], {}, "0.9000"),
        ([0.9, 0.91], {}, "0.9050 [0.8415, 0.9685]"),
        ([0.000123, 0.000123], {"metric": "train_loss"}, "0.000123"),
        ([1.5, 1.7], {"metric": "train_loss"}, "1.6 [0.329, 2.87]"),
        ([12345.4], {"steps_to": 0.9}, "12345"),
        ([3.84], {"epochs_to": 0.9}, "3.84"),
        ([2, math.inf], {"epochs_to": 0.9}, "never in 1 of 2 seeds"),
        ([math.inf, math.inf], {"epochs_to": 0.9}, "never"),
        ([0.9, math.nan], {}, "diverged in 1 of 2 seeds"),
        ([1, 0, 1], {"failed": 0.2, "over": "min"}, "fails in 2 of 3 seeds"),
    ],
)
def test_numbers_have_the_digits_of_their_kind(values, quantity, numbers):
    assert measured("a", *values, **quantity).numbers == numbers


def test_one_label_alone_is_not_named_and_several_are():
    two = [(measured("sgd", 0.5), None), (measured("sgd", 0.7, metric="train_accuracy"), None)]
    assert sentence(two, NAMES) == "test accuracy 0.5000; train accuracy 0.7000"
    assert (
        sentence([(measured("sgd", 0.5), None), (measured("sibp", 0.7), None)], NAMES) == "test accuracy: SGD 0.5000, SIBP 0.7000"
    )
    assert sentence([(measured("sgd", 1, failed=0.2), None)], NAMES) == "fails in 1 of 1 seeds"
    assert sentence([], {}) == ""


def test_a_label_that_is_asked_twice_has_its_setting_beside_it():
    ours, best, slow = measured("sibp", 0.9), measured("sgd", 0.8, over="max"), measured("sgd", 0.7, where={"eta": [0.05]})
    assert (
        sentence([(ours, best), (ours, slow)], NAMES) == "test accuracy: SIBP 0.9000 against SGD 0.8000 and SGD at eta 0.05 0.7000"
    )
    assert sentence([(ours, slow)], NAMES) == "test accuracy: SIBP 0.9000 against SGD 0.7000"


def test_rivals_of_one_stand_together_and_so_do_those_that_share_them():
    ours, sgd, proxbp = measured("sibp", 0.9), measured("sgd", 0.8), measured("proxbp", 0.7)
    assert sentence([(ours, None), (ours, sgd), (ours, proxbp)], NAMES) == (
        "test accuracy: SIBP 0.9000 against SGD 0.8000 and ProxBP 0.7000"
    )
    assert sentence([(ours, proxbp), (sgd, proxbp)], NAMES) == "test accuracy: SIBP 0.9000, SGD 0.8000 against ProxBP 0.7000"
    other = (measured("sibp", 3, epochs_to=0.9), measured("sgd", math.inf, epochs_to=0.9))
    assert sentence([(ours, sgd), other], NAMES) == (
        "test accuracy: SIBP 0.9000 against SGD 0.8000; epochs to 0.9 test accuracy: SIBP 3 against SGD never"
    )
