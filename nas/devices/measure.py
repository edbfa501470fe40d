"""From the timings of rounds to one latency."""

from __future__ import annotations

import numpy as np

from nas.devices.agent.timing import Effort

NORMAL = Effort(
    rounds=9,
    warmup_runs=4,
    min_runs=15,
    min_time_ms=5.0,
    repeats=0.5,
    most_disturbed=0.5,
    energy=True,
)


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
