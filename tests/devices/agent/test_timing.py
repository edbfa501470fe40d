"""Timing with a clock that the test turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.devices.agent.timing import MAX_WINDOWS, Effort, quantile, time_runs


class Machine:
    """Runs that take as long as they are told, on a clock that only they move."""

    def __init__(self, *durations_ms):
        self.now, self.runs, self.durations = 0.0, 0, durations_ms

    def run(self):
        self.now += 1e-3 * self.durations[min(self.runs, len(self.durations) - 1)]
        self.runs += 1

    def clock(self):
        return self.now

    def time(self, warmup_runs, min_runs, min_time_ms):
        effort = Effort(1, warmup_runs, min_runs, min_time_ms, 1.0, 0.0, 1.0)
        return time_runs(self.run, effort, self.clock)


def test_the_lower_fifth_and_the_95th_percentile_in_milliseconds():
    machine = Machine(1, 9, 2)
    found = machine.time(warmup_runs=0, min_runs=3, min_time_ms=0)
    assert (found.latency_ms, found.runs) == (pytest.approx(1.4), 3)
    assert found.median_ms == pytest.approx(2.0)
    assert found.p95_ms == pytest.approx(2 + 0.9 * 7)


def test_a_machine_that_is_warm_is_warmed_up_twice_and_not_timed_meanwhile():
    machine = Machine(1)
    assert machine.time(warmup_runs=4, min_runs=3, min_time_ms=0).latency_ms == pytest.approx(1.0)
    assert machine.runs == 2 * 4 + 3


def test_the_warm_up_goes_on_as_long_as_runs_get_faster():
    durations = [9, 9, 7, 7, 5, 5, 3, 3, 3]
    machine = Machine(*durations)
    assert machine.time(warmup_runs=2, min_runs=3, min_time_ms=0).latency_ms == pytest.approx(3.0)
    assert machine.runs == 5 * 2 + 3


def test_the_warm_up_ends_even_if_runs_get_faster_for_ever():
    machine = Machine(*(1e3 * 0.9**i for i in range(100)))
    machine.time(warmup_runs=2, min_runs=1, min_time_ms=0)
    assert machine.runs == MAX_WINDOWS * 2 + 1


def test_short_runs_are_repeated_until_they_took_long_enough():
    found = Machine(0.001).time(warmup_runs=0, min_runs=3, min_time_ms=0.1)
    assert (found.latency_ms, found.runs) == (pytest.approx(0.001), pytest.approx(100, abs=1))


def test_long_runs_are_repeated_as_often_as_wanted():
    found = Machine(50).time(warmup_runs=1, min_runs=4, min_time_ms=1e-6)
    assert (found.latency_ms, found.runs) == (pytest.approx(50.0), 4)


STRETCHES = Effort(1, 0, 2, 0.0, agreement=1.03, repeats=0.0, most_unsettled=1.0, most_time_ms=20)


@pytest.mark.parametrize(
    ("durations", "runs"),
    [
        ([5], 6),  # a quiet machine: three stretches of two runs
        ([9, 9, 5, 5, 9, 9, 5, 5, 9, 9, 5.1, 5.1, 1], 12),  # others' work comes and goes
        ([9, 9, 5], 8),  # or ends
    ],
)
def test_stretches_follow_until_three_agree(durations, runs):
    machine = Machine(*durations)
    found = time_runs(machine.run, STRETCHES._replace(most_time_ms=99), machine.clock)
    assert (found.latency_ms, found.runs) == (pytest.approx(5.0), 6)
    assert found.p95_ms < 5.2, "what was slow does not count"
    assert machine.runs == runs
    assert found.runs == STRETCHES.fewest_runs


@pytest.mark.parametrize(("least_time_ms", "runs"), [(0, 6), (55, 12), (1000, 20)])
def test_what_took_long_to_load_is_timed_for_longer(least_time_ms, runs):
    machine = Machine(5)
    effort = STRETCHES._replace(most_time_ms=100)
    time_runs(machine.run, effort, machine.clock, least_time_ms)
    assert machine.runs == runs


def test_stretches_that_never_agree_end_after_a_time():
    machine = Machine(*(10 / 1.1**number for number in range(100)))
    found = time_runs(machine.run, STRETCHES, machine.clock)
    assert machine.runs == 6, "three stretches at least"
    assert found.latency_ms == pytest.approx(10 / 1.1**4)
    machine = Machine(*(2 / 1.1**number for number in range(100)))
    time_runs(machine.run, STRETCHES, machine.clock)
    assert 20 <= 1e3 * machine.now < 20 + 1


def test_a_clock_that_stands_still_ends_and_never_says_zero():
    found = Machine(0).time(warmup_runs=0, min_runs=5, min_time_ms=2e-5)
    assert (found.latency_ms, found.runs) == (pytest.approx(1e-6), 20)


def test_a_clock_that_stands_still_ends_stretches_too():
    found = time_runs(Machine(0).run, STRETCHES._replace(most_time_ms=1e-3), lambda: 0.0)
    assert (found.latency_ms, found.runs) == (pytest.approx(1e-6), 6)


def test_an_error_of_the_model_is_not_hidden():
    def fail():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="^out of memory$"):
        time_runs(fail, Effort(1, 1, 1, 0.0, 1.0, 0.0, 1.0))


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_numpys(values, share):
    assert quantile(values, share) == pytest.approx(np.quantile(values, share))
