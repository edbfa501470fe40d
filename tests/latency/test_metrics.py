"""Agreement of predictions with measurements."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr

from nas.latency.metrics import Agreement, agreement, conformal_upper, spearman

positive = st.floats(0.01, 1000)


def test_agreement_by_hand():
    predicted = np.array([1.0, 2.08, 2.75, 5.0])
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    found = agreement(predicted, measured)
    assert found == Agreement(
        models=4,
        mape=pytest.approx((0 + 0.04 + 0.25 / 3 + 0.25) / 4),
        within_5=0.5,
        within_10=0.75,
        rank_correlation=pytest.approx(1.0),
    )


@given(arrays(float, st.integers(2, 30), elements=positive))
def test_perfect_predictions(measured):
    found = agreement(measured, measured)
    assert (found.mape, found.within_5, found.within_10) == (0, 1, 1)
    assert found.rank_correlation == pytest.approx(1.0 if len(set(measured)) > 1 else 0.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_rank_correlation_is_spearmans(pairs):
    a, b = np.array(pairs, dtype=float).T
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert spearman(a, b) == 0.0
    else:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


@pytest.mark.parametrize("values", [[], [3.0]])
def test_fewer_than_two_models_are_in_order(values):
    assert spearman(np.array(values), np.array(values)) == 1.0


def test_reversed_order():
    assert spearman(np.array([1.0, 2, 3]), np.array([9.0, 4, 1])) == pytest.approx(-1)


def test_of_fifty_ratios_the_largest_is_the_98_percent_bound():
    ratios = np.linspace(0.9, 1.1, 50)
    assert conformal_upper(ratios[::-1]) == 1.1


def test_of_a_hundred_ratios_it_is_the_second_largest():
    ratios = np.arange(1.0, 101.0)
    assert conformal_upper(ratios) == 99.0
    assert conformal_upper(ratios, coverage=0.9) == 91.0


@given(arrays(float, st.integers(1, 200), elements=positive), st.floats(0.5, 0.99))
def test_the_bound_is_a_ratio_that_covers_the_wanted_share(ratios, coverage):
    bound = conformal_upper(ratios, coverage)
    assert bound in ratios
    wanted = min(len(ratios), math.ceil((len(ratios) + 1) * coverage))
    assert (ratios <= bound).sum() >= wanted
    assert (ratios < bound).sum() < wanted
