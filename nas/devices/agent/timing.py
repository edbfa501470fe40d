"""Timing one thing: warm-up until it is stable, repeated runs, quantiles."""

import time
from typing import Callable, List, NamedTuple, Sequence, Tuple, Union

Clock = Callable[[], float]
"""Seconds, from any start."""
STABLE = 0.97
"""The warm-up ends with a window of runs that takes at least this share of the one before."""
MAX_WINDOWS = 10
LEAST_S = 1e-9
FAST = 0.2
"""Quantile of the runs by which timings are compared: on a quiet machine the median, and steady
where up to four fifths of them are hit by something (docs/decisions/0008)."""
STRETCHES = 3
"""So many count, the fastest: others' work comes and goes within milliseconds."""


class Effort(NamedTuple):
    """How long things are timed.

    Attributes:
        rounds: In each one, every item is timed once; so many timings of an item have to agree.
        warmup_runs: In a window of the warm-up.
        min_runs: Timed runs of a stretch at least.
        min_time_ms: What those take together at least.
        agreement: Ratio of the slowest to the fastest of timings that agree.
        repeats: Timings beyond the rounds, of what does not agree, as a share of those of the
            rounds.
        most_unsettled: Share of items left without agreement from which a measurement is refused.
        energy: Whether energy is measured too, where there is a meter.
        most_time_ms: A loaded model is timed in stretches until `STRETCHES` agree, for so long at
            most; 0 for a single one.
    """

    rounds: int
    warmup_runs: int
    min_runs: int
    min_time_ms: float
    agreement: float
    repeats: float
    most_unsettled: float
    energy: bool = False
    most_time_ms: float = 0.0

    @property
    def fewest_runs(self) -> int:
        """That a timing is of."""
        return self.min_runs * (STRETCHES if self.most_time_ms else 1)


class Timing(NamedTuple):
    """One item in one round.

    Attributes:
        latency_ms: Lower fifth of the runs that count.
        median_ms: Their median.
        p95_ms: Their 95th percentile.
        runs: How many they are.
    """

    latency_ms: float
    median_ms: float
    p95_ms: float
    runs: int


class SelfTimed:
    """A loaded model that its runtime times by itself, in a process of its own."""

    def time(self, effort: Effort) -> Timing:
        """Warm up, then time."""
        raise NotImplementedError


Run = Union[Callable[[], object], SelfTimed]
Stretch = Tuple[float, List[float]]
"""The lower fifth of runs one after the other, and these, ms."""


def time_runs(
    run: Run, effort: Effort, clock: Clock = time.perf_counter, least_time_ms: float = 0.0
) -> Timing:
    """Warm up, then time `run` again and again.

    Args:
        run: A loaded model.
        effort: How long.
        clock: In seconds.
        least_time_ms: Of its stretches, where `effort` allows so much: what took long to load is
            timed for longer.
    """
    if isinstance(run, SelfTimed):
        return run.time(effort)
    _warm_up(run, effort.warmup_runs, clock)
    stretches = [_time_stretch(run, effort, clock)]
    while effort.most_time_ms and not _agree(stretches, effort, least_time_ms):
        stretches.append(_time_stretch(run, effort, clock))
        stretches.sort()
    return summary([time_ms for _, times in stretches[:STRETCHES] for time_ms in times])


def _time_stretch(run: Callable[[], object], effort: Effort, clock: Clock) -> Stretch:
    """Runs one after the other."""
    times: List[float] = []
    total = 0.0
    while len(times) < effort.min_runs or total < effort.min_time_ms:
        times.append(1e3 * _time(run, clock))
        total += times[-1]
    return quantile(times, FAST), times


def _agree(stretches: Sequence[Stretch], effort: Effort, least_time_ms: float) -> bool:
    """Whether enough of the stretches, the fastest first, are alike, or the time is used up."""
    if len(stretches) < STRETCHES:
        return False
    alike = stretches[STRETCHES - 1][0] <= effort.agreement * stretches[0][0]
    wanted_ms = min(least_time_ms, effort.most_time_ms) if alike else effort.most_time_ms
    return sum(sum(times) for _, times in stretches) >= wanted_ms


def summary(times_ms: Sequence[float]) -> Timing:
    """Of runs, at least one."""
    fast, median, p95 = (quantile(times_ms, share) for share in (FAST, 0.5, 0.95))
    return Timing(fast, median, p95, len(times_ms))


def quantile(values: Sequence[float], share: float) -> float:
    """With linear interpolation between neighbours, as numpy does; there is at least one value."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _warm_up(run: Callable[[], object], window: int, clock: Clock) -> None:
    """Caches fill and clocks rise during the first runs: go on until a window gains nothing."""
    before = float("inf")
    for _ in range(MAX_WINDOWS if window else 0):
        now = quantile([_time(run, clock) for _ in range(window)], 0.5)
        if now >= STABLE * before:
            return
        before = now


def _time(run: Callable[[], object], clock: Clock) -> float:
    start = clock()
    run()
    return max(LEAST_S, clock() - start)
