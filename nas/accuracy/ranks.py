"""How well one score ranks what another one is the truth of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SAMPLES = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b, and the 95 % interval of bootstrap samples of what was ranked.

    Attributes:
        tau: From -1 to 1; 0 where one of the two scores is the same for all.
        lower: Of the interval.
        upper: Of the interval.
    """

    tau: float
    lower: float
    upper: float


def kendall(
    scores: Sequence[float], truth: Sequence[float], seed: int = 0, samples: int = SAMPLES
) -> RankCorrelation:
    """Compare two scores of the same things (Kendall 1938, doi:10.1093/biomet/30.1-2.81)."""
    return _with_interval(lambda index: _tau(scores, truth, index), len(truth), seed, samples)


def kendall_difference(
    scores: Sequence[float],
    others: Sequence[float],
    truth: Sequence[float],
    seed: int = 0,
    samples: int = SAMPLES,
) -> RankCorrelation:
    """How much higher the tau of `scores` is than that of `others`, on the same samples."""
    return _with_interval(
        lambda index: _tau(scores, truth, index) - _tau(others, truth, index),
        len(truth),
        seed,
        samples,
    )


def _with_interval(
    value: Callable[[np.ndarray], float], number: int, seed: int, samples: int
) -> RankCorrelation:
    drawn = np.random.default_rng(seed).integers(number, size=(samples, number))
    lower, upper = np.percentile([value(index) for index in drawn], [2.5, 97.5])
    return RankCorrelation(value(np.arange(number)), float(lower), float(upper))


def _tau(scores: Sequence[float], truth: Sequence[float], index: np.ndarray) -> float:
    from scipy.stats import kendalltau

    found = float(kendalltau(np.asarray(scores)[index], np.asarray(truth)[index]).statistic)
    return 0.0 if np.isnan(found) else min(1.0, max(-1.0, found))
