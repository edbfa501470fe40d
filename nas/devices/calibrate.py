"""From measured blocks and whole models to a calibration with its bound and its certificate."""

from __future__ import annotations

import numpy as np

from nas.devices.measure import quiet_latency
from nas.latency.metrics import agreement, conformal_upper
from nas.latency.predict import calibrated_ms
from nas.latency.table import Calibration, WholeModels

MODELS = 170
FEWEST_MODELS = 92
"""With fewer, less than 49 are left for the bound: what 98 % takes (`conformal_upper`)."""


def calibrate(
    space: str,
    plan: str,
    resolutions: tuple[int, ...],
    totals: np.ndarray,
    counts: np.ndarray,
    rounds: np.ndarray,
    *,
    precision: str,
) -> Calibration:
    """Fit, bound and certificate from block sums and measured whole models.

    Args:
        space: Name of the search space.
        plan: Its input plan.
        resolutions: That the models were drawn from, pixels.
        totals: Sums of blocks, ms, shape `N`: first the models to fit on, then those that bound,
            then those of the certificate.
        counts: Numbers of blocks, shape `N`.
        rounds: Measured latencies, ms, shape `N x rounds`.
        precision: In which they were measured.
    """
    measured = quiet_latency(rounds)
    fit_models, bound_models = shares(len(totals))
    fit = slice(0, fit_models)
    constant, factor, per_block = fit_calibration(totals[fit], counts[fit], measured[fit])
    terms = rounded(constant), rounded(factor), rounded(per_block)
    predicted = calibrated_ms(terms, totals, counts)
    bound = slice(fit_models, fit_models + bound_models)
    # Whoever measures one of these models again gets another number: each counts with its slower
    # half of the rounds for the upper bound, with its faster one for the lower.
    halves = np.stack(halved(rounds[bound])) / predicted[bound]
    upper = rounded(max(1.0, conformal_upper(halves.max(axis=0))))
    lower = rounded(min(1.0, 1 / conformal_upper(1 / halves.min(axis=0))))
    held_out = slice(fit_models + bound_models, None)
    return Calibration(
        space=space,
        plan=plan,
        resolutions=sorted(resolutions),
        precision=precision,
        constant_ms=terms[0],
        sum_factor=terms[1],
        per_block_ms=terms[2],
        lower_factor=lower,
        upper_factor=upper,
        fit_models=fit_models,
        bound_models=bound_models,
        certificate=certify(predicted[held_out], rounds[held_out], upper),
    )


def shares(models: int) -> tuple[int, int]:
    """How many of the whole models are fitted on and how many make the bound; the rest certify."""
    return models * 40 // MODELS, models * 100 // MODELS


def certify(predicted: np.ndarray, rounds: np.ndarray, upper_factor: float) -> WholeModels:
    """What predictions (ms, shape `N`) are worth against measurements (`N x rounds`)."""
    measured = quiet_latency(rounds)
    compared = agreement(predicted, measured)
    even, odd = halved(rounds)
    pairs = zip(predicted, measured, strict=True)
    return WholeModels(
        models=compared.models,
        mape=rounded(compared.mape),
        within_5=rounded(compared.within_5),
        within_10=rounded(compared.within_10),
        rank_correlation=rounded(compared.rank_correlation),
        coverage=rounded(float((measured <= predicted * upper_factor).mean())),
        repeat_difference=rounded(float(np.abs(even / odd - 1).mean())),
        points=[[rounded(float(p)), rounded(float(m))] for p, m in pairs],
    )


def halved(rounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two measurements, shape `N` each: of the even and of the odd rounds of `N x rounds`."""
    return quiet_latency(rounds[:, ::2]), quiet_latency(rounds[:, 1 % rounds.shape[1] :: 2])


def fit_calibration(
    totals: np.ndarray, counts: np.ndarray, measured: np.ndarray
) -> tuple[float, float, float]:
    """Constant, factor on the sum, and cost per block, by least squares on relative errors.

    A block measured by itself pays for a call of the runtime and for reordering its input and
    output, which it does not pay inside a network: the cost per block comes out negative. Where
    noise would turn the sum's factor round, the sum is only scaled.
    """
    features = np.stack([np.ones_like(totals), totals, counts.astype(float)], axis=1)
    weighted = features / measured[:, None]
    solution, *_ = np.linalg.lstsq(weighted, np.ones_like(measured), rcond=None)
    if solution[1] <= 0:
        shares = totals / measured
        return 0.0, float(shares.sum() / (shares**2).sum()), 0.0
    return float(solution[0]), float(solution[1]), float(solution[2])


def rounded(value: float) -> float:
    """Six significant digits, as tables are written."""
    return float(f"{value:.6g}")
