"""Which trials become models: the front, thinned by what each adds, then what is behind it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pareto import non_dominated
from nas.search import choosing
from nas.search.choosing import reference_point
from nas.search.finalists import score_logits
from nas.search.goals import make_goals
from nas.search.settings import read_settings
from nas.search.study import TrialRecord

GOALS = make_goals(read_settings(None, {"device": "tiny", "budget": "1s"}))


def choose_finalists(records, most, goals=GOALS):
    return choosing.choose_finalists(records, most, goals)


def trial_costs(records):
    return choosing.trial_costs(records, GOALS.fronts[0])


def record(number, accuracy, latency_ms):
    latency = {"predicted": latency_ms, "lower": latency_ms, "upper": latency_ms,
               "provenance": "measured"}  # fmt: skip
    costs = {"params": 1, "macs": 1, "size_bytes": 1, "peak_memory_bytes": 1, "energy_mj": {}}
    return TrialRecord(
        number,
        f"{number:012x}",
        {},
        accuracy,
        360,
        {"tiny": latency},
        **costs,
        refused=0,
        origin="",
    )


def test_the_loss_decides_where_there_is_one():
    found = [replace(record(n, a, ms), loss=loss) for n, (a, ms, loss) in enumerate(
        [(0.5, 1.0, 2.0), (0.6, 2.0, 2.1), (0.7, 3.0, 1.5), (0.75, 3.5, 1.9), (0.7, 4.0, 1.2)]
    )]  # fmt: skip
    assert set(numbers(choosing.promote(found, 3, GOALS))) == {0, 2, 4}
    assert numbers(choose_finalists(found, 3, GOALS)) == [0, 2, 4]
    beside = [replace(each, loss=None) for each in found]
    assert set(numbers(choose_finalists(beside, 4, GOALS))) == {0, 1, 2, 3}


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
    latencies = [record.latency_ms["tiny"]["predicted"] for record in chosen]
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


@pytest.mark.parametrize("same", [[(0.5, 1.0)], [(0.5, 1.0), (0.5, 1.0)]])
def test_the_reference_is_beyond_the_worst_even_where_all_are_equal(same):
    costs = trial_costs(records_of(same))
    assert (reference_point(costs) > costs.max(axis=0)).all()


def test_costs_are_error_and_latency():
    assert trial_costs(records_of([(0.75, 2.0)])).tolist() == [[0.25, 2.0]]
    assert trial_costs([]).shape == (0, 2)


@given(points, st.integers(1, 30))
def test_fronts_are_promoted_one_after_the_other(found, most):
    records = records_of(found)
    chosen = choosing.promote(records, most, GOALS)
    assert len(chosen) == len({r.id for r in chosen}) == min(most, len(records))
    left = list(records)
    while left and chosen:
        mask = non_dominated(trial_costs(left))
        layer = {r.id for r, inside in zip(left, mask, strict=True) if inside}
        begun, chosen = chosen[: len(layer)], chosen[len(layer) :]
        assert {r.id for r in begun} <= layer
        left = [r for r in left if r.id not in layer]


def test_what_is_over_the_budget_is_not_promoted():
    records = [*records_of([(0.5, 1.0), (0.6, 2.0)]), record(2, 0.9, 2000.0)]
    assert {r.number for r in choosing.promote(records, 3, GOALS)} == {0, 1}


def test_the_search_fills_places_that_the_short_training_left():
    searched = records_of([(0.5, 1.0), (0.6, 2.0), (0.7, 3.0), (0.2, 4.0)])
    trained = records_of([(0.9, 1.0), (0.95, 2.0)])
    finalists = choosing.finalists_of(searched, trained, 3, GOALS)
    assert [(r.number, r.accuracy) for r in finalists] == [(0, 0.9), (1, 0.95), (2, 0.7)]
    assert choosing.finalists_of(searched, [], 2, GOALS) == choose_finalists(searched, 2)
    assert choosing.finalists_of(searched, trained, 2, GOALS) == choose_finalists(trained, 2)


def test_logits_are_scored_against_labels(dataset):
    labels = dataset.validation.labels
    right = np.eye(10, dtype=np.float32)[labels][None]
    assert score_logits(right, dataset.validation).value == 1.0
    wrong = np.roll(right, 1, axis=2)
    assert score_logits(wrong, dataset.validation).correct == 0
    assert score_logits(wrong, dataset.validation).images == len(labels)
