"""Timing one thing: warm-up until it is stable, repeated runs, quantiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], int]
STABLE = 0.97
"""The warm-up ends with a window of runs that takes at least this share of the one before."""
MAX_WINDOWS = 10


@dataclass(frozen=True)
class Effort:
    """How long one item is timed in one round.

    Attributes:
        rounds: How often all items are gone through, each time in another random order.
        warmup_runs: Runs in a window of the warm-up, which goes on until a window is not faster
            than the one before.
        min_runs: Timed runs at least.
        min_time_ns: Timed runs go on until they took this long together.
    """

    rounds: int = 9
    warmup_runs: int = 4
    min_runs: int = 15
    min_time_ns: int = 5_000_000


@dataclass(frozen=True)
class Timing:
    """One item in one round.

    Attributes:
        latency_ms: Median of the runs.
        p95_ms: Their 95th percentile.
        runs: How many there were.
    """

    latency_ms: float
    p95_ms: float
    runs: int


def time_runs(
    run: Callable[[], object], effort: Effort, clock: Clock = time.perf_counter_ns
) -> Timing:
    """Warm up, then time `run` again and again."""
    _warm_up(run, effort.warmup_runs, clock)
    times: list[int] = []
    total = 0
    while len(times) < effort.min_runs or total < effort.min_time_ns:
        times.append(_time(run, clock))
        total += times[-1]
    median, p95 = np.quantile(times, (0.5, 0.95)) * 1e-6
    return Timing(float(median), float(p95), len(times))


def _warm_up(run: Callable[[], object], window: int, clock: Clock) -> None:
    """Caches fill and clocks rise during the first runs: go on until a window gains nothing."""
    before = float("inf")
    for _ in range(MAX_WINDOWS if window else 0):
        now = float(np.median([_time(run, clock) for _ in range(window)]))
        if now >= STABLE * before:
            return
        before = now


def _time(run: Callable[[], object], clock: Clock) -> int:
    start = clock()
    run()
    return max(1, clock() - start)


def quiet_latency(rounds_ms: np.ndarray) -> np.ndarray:
    """Latency while nothing else disturbs, from `... x R` medians of R rounds: the lower quartile.

    Disturbances (another tenant on the core's other thread, a lower clock) only ever slow a round
    down, and last for a good part of a second: a whole round's median can be off by half. The
    lower quartile stands as long as a quarter of the rounds were quiet.
    """
    return np.asarray(np.quantile(rounds_ms, 0.25, axis=-1))


def spread(rounds_ms: np.ndarray) -> float:
    """Median absolute deviation of one item's rounds, ms."""
    return float(np.median(np.abs(rounds_ms - np.median(rounds_ms))))
