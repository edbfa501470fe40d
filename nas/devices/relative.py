"""`nas profile --like`: a table from another device's and a handful of measurements.

The ratio of the two devices' blocks is regressed on sizes from the blocks that were measured on the
new one; the calibration starts from the other device's and follows the few whole models as far as
that predicts each of them better from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nas.devices.calibrate import certify, rounded
from nas.devices.measure import settled_latency
from nas.errors import TableError
from nas.latency.device_file import Calibration, Terms
from nas.latency.metrics import BOUND_COVERAGE, student_quantile
from nas.latency.predict import BlockSums
from nas.latency.regression import BlockRegression, fit_blocks
from nas.latency.table import LatencyTable, Row
from nas.space.blocks import Block, BlockKey

SCALED = set(Terms._fields) - {"sum_factor", "cache_mb"}
"""Terms that are milliseconds of something."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the pull towards the other device's terms, in squared relative errors of one model."""


@dataclass(frozen=True)
class Relative:
    """Another device's table, and how much is measured on the new one.

    Attributes:
        table: Measured.
        blocks: Of the space, that lie far from each other.
        models: Whole ones, that span the range of MACs.
    """

    table: LatencyTable
    blocks: int = 40
    models: int = 16

    def row(self, block: Block) -> Row:
        """Of the other device.

        Raises:
            TableError: It has none.
        """
        key = BlockKey(block, self.table.device.precision)
        if key not in self.table.rows:
            raise TableError(
                f"the table of {self.table.name} lacks a block, so no other device is like it",
                got=str(key),
                do="nas devices: --space, --plan, --resolution and --classes that it has",
            )
        return self.table.rows[key]

    def calibrations(self, space: str, plan: str, resolutions: Sequence[int]) -> list[Calibration]:
        """Of the other device, for each of the resolutions.

        Raises:
            TableError: It has none for one of the resolutions.
        """
        precision, all_found = self.table.device.precision, []
        for resolution in resolutions:
            found = self.table.calibration(space, plan, precision, resolution)
            if found is None:
                raise TableError(
                    f"the table of {self.table.name} is not calibrated for {space}, so no other "
                    "device is like it",
                    got=f"plan {plan} at {resolution} px",
                    do="nas devices: --space, --plan and --resolution that it has",
                )
            all_found.append(found)
        return all_found


class Transfer(NamedTuple):
    """Rows of all blocks, and the regression that they come from."""

    rows: dict[BlockKey, Row]
    regression: BlockRegression


def transfer(
    relative: Relative, measured: dict[BlockKey, Row], needed: Sequence[Block], precision: str
) -> Transfer:
    """Rows for all needed blocks: what was measured, and the rest from the other device's.

    Raises:
        TableError: The other device lacks a block.
    """
    known = [key.block for key in measured]
    latency_ms = np.array([row.latency_ms for row in measured.values()])
    regression = fit_blocks(known, latency_ms, _base_ms(relative, known))
    rest = [block for block in needed if BlockKey(block, precision) not in measured]
    error = float(np.median(regression.errors))
    predicted = regression.predict(rest, _base_ms(relative, rest))
    derived = {
        BlockKey(block, precision): Row(float(ms), error * float(ms), None, 0, "transferred")
        for block, ms in zip(rest, predicted, strict=True)
    }
    return Transfer({**derived, **measured}, regression)


def _base_ms(relative: Relative, blocks: Sequence[Block]) -> np.ndarray:
    return np.array([relative.row(block).latency_ms for block in blocks])


def calibrate_like(
    space: str,
    plan: str,
    resolutions: tuple[int, ...],
    precision: str,
    prior: Terms,
    least_factor: float,
    sums: BlockSums,
    rounds: np.ndarray,
) -> Calibration:
    """A calibration, its bound and its certificate from a few whole models.

    Each model is predicted from the others. The bound is the 98 % quantile of a fresh model's
    error, were errors drawn from one normal distribution of unknown width (Student's); it is never
    narrower than the other device's.

    Args:
        space: Name of the search space.
        plan: Its input plan.
        resolutions: That the models were drawn from, pixels.
        precision: In which they were measured.
        prior: Terms of the other device, in the new one's milliseconds (`scaled_terms`).
        least_factor: The other device's upper bound, over its prediction.
        sums: Of the models, shape `N`.
        rounds: Measured latencies, ms, shape `N x rounds`, the fastest first.
    """
    measured = settled_latency(rounds)
    fits = [_ridge(sums, measured, prior, strength) for strength in STRENGTHS]
    best = min(fits, key=lambda fit: float(np.abs(fit.left_out).mean()))
    width = max(float(np.log(least_factor)), _bound_width(best))
    return Calibration(
        space=space,
        plan=plan,
        resolutions=sorted(resolutions),
        precision=precision,
        **best.terms._asdict(),
        lower_factor=rounded(float(np.exp(-width))),
        upper_factor=rounded(float(np.exp(width))),
        fit_models=len(measured),
        bound_models=len(measured),
        certificate=certify(
            measured * np.maximum(1 - best.left_out, 0.01), rounds, float(np.exp(width))
        ),
    )


def scaled_terms(terms: Terms, ratio: float) -> Terms:
    """Terms of a device on which everything takes `ratio` times as long."""
    times = {name: ratio * getattr(terms, name) for name in SCALED}
    return terms._replace(**times)


class _Fit(NamedTuple):
    """Terms, each model's relative error when left out, and how many numbers were fitted."""

    terms: Terms
    left_out: np.ndarray
    fitted: float


def _bound_width(fit: _Fit) -> float:
    """Of the logarithm of measured over predicted."""
    count = len(fit.left_out)
    freedom = max(2, round(count - 1 - fit.fitted))
    deviation = float(np.sqrt((fit.left_out**2).mean()))
    return student_quantile(BOUND_COVERAGE, freedom) * deviation * float(np.sqrt(1 + 1 / count))


def _ridge(sums: BlockSums, measured: np.ndarray, prior: Terms, strength: float) -> _Fit:
    """Terms near the prior's."""
    weighted = sums.features(prior.cache_mb) / measured[:, None]
    scale = np.sqrt((weighted**2).mean(axis=0)) + 1e-12
    part, start = weighted / scale, np.array(prior[:-1]) * scale
    gram = part.T @ part + strength * len(measured) * np.eye(part.shape[1])
    inverse = np.linalg.inv(gram) @ part.T
    residual = 1 - part @ start
    solution = (start + inverse @ residual) / scale
    leverage = np.einsum("ij,ji->i", part, inverse)
    left_out = (residual - part @ (inverse @ residual)) / (1 - leverage)
    constant, factor, block, border, mac, spill = (rounded(value) for value in solution)
    factor, spill = max(factor, 1e-6), max(spill, 0.0)
    terms = Terms(constant, factor, block, border, mac, spill, prior.cache_mb)
    return _Fit(terms, left_out, float(leverage.sum()))
