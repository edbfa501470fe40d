"""How well one score ranks what another one is the truth of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SAMPLES = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b, and the 95 % interval of bootstrap samples of what was ranked.

    Where one of the two is the same for all, nothing is known: 0, and the interval is everything.

    Attributes:
        tau: From -1 to 1.
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
    from scipy.stats import kendalltau

    a, b = np.asarray(scores, float), np.asarray(truth, float)
    tau = float(kendalltau(a, b).statistic)
    if np.isnan(tau):
        return RankCorrelation(0.0, -1.0, 1.0)
    drawn = np.random.default_rng(seed).integers(len(a), size=(samples, len(a)))
    taus = [kendalltau(a[index], b[index]).statistic for index in drawn]
    # A sample of one thing again and again has no tau.
    lower, upper = np.nanpercentile(taus, [2.5, 97.5])
    return RankCorrelation(tau, float(lower), float(upper))
