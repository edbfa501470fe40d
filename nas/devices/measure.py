"""From the timings of rounds to one latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.devices.agent.timing import Timing


def model_latencies(timings: Sequence[Sequence[Timing]]) -> np.ndarray:
    """Latencies of whole models, ms, shape `N x rounds`, from timings with the fastest first.

    What somebody who runs a model sees is the median of its runs; the lower fifth is steadier. So
    it is the lower fifth times what medians are of it, in the middle of all models.
    """
    fast = np.array([[timing.latency_ms for timing in of_model] for of_model in timings])
    medians = np.array([[timing.median_ms for timing in of_model] for of_model in timings])
    return np.asarray(fast * np.median(medians / fast))


def settled_latency(rounds_ms: np.ndarray) -> np.ndarray:
    """Latency while nothing else disturbs: the median of `... x R` timings that agree.

    Disturbances only ever slow a round down: of all timings of an item, the R fastest are given
    here, and they agree within a few per cent (`nas.devices.agent.session`).
    """
    return np.asarray(np.median(rounds_ms, axis=-1))


def spread(rounds_ms: np.ndarray) -> float:
    """Median absolute deviation of one item's rounds, ms."""
    return float(np.median(np.abs(rounds_ms - np.median(rounds_ms))))
