"""From rounds to a latency."""

import numpy as np

from nas.devices.measure import settled_latency, spread


def test_the_median_of_timings_that_agree():
    assert settled_latency(np.array([[1.0, 1.01, 1.03], [2.0, 2.0, 2.1]])).tolist() == [1.01, 2.0]
    assert settled_latency(np.array([2.0])) == 2.0


def test_the_spread_is_the_median_absolute_deviation():
    assert spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == 1.0
    assert spread(np.array([2.0])) == 0.0
