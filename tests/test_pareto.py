"""Fronts and hypervolumes against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.pareto import hypervolume, non_dominated, select

INTEGERS = st.integers(0, 4).map(float)
NUMBERS = st.one_of(INTEGERS, st.floats(allow_nan=True, allow_infinity=True))


def matrices(elements, max_rows=9, dimensions=(1, 4)):
    return st.integers(*dimensions).flatmap(
        lambda m: st.lists(st.lists(elements, min_size=m, max_size=m), max_size=max_rows).map(
            lambda rows: np.array(rows, dtype=float).reshape(-1, m)
        )
    )


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


@given(matrices(NUMBERS))
def test_nothing_in_the_front_is_dominated_and_everything_else_is(costs):
    mask = non_dominated(costs)
    assert mask.shape == (len(costs),) and mask.dtype == bool
    for index, row in enumerate(costs):
        if np.isnan(row).any():
            assert not mask[index]
        elif mask[index]:
            assert not any(dominates(other, row) for other in costs)
        else:
            assert any(dominates(member, row) for member in costs[mask])


@given(matrices(NUMBERS), st.randoms())
def test_the_front_does_not_depend_on_the_order(costs, random):
    order = list(range(len(costs)))
    random.shuffle(order)
    assert (non_dominated(costs[order]) == non_dominated(costs)[order]).all()


@given(matrices(NUMBERS))
def test_repeating_rows_repeats_their_answer(costs):
    twice = non_dominated(np.concatenate([costs, costs]))
    assert (twice == np.tile(non_dominated(costs), 2)).all()


def test_equal_rows_are_all_in_the_front():
    assert non_dominated(np.array([[1, 2], [1, 2], [2, 1], [2, 2]])).tolist() == [
        True, True, True, False,
    ]  # fmt: skip


def test_rows_with_nan_are_never_in_the_front_and_dominate_nothing():
    costs = np.array([[0, np.nan], [1, 1], [np.nan, np.nan], [2, 2]])
    assert non_dominated(costs).tolist() == [False, True, False, False]


@pytest.mark.parametrize("costs", [[], np.empty((0, 2))])
def test_no_rows_have_no_front(costs):
    assert non_dominated(costs).tolist() == []


def counted_cells(costs, reference):
    """Unit cells of the integer grid that some point dominates."""
    cells = np.indices([int(r) for r in reference]).reshape(len(reference), -1).T
    covered = np.zeros(len(cells), dtype=bool)
    for point in costs:
        covered |= (cells >= point).all(axis=1)
    return int(covered.sum())


REFERENCE = np.array([4, 5, 3, 4], dtype=float)


@given(matrices(INTEGERS, dimensions=(1, 4)))
def test_hypervolume_is_the_number_of_dominated_cells(costs):
    reference = REFERENCE[: costs.shape[1]]
    assert hypervolume(costs, reference) == counted_cells(costs, reference)


@given(matrices(INTEGERS, dimensions=(1, 3)), st.integers(0, 5))
@settings(max_examples=50)
def test_each_that_is_selected_adds_most_to_those_before_it(costs, number):
    reference = REFERENCE[: costs.shape[1]]
    chosen = select(costs, number, reference)
    assert len(chosen) == len(set(chosen)) == min(number, len(costs))
    for position in range(len(chosen)):
        reached = counted_cells(costs[chosen[: position + 1]], reference)
        others = [
            counted_cells(costs[[*chosen[:position], i]], reference) for i in range(len(costs))
        ]
        assert reached == max(others)


@given(matrices(st.floats(0, 1), max_rows=6, dimensions=(2, 3)))
def test_hypervolume_against_inclusion_and_exclusion(costs):
    reference = np.full(costs.shape[1], 1.0)
    expected = 0.0
    for subset in range(1, 2 ** len(costs)):
        members = costs[[bool(subset >> i & 1) for i in range(len(costs))]]
        sign = 1 if len(members) % 2 else -1
        expected += sign * float(np.prod(np.maximum(reference - members.max(axis=0), 0)))
    assert hypervolume(costs, reference) == pytest.approx(expected, abs=1e-9)


@given(matrices(st.floats(0, 1), dimensions=(2, 3)), st.floats(0, 1))
def test_another_point_never_takes_volume_away(costs, value):
    reference = np.ones(costs.shape[1])
    more = np.concatenate([costs, np.full((1, costs.shape[1]), value)])
    assert hypervolume(more, reference) >= hypervolume(costs, reference) - 1e-12


def test_only_the_front_has_volume():
    front = np.array([[1, 3], [2, 2], [3, 1]])
    more = np.concatenate([front, [[3, 3], [2, 2]]])
    reference = np.array([4, 4])
    assert hypervolume(front, reference) == hypervolume(more, reference) == 6.0
    assert set(select(more, 3, reference)) in ({0, 1, 2}, {0, 2, 4})


def test_points_outside_the_reference_and_nan_add_nothing():
    reference = np.array([4, 4])
    outside = np.array([[4, 0], [0, 5], [np.nan, 1]])
    assert hypervolume(outside, reference) == 0.0


def test_no_points_have_no_volume():
    assert hypervolume(np.empty((0, 2)), np.array([1, 1])) == 0.0
    assert select(np.empty((0, 2)), 3, np.array([1, 1])) == []
