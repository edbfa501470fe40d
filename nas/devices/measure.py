"""Timing: warm-up, repeated runs, rounds in random order, quantiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Clock = Callable[[], int]


@dataclass(frozen=True)
class Effort:
    """How long one item is timed in one round.

    Attributes:
        rounds: How often all items are gone through, each time in another random order.
        warmup_runs: Runs that are not timed, after loading.
        min_runs: Timed runs at least.
        min_time_ns: Timed runs go on until they took this long together.
    """

    rounds: int = 9
    warmup_runs: int = 8
    min_runs: int = 15
    min_time_ns: int = 5_000_000


def time_runs(
    run: Callable[[], object], effort: Effort, clock: Clock = time.perf_counter_ns
) -> tuple[float, int]:
    """Median latency of `run` in milliseconds, and how many runs it is the median of."""
    for _ in range(effort.warmup_runs):
        run()
    times: list[int] = []
    total = 0
    while len(times) < effort.min_runs or total < effort.min_time_ns:
        start = clock()
        run()
        elapsed = max(1, clock() - start)
        times.append(elapsed)
        total += elapsed
    return float(np.median(times)) * 1e-6, len(times)


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
