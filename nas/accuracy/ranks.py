"""How well one score ranks what another one is the truth of."""

from __future__ import annotations

from collections.abc import Sequence
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
    return _with_interval(_taus(scores, truth, _counts(len(truth), seed, samples)))


def kendall_difference(
    scores: Sequence[float],
    others: Sequence[float],
    truth: Sequence[float],
    seed: int = 0,
    samples: int = SAMPLES,
) -> RankCorrelation:
    """How much higher the tau of `scores` is than that of `others`, on the same samples."""
    counts = _counts(len(truth), seed, samples)
    return _with_interval(_taus(scores, truth, counts) - _taus(others, truth, counts))


def _counts(number: int, seed: int, samples: int) -> np.ndarray:
    """How often each thing is there: once, then in each of the samples; `1 + samples x number`."""
    drawn = np.random.default_rng(seed).integers(number, size=(samples, number))
    counts = [np.bincount(sample, minlength=number) for sample in drawn]
    return np.array([np.ones(number), *counts], np.float64)


def _with_interval(taus: np.ndarray) -> RankCorrelation:
    lower, upper = np.percentile(taus[1:], [2.5, 97.5])
    return RankCorrelation(float(taus[0]), float(lower), float(upper))


def _taus(scores: Sequence[float], truth: Sequence[float], counts: np.ndarray) -> np.ndarray:
    """Tau-b for each row of `counts`: of all pairs at once, weighted by how often each is there."""
    signs = [np.sign(np.subtract.outer(x, x)) for x in map(np.asarray, (scores, truth))]

    def pairs(of: np.ndarray) -> np.ndarray:
        return np.asarray((counts @ of * counts).sum(axis=1))

    ordered = np.sqrt(pairs(np.abs(signs[0])) * pairs(np.abs(signs[1])))
    agreeing = pairs(signs[0] * signs[1])
    taus = np.zeros(len(counts))
    np.divide(agreeing, ordered, out=taus, where=ordered > 0)
    return taus
