"""How well predictions match measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BOUND_COVERAGE = 0.98


@dataclass(frozen=True)
class Agreement:
    """Predictions against measurements of the same models.

    Attributes:
        models: How many were compared.
        mape: Mean absolute error as a share of the measurement.
        within_5: Share of models whose error is at most 5 %.
        within_10: The same for 10 %.
        rank_correlation: Spearman's; 1 for fewer than two models.
    """

    models: int
    mape: float
    within_5: float
    within_10: float
    rank_correlation: float


def agreement(predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    """Compare two arrays of shape `N`, both above zero, in the same unit."""
    errors = np.abs(predicted - measured) / measured
    return Agreement(
        models=len(errors),
        mape=float(errors.mean()),
        within_5=float((errors <= 0.05).mean()),
        within_10=float((errors <= 0.10).mean()),
        rank_correlation=spearman(predicted, measured),
    )


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two arrays of shape `N`; ties get their mean rank."""
    if len(a) < 2:
        return 1.0
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    spread = ranks_a.std() * ranks_b.std()
    if spread == 0:
        return 0.0
    return float(((ranks_a - ranks_a.mean()) * (ranks_b - ranks_b.mean())).mean() / spread)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_rank: np.ndarray = (ends - (counts - 1) / 2)[inverse]
    return mean_rank


def conformal_upper(ratios: np.ndarray, coverage: float = BOUND_COVERAGE) -> float:
    """The factor that a fresh ratio exceeds with probability at most `1 - coverage`.

    Split conformal prediction (Vovk et al. 2005; Lei et al. 2018, arXiv:1604.04173): the
    ceil((N + 1) * coverage)-th smallest of N ratios measured / predicted that were not used in
    fitting. It takes N >= 49 for 98 %; with fewer the largest is the best there is.
    """
    rank = min(len(ratios), math.ceil((len(ratios) + 1) * coverage))
    return float(np.sort(ratios)[rank - 1])


def student_quantile(probability: float, freedom: int) -> float:
    """Of Student's distribution with so many degrees of freedom, for probabilities above a half.

    By integrating the density with steps of a thousandth: good for four digits up to a hundred.
    """
    steps = np.arange(0.0, 100.0, 1e-3)
    density = (1 + steps**2 / freedom) ** (-(freedom + 1) / 2)
    half = np.cumsum((density[1:] + density[:-1]) / 2) * 1e-3
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    return float(steps[1 + np.searchsorted(half * scale, probability - 0.5)])
