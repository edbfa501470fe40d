"""Thresholds lower the expected cost as far as accuracy allows, on cases with a known answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.accuracy.exits import (
    NEVER,
    choose_thresholds,
    confidences,
    expected_cost,
    leaving_places,
    leaving_shares,
    predicted_classes,
)


def logits_of(sure, classes, number=3):
    """Logits whose largest probability, of these classes, is `sure`; both `E x N`."""
    sure, classes = np.array(sure, float), np.array(classes)
    other = np.log((1 - sure) / (number - 1))
    logits = np.repeat(other[..., None], number, axis=-1)
    np.put_along_axis(logits, classes[..., None], np.log(sure)[..., None], axis=-1)
    return logits


def test_an_image_leaves_at_the_first_exit_that_is_sure():
    logits = logits_of([[0.9, 0.5, 0.4], [0.5, 0.8, 0.5], [0.4, 0.4, 0.4]], np.zeros((3, 3), int))
    assert np.allclose(confidences(logits)[0], [0.9, 0.5, 0.4])
    places = leaving_places(logits, (0.85, 0.75))
    assert places.tolist() == [0, 1, 2]
    assert leaving_shares(places, 2) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert leaving_places(logits, (NEVER, NEVER)).tolist() == [2, 2, 2]
    assert leaving_places(logits[2:], ()).tolist() == [0, 0, 0], "without exits all reach the end"


def test_the_class_is_that_of_the_exit():
    logits = logits_of([[0.9, 0.5], [0.8, 0.8]], [[1, 1], [2, 2]])
    assert predicted_classes(logits, np.array([0, 1])).tolist() == [1, 2]


def test_the_expected_cost_counts_all_that_ran():
    assert expected_cost((1.0, 3.0), (0.75, 0.25)) == 1.5


def test_the_threshold_lets_all_leave_that_cost_no_accuracy():
    """Below 0.7 the exit is wrong where the end is right; of those between, the safest is taken."""
    sure = [[0.95, 0.8, 0.715, 0.65, 0.5], [0.9] * 5]
    classes = [[0, 1, 2, 1, 1], [0, 1, 2, 0, 0]]
    labels = np.array([0, 1, 2, 0, 0])
    [threshold] = choose_thresholds(logits_of(sure, classes), labels, (1.0, 2.0))
    assert threshold == 0.71


def test_an_exit_that_is_never_right_is_not_taken():
    logits = logits_of([[0.905] * 4, [0.8] * 4], [[1] * 4, [0] * 4])
    [threshold] = choose_thresholds(logits, np.zeros(4, int), (1.0, 2.0))
    assert threshold == NEVER


def test_an_exit_that_knows_what_the_end_does_not_is_taken_always():
    logits = logits_of([[0.9] * 4, [0.8] * 4], [[0] * 4, [1] * 4])
    [threshold] = choose_thresholds(logits, np.zeros(4, int), (1.0, 2.0))
    assert leaving_places(logits, [threshold]).tolist() == [0] * 4


def test_each_exit_has_its_own_threshold():
    """The first is right from 0.9 on, the second from 0.6 on."""
    sure = [[0.95, 0.855, 0.3, 0.3], [0.5, 0.5, 0.65, 0.555], [0.9] * 4]
    classes = [[0, 1, 1, 1], [1, 1, 0, 1], [0] * 4]
    first, second = choose_thresholds(logits_of(sure, classes), np.zeros(4, int), (1.0, 2.0, 3.0))
    assert 0.85 < first <= 0.95 and 0.55 < second <= 0.65


def test_costs_that_do_not_rise_are_refused():
    with pytest.raises(ValueError, match=r"costs until each exit rise, got \[2.0, 2.0\]"):
        choose_thresholds(logits_of([[0.9], [0.9]], [[0], [0]]), np.array([0]), (2.0, 2.0))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from(["accuracy", "balanced"]))
def test_it_is_never_worse_and_never_dearer_than_the_end_alone(seed, exits, metric):
    from nas.accuracy.score import count_score

    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=40)
    logits = rng.normal(size=(exits + 1, 40, 3)) + 2 * np.eye(3)[labels]
    costs = np.cumsum(rng.uniform(0.1, 1, exits + 1)).tolist()
    thresholds = choose_thresholds(logits, labels, costs, metric)
    places = leaving_places(logits, thresholds)
    score = count_score(predicted_classes(logits, places), labels, metric)
    assert score.value >= count_score(logits[-1].argmax(axis=-1), labels, metric).value
    assert expected_cost(costs, leaving_shares(places, exits)) <= costs[-1] + 1e-12
