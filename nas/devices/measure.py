"""From the timings of rounds to one latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.devices.agent.timing import Timing


def medians(timings: Sequence[Sequence[Timing]]) -> np.ndarray:
    """Medians of the runs of whole models, ms, shape `N x rounds`, the fastest first.

    What somebody who runs the model sees. Blocks are compared by the lower fifth of their runs, a
    steadier number, and the calibration brings the two together.
    """
    return np.sort([[timing.median_ms for timing in of_model] for of_model in timings], axis=1)


def settled_latency(rounds_ms: np.ndarray) -> np.ndarray:
    """Latency while nothing else disturbs: the median of `... x R` timings that agree.

    Disturbances only ever slow a round down: of all timings of an item, the R fastest are given
    here, and they agree within a few per cent (`nas.devices.agent.session`).
    """
    return np.asarray(np.median(rounds_ms, axis=-1))


def spread(rounds_ms: np.ndarray) -> float:
    """Median absolute deviation of one item's rounds, ms."""
    return float(np.median(np.abs(rounds_ms - np.median(rounds_ms))))
