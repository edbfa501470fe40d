"""From rounds to a latency."""

import numpy as np
import pytest

from nas.devices.agent.timing import Timing
from nas.devices.measure import model_latencies, settled_latency, spread


def test_the_median_of_timings_that_agree():
    assert settled_latency(np.array([[1.0, 1.01, 1.03], [2.0, 2.0, 2.1]])).tolist() == [1.01, 2.0]
    assert settled_latency(np.array([2.0])) == 2.0


def test_the_spread_is_the_median_absolute_deviation():
    assert spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == 1.0
    assert spread(np.array([2.0])) == 0.0


def test_whole_models_are_taken_near_the_median_of_their_runs():
    """One median that was hit by something does not move its model."""
    timings = [
        [Timing(1.0, 1.02, 2.0, 9), Timing(1.01, 1.5, 2.0, 9)],
        [Timing(2.0, 2.04, 3.0, 9), Timing(2.0, 2.04, 3.0, 9)],
    ]
    expected = np.array([[1.0, 1.01], [2.0, 2.0]]) * 1.02
    assert model_latencies(timings) == pytest.approx(expected)
