"""Rank correlations with their intervals."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.accuracy.ranks import kendall, kendall_difference


def test_pairs_in_the_same_order_against_pairs_in_the_other():
    found = kendall([1, 2, 3, 4], [10, 20, 40, 30])
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert found.lower <= found.tau <= found.upper
    assert kendall([1, 2, 3], [3, 2, 1]).tau == -1


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=20_000)
    noisy = truth + rng.normal(size=truth.size)
    whole = 2 / np.pi * np.arcsin(np.sqrt(0.5))  # of two normal variables of this correlation
    inside = 0
    for start in range(0, 4000, 40):
        part = slice(start, start + 40)
        found = kendall(noisy[part], truth[part], samples=200)
        inside += found.lower <= whole <= found.upper
    assert 85 <= inside <= 100


def test_ties_are_told_from_pairs_in_order():
    """Tau-b, of all and of what the samples repeat, as SciPy has it."""
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 9, 40)
    truth = scores + rng.integers(-4, 5, 40)
    found = kendall(scores, truth, seed=3, samples=100)
    samples = np.random.default_rng(3).integers(40, size=(100, 40))
    taus = [kendalltau(scores[index], truth[index]).statistic for index in samples]
    expected = kendalltau(scores, truth).statistic, *np.percentile(taus, [2.5, 97.5])
    assert (found.tau, found.lower, found.upper) == pytest.approx(expected)


def test_what_is_all_alike_ranks_nothing():
    found = kendall([5, 5, 5], [1, 2, 3])
    assert (found.tau, found.lower, found.upper) == (0, 0, 0)


def test_a_difference_is_of_the_same_samples():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=60)
    better, worse = truth + 0.5 * rng.normal(size=60), truth + 3 * rng.normal(size=60)
    found = kendall_difference(better, worse, truth)
    assert found.tau == kendall(better, truth).tau - kendall(worse, truth).tau
    assert found.lower > 0.2
    alike = kendall_difference(better, better, truth)
    assert (alike.tau, alike.lower, alike.upper) == (0, 0, 0)
