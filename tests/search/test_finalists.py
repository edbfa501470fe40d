"""Which trials become models: the front, thinned by what each adds, then what is behind it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pareto import hypervolume, non_dominated
from nas.search.finalists import choose_finalists, reference_point, score_logits, thin, trial_costs
from nas.search.study import TrialRecord


def record(number, accuracy, latency_ms):
    latency = {"predicted": latency_ms, "lower": latency_ms, "upper": latency_ms,
               "provenance": "measured"}  # fmt: skip
    return TrialRecord(number, f"{number:012x}", {}, accuracy, 360, {"tiny": latency}, 1, 1, 0, "")


def records_of(points):
    return [record(number, *point) for number, point in enumerate(points)]


def numbers(records):
    return [found.number for found in records]


points = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(1, 20).map(float)),
    min_size=1,
    max_size=25,
)


@given(points, st.integers(1, 30))
def test_finalists_are_distinct_sorted_and_as_many_as_wanted(found, most):
    records = records_of(found)
    chosen = choose_finalists(records, most)
    assert len(chosen) == min(most, len(records))
    assert len({record.number for record in chosen}) == len(chosen)
    latencies = [record.predicted_ms for record in chosen]
    assert latencies == sorted(latencies)


@given(points, st.integers(1, 30))
def test_the_front_comes_first(found, most):
    records = records_of(found)
    front = set(np.flatnonzero(non_dominated(trial_costs(records))))
    chosen = set(numbers(choose_finalists(records, most)))
    assert chosen <= front or front <= chosen


@given(points)
def test_one_finalist_is_on_the_front(found):
    records = records_of(found)
    [chosen] = choose_finalists(records, 1)
    assert non_dominated(trial_costs(records))[chosen.number]


def test_what_is_behind_the_front_fills_the_places_that_are_left():
    records = records_of([(0.9, 2.0), (0.8, 1.0), (0.85, 2.5), (0.7, 1.5), (0.5, 3.0)])
    assert numbers(choose_finalists(records, 2)) == [1, 0]
    assert sorted(numbers(choose_finalists(records, 4))) == [0, 1, 2, 3]
    assert len(choose_finalists(records, 10)) == 5
    assert choose_finalists([], 3) == []


def test_thinning_leaves_out_the_point_that_adds_least():
    records = records_of([(0.5, 1.0), (0.70, 2.0), (0.71, 2.1), (0.9, 4.0)])
    reference = reference_point(trial_costs(records))
    kept = thin(records, 3, reference)
    volumes = {
        left_out: hypervolume(np.delete(trial_costs(records), left_out, axis=0), reference)
        for left_out in range(4)
    }
    assert set(numbers(kept)) == {0, 1, 2, 3} - {max(volumes, key=volumes.__getitem__)}


def test_thinning_nothing_keeps_the_order():
    records = records_of([(0.9, 4.0), (0.5, 1.0)])
    assert thin(records, 2, reference_point(trial_costs(records))) == records


@pytest.mark.parametrize("same", [[(0.5, 1.0)], [(0.5, 1.0), (0.5, 1.0)]])
def test_the_reference_is_beyond_the_worst_even_where_all_are_equal(same):
    costs = trial_costs(records_of(same))
    assert (reference_point(costs) > costs.max(axis=0)).all()


def test_costs_are_error_and_latency():
    assert trial_costs(records_of([(0.75, 2.0)])).tolist() == [[0.25, 2.0]]
    assert trial_costs([]).shape == (0, 2)


def test_logits_are_scored_against_labels(dataset):
    labels = dataset.validation.labels
    right = np.eye(10, dtype=np.float32)[labels]
    assert score_logits(right, dataset.validation).value == 1.0
    wrong = np.roll(right, 1, axis=1)
    assert score_logits(wrong, dataset.validation).correct == 0
    assert score_logits(wrong, dataset.validation).images == len(labels)
