"""What is said of a number over the seeds."""

import numpy as np
import pytest
from scipy import stats

from sibp.results.statistics import interval, over_seeds


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_the_interval_of_the_mean_is_students_and_agrees_with_the_library(n):
    values = np.random.default_rng(n).normal(0.9, 0.1, n)
    library = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert interval(values) == pytest.approx(library, rel=1e-12)


def test_the_interval_of_three_numbers_by_a_printed_table():
    half = 4.302653 * np.sqrt(7 / 9)  # of 1, 2, 4: mean 7/3, variance 7/3, two degrees of freedom
    assert interval([1, 2, 4]) == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-6)


@pytest.mark.parametrize("values", [[], [0.9], [1.0, np.inf], [1.0, np.nan]])
def test_there_is_no_interval_of_less_than_two_numbers_or_of_what_is_infinite_or_missing(values):
    assert np.isnan(interval(values)).all()


def test_seeds_that_agree_have_an_interval_without_width():
    assert interval([0.5, 0.5]) == (0.5, 0.5)


def test_seeds_without_the_number_are_left_out():
    facts = over_seeds([0.2, np.nan, 0.4])
    assert (facts.n, facts.mean, facts.median, facts.least, facts.most) == (2, pytest.approx(0.3), pytest.approx(0.3), 0.2, 0.4)
    assert facts.std == pytest.approx(np.sqrt(0.02))
    assert (facts.low, facts.high) == interval([0.2, 0.4])


def test_no_seed_with_the_number_leaves_nothing():
    facts = over_seeds([np.nan])
    assert facts.n == 0 and np.isnan([facts.mean, facts.median, facts.std, facts.low, facts.high, facts.least, facts.most]).all()


def test_the_median_of_durations_stands_where_one_is_never():
    facts = over_seeds([1, 2, np.inf])
    assert (facts.median, facts.most) == (2, np.inf) and np.isnan(facts.std)
