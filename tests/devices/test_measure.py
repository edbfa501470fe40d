"""From rounds to a latency."""

import numpy as np

from nas.devices.measure import quiet_latency, spread


def test_a_disturbed_round_does_not_count():
    quiet = np.array([[1.0, 1.01, 0.99, 1.0, 1.0, 1.02, 0.98, 1.0, 1.0]])
    disturbed = quiet.copy()
    disturbed[0, [1, 4, 5, 8]] *= 1.6
    assert abs(quiet_latency(disturbed) - quiet_latency(quiet)) < 0.011
    assert quiet_latency(np.array([2.0])) == 2.0


def test_the_spread_is_the_median_absolute_deviation():
    assert spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == 1.0
    assert spread(np.array([2.0])) == 0.0
