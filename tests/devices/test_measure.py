"""Timing with a clock that the test turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.devices.measure import MAX_WINDOWS, Effort, quiet_latency, spread, time_runs


class Machine:
    """Runs that take as long as they are told, on a clock that only they move."""

    def __init__(self, *durations_ns):
        self.now, self.runs, self.durations = 0, 0, durations_ns

    def run(self):
        self.now += self.durations[min(self.runs, len(self.durations) - 1)]
        self.runs += 1

    def clock(self):
        return self.now

    def time(self, **effort):
        return time_runs(self.run, Effort(rounds=1, **effort), self.clock)


def test_the_median_and_the_95th_percentile_in_milliseconds():
    machine = Machine(1_000_000, 9_000_000, 2_000_000)
    found = machine.time(warmup_runs=0, min_runs=3, min_time_ns=0)
    assert (found.latency_ms, found.runs) == (2.0, 3)
    assert found.p95_ms == pytest.approx(2 + 0.9 * 7)


def test_a_machine_that_is_warm_is_warmed_up_twice_and_not_timed_meanwhile():
    machine = Machine(1_000_000)
    assert machine.time(warmup_runs=4, min_runs=3, min_time_ns=0).latency_ms == 1.0
    assert machine.runs == 2 * 4 + 3


def test_the_warm_up_goes_on_as_long_as_runs_get_faster():
    durations = [9, 9, 7, 7, 5, 5, 3, 3, 3]
    machine = Machine(*(1_000_000 * d for d in durations))
    assert machine.time(warmup_runs=2, min_runs=3, min_time_ns=0).latency_ms == 3.0
    assert machine.runs == 5 * 2 + 3


def test_the_warm_up_ends_even_if_runs_get_faster_for_ever():
    machine = Machine(*(int(1e9 * 0.9**i) for i in range(100)))
    machine.time(warmup_runs=2, min_runs=1, min_time_ns=0)
    assert machine.runs == MAX_WINDOWS * 2 + 1


def test_short_runs_are_repeated_until_they_took_long_enough():
    found = Machine(1_000).time(warmup_runs=0, min_runs=3, min_time_ns=100_000)
    assert (found.latency_ms, found.runs) == (pytest.approx(0.001), 100)


def test_long_runs_are_repeated_as_often_as_wanted():
    found = Machine(50_000_000).time(warmup_runs=1, min_runs=4, min_time_ns=1)
    assert (found.latency_ms, found.runs) == (50.0, 4)


def test_a_clock_that_stands_still_ends_and_never_says_zero():
    found = Machine(0).time(warmup_runs=0, min_runs=5, min_time_ns=20)
    assert (found.latency_ms, found.runs) == (1e-6, 20)


def test_an_error_of_the_model_is_not_hidden():
    def fail():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="^out of memory$"):
        time_runs(fail, Effort())


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=30))
def test_the_result_is_the_median_of_the_timed_runs(durations):
    found = Machine(*durations).time(warmup_runs=0, min_runs=len(durations), min_time_ns=0)
    latency_ms = found.latency_ms
    assert found.runs == len(durations)
    assert latency_ms <= found.p95_ms * (1 + 1e-12)
    assert min(durations) <= latency_ms * 1e6 * (1 + 1e-12)
    assert latency_ms * 1e6 <= max(durations) * (1 + 1e-12)
    assert sum(d <= latency_ms * 1e6 * (1 + 1e-12) for d in durations) >= len(durations) / 2


def test_a_disturbed_round_does_not_count():
    quiet = np.array([[1.0, 1.01, 0.99, 1.0, 1.0, 1.02, 0.98, 1.0, 1.0]])
    disturbed = quiet.copy()
    disturbed[0, [1, 4, 5, 8]] *= 1.6
    assert abs(quiet_latency(disturbed) - quiet_latency(quiet)) < 0.011
    assert quiet_latency(np.array([2.0])) == 2.0


def test_the_spread_is_the_median_absolute_deviation():
    assert spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == 1.0
    assert spread(np.array([2.0])) == 0.0
