import numpy as np
import pytest

from nas.pareto import hypervolume
from nas.search.samplers.improvement import (
    budget_grid,
    expected_improvement,
    gains,
    meets,
    staircase,
)


def test_budgets_of_one_cost_are_evenly_spaced():
    grid = budget_grid(np.array([1.0]), np.array([3.0]))
    assert grid[0, 0] == 1.0
    assert grid[-1, 0] == 3.0
    assert np.diff(grid[:, 0]) == pytest.approx(np.full(len(grid) - 1, np.diff(grid[:2, 0])[0]))


@pytest.mark.parametrize("costs", [2, 3])
def test_budgets_of_several_costs_fill_the_box(costs):
    grid = budget_grid(np.zeros(costs), np.full(costs, 2.0))
    assert ((grid >= 0) & (grid <= 2)).all()
    assert grid.mean(axis=0) == pytest.approx(np.ones(costs), abs=0.02)
    corners = (grid > 1).astype(int) @ (2 ** np.arange(costs))
    assert np.bincount(corners).min() > 0.8 * len(grid) / 2**costs


def test_without_costs_there_is_one_budget_that_all_meet():
    grid = budget_grid(np.zeros(0), np.zeros(0))
    assert meets(np.zeros((4, 0)), grid).tolist() == [[True]] * 4


def test_a_staircase_is_the_lowest_value_under_each_budget():
    costs = np.array([[1.0], [2.0], [3.0]])
    inside = meets(costs, np.array([[0.5], [1.5], [9.0]]))
    steps = staircase(inside, np.array([5.0, 2.0, 3.0]), 6.0)
    assert steps.tolist() == [6.0, 5.0, 2.0]
    assert staircase(inside[:0], np.zeros(0), 6.0).tolist() == [6.0] * 3


def test_expected_improvement_is_the_mean_of_what_is_gained():
    drawn = np.random.default_rng(0).normal(1.0, 0.5, size=200_000)
    found = expected_improvement(np.array(1.0), np.array(0.5), np.array(0.8))
    assert found == pytest.approx(np.maximum(0.8 - drawn, 0).mean(), rel=0.02)


def test_gains_are_the_expected_growth_of_the_hypervolume():
    rng = np.random.default_rng(1)
    costs, values = rng.uniform(0, 10, size=(8, 1)), rng.uniform(0, 1, size=8)
    grid, worst = np.linspace(0, 10, 2001)[:, None], 1.0
    best = staircase(meets(costs, grid), values, worst)
    asked, mean, deviation = np.array([[2.0], [7.0]]), np.array([0.4, 0.2]), np.array([0.2, 0.1])
    found = 10 * gains(mean, deviation, meets(asked, grid), best)

    def volume(points):
        return hypervolume(points, np.array([10.0, worst]))

    known = np.column_stack([costs, values])
    for i in range(2):
        grown = [
            volume(np.vstack([known, [asked[i, 0], drawn]])) - volume(known)
            for drawn in rng.normal(mean[i], deviation[i], size=4000)
        ]
        assert found[i] == pytest.approx(np.mean(grown), rel=0.05)
