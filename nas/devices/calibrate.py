"""From measured blocks and whole models to a calibration with its bound and its certificate."""

from __future__ import annotations

import numpy as np

from nas.devices.measure import settled_latency
from nas.latency.device_file import Calibration, Terms, WholeModels
from nas.latency.metrics import agreement, conformal_upper
from nas.latency.predict import BlockSums, calibrated_ms

FEWEST_MODELS = 95
"""With fewer, less than 50 are left for the bound: what 98 % takes (`conformal_upper`)."""
CACHES_MB = (1e6, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)
"""Sizes of the last cache, or of what a program gets of it, that are tried; first: unlimited."""
LEAST_FREEDOM = 0.1
"""Of a model that decides nearly alone, the error when it is left out is not divided by less."""


def calibrate(
    space: str,
    plan: str,
    resolutions: tuple[int, ...],
    sums: BlockSums,
    rounds: np.ndarray,
    *,
    precision: str,
) -> Calibration:
    """Fit, bound and certificate from block sums and measured whole models.

    Args:
        space: Name of the search space.
        plan: Its input plan.
        resolutions: That the models were drawn from, pixels.
        sums: Of the models, shape `N`: first those to fit on, then those that bound, then those of
            the certificate.
        rounds: Measured latencies, ms, shape `N x rounds`, the fastest first.
        precision: In which they were measured.
    """
    measured = settled_latency(rounds)
    fit_models, bound_models = shares(len(measured))
    fit = slice(0, fit_models)
    terms = fit_calibration(BlockSums(*(values[fit] for values in sums)), measured[fit])
    predicted = calibrated_ms(terms, sums)
    bound = slice(fit_models, fit_models + bound_models)
    # Whoever measures one of these models again gets another number: each counts with the slowest
    # of its timings for the upper bound, with the fastest for the lower.
    ratios = rounds[bound] / predicted[bound, None]
    upper = rounded(max(1.0, conformal_upper(ratios[:, -1])))
    lower = rounded(min(1.0, 1 / conformal_upper(1 / ratios[:, 0])))
    held_out = slice(fit_models + bound_models, None)
    return Calibration(
        space=space,
        plan=plan,
        resolutions=sorted(resolutions),
        precision=precision,
        **terms._asdict(),
        lower_factor=lower,
        upper_factor=upper,
        fit_models=fit_models,
        bound_models=bound_models,
        certificate=certify(predicted[held_out], rounds[held_out], upper),
    )


def shares(models: int) -> tuple[int, int]:
    """How many of the whole models are fitted on and how many make the bound; the rest certify."""
    return models * 60 // 190, models * 100 // 190


def certify(predicted: np.ndarray, rounds: np.ndarray, upper_factor: float) -> WholeModels:
    """What predictions (ms, shape `N`) are worth against measurements (`N x rounds`)."""
    measured = settled_latency(rounds)
    compared = agreement(predicted, measured)
    pairs = zip(predicted, measured, strict=True)
    return WholeModels(
        models=compared.models,
        mape=rounded(compared.mape),
        within_5=rounded(compared.within_5),
        within_10=rounded(compared.within_10),
        rank_correlation=rounded(compared.rank_correlation),
        coverage=rounded(float((measured <= predicted * upper_factor).mean())),
        repeat_difference=rounded(float((rounds[:, -1] / rounds[:, 0] - 1).mean())),
        points=[[rounded(float(p)), rounded(float(m))] for p, m in pairs],
    )


def fit_calibration(sums: BlockSums, measured: np.ndarray) -> Terms:
    """The terms of a calibration, by least squares on relative errors of models, shape `N`.

    A block is measured with a call of the runtime and between two layers, which it does not have
    inside a network: the costs per block and border come out negative. Its arithmetic takes there
    what it takes here, whatever share of the rest is the layers': multiply-adds have a term of
    their own. The size of the cache is the
    one under which models that are left out in turn are predicted best. Where noise would turn the
    sum's factor round, the sum is only scaled.
    """
    fits = [_fit(sums, measured, cache_mb) for cache_mb in CACHES_MB]
    found = [fit for fit in fits if fit[0].sum_factor > 0 and fit[0].spill_ms_per_mb >= 0]
    if not found:
        parts = sums.latency_ms / measured
        return Terms(sum_factor=rounded(parts.sum() / (parts**2).sum()))
    return min(found, key=lambda fit: fit[1])[0]


def _fit(sums: BlockSums, measured: np.ndarray, cache_mb: float) -> tuple[Terms, float]:
    """Terms for a size of the cache, and the mean error of models that are left out."""
    weighted = sums.features(cache_mb) / measured[:, None]
    used = np.flatnonzero(np.abs(weighted).sum(axis=0) > 0)
    part = weighted[:, used]
    inverse = np.linalg.pinv(part)
    solution = np.zeros(weighted.shape[1])
    solution[used] = inverse @ np.ones_like(measured)
    leverage = np.einsum("ij,ji->i", part, inverse)
    errors = (1 - weighted @ solution) / np.maximum(1 - leverage, LEAST_FREEDOM)
    terms = Terms._make([*(rounded(value) for value in solution), cache_mb])
    return terms, float(np.abs(errors).mean())


def rounded(value: float) -> float:
    """Six significant digits, as tables are written."""
    return float(f"{value:.6g}")
