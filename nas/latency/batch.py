"""Latencies of whole populations: rows of codes into gathered sums."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nas.errors import TableError
from nas.latency.device_file import Calibration, Terms
from nas.latency.predict import LEAST_SHARE, Predictor, spilled_mb
from nas.space.architecture import Placed, is_exit
from nas.space.blocks import Block, BlockKey
from nas.space.codes import CodeBook, Codes
from nas.space.gather import Values, make_steps, picked

COST, SLACK, FLOOR, SIZE = range(4)
"""What is summed: latency, what the bound adds before its factor, the least that latency may count,
and the weights and values between blocks, which decide whether a network spills from the cache."""
CHUNK = 1 << 14
"""Rows that are looked up at a time: small enough that intermediate results stay in the cache."""


@dataclass(frozen=True)
class BatchPrediction:
    """Predicted latencies and one-sided 98 % upper bounds, ms, shape `N` each."""

    predicted_ms: Values
    upper_ms: Values


@dataclass
class BatchPredictor:
    """Predicts rows of codes as `Predictor` predicts the architectures they stand for.

    Args:
        predictor: Of the table, space, plan and number of classes.
        staying: Share of the images that reach the exit of a stage, by its number, and do not leave
            there: predicts what an inference takes on average, the call of the next segment for
            images that leave, too. Without it, an inference through all of the network.
    """

    predictor: Predictor
    staying: Mapping[int, float] | None = None
    book: CodeBook = field(init=False)

    def __post_init__(self) -> None:
        self.book = CodeBook(self.predictor.space, self.predictor.plan)
        measure = _Measure(self.predictor, self.book)
        self._steps = make_steps(self.book, self.predictor.classes, measure, staying=self.staying)
        constants = np.array([measure.constant(code) for code in range(self._steps[0].size)])
        self._steps[0].values = self._steps[0].values + constants.T
        self._upper_factor = measure.upper_factors()
        lowest = [np.nanmin(s.values[COST] - s.values[FLOOR]) for s in self._steps]
        self._has_slack = any(bool(np.nansum(s.values[SLACK])) for s in self._steps)
        self._needs_floor = float(sum(lowest)) < 0
        self._spill_ms_per_mb, self._cache_mb = measure.spills()
        self._spills = bool(self._spill_ms_per_mb.any())

    def predict(self, codes: Codes) -> BatchPrediction:
        """Predict rows of codes, shape `N x S`.

        Raises:
            TableError: The table lacks a block of one of them, or the calibration.
        """
        predicted, upper = np.empty(len(codes)), np.empty(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for start in range(0, len(codes), CHUNK):
            part = slice(start, start + CHUNK)
            self._predict(columns[:, part], predicted[part], upper[part])
        if np.isnan(predicted).any():
            self.predictor.architecture(self.book.decode(codes[int(np.isnan(predicted).argmax())]))
        return BatchPrediction(predicted, upper)

    def _predict(self, columns: npt.NDArray[np.int32], predicted: Values, upper: Values) -> None:
        state = np.zeros(columns.shape[1], np.int32)
        predicted[:] = upper[:] = 0.0
        floor = np.zeros(len(predicted)) if self._needs_floor else None
        values = np.zeros(len(predicted)) if self._spills else None
        for step, codes in zip(self._steps, columns, strict=True):
            index = state * step.size + codes
            predicted += step.values[COST].take(index)
            if self._has_slack:
                upper += step.values[SLACK].take(index)
            if floor is not None:
                floor += step.values[FLOOR].take(index)
            if values is not None:
                values += step.values[SIZE].take(index)
            state = step.after.take(index)
        if values is not None:
            spilled = spilled_mb(values, self._cache_mb.take(columns[0]))
            predicted += spilled * self._spill_ms_per_mb.take(columns[0])
        if floor is not None:
            np.maximum(predicted, floor, out=predicted)
        upper += predicted
        upper *= self._upper_factor.take(columns[0])


class _Measure:
    """What blocks add to the sums of a prediction."""

    def __init__(self, predictor: Predictor, book: CodeBook) -> None:
        self.predictor, self.first = predictor, book.slots[0]
        self.plan = predictor.space.plan(predictor.plan)
        self._calibrations = self._find_calibrations()

    def _find_calibrations(self) -> dict[int, Calibration | None]:
        """Of each resolution that has one; an estimated table needs none.

        Raises:
            TableError: No resolution has one.
        """
        resolutions = self.plan.resolutions
        if self.predictor.table.device.roofline is not None:
            return dict.fromkeys(resolutions)
        found: dict[int, Calibration | None] = {}
        for resolution in resolutions:
            with contextlib.suppress(TableError):
                found[resolution] = self.predictor.calibration(resolution)
        if not found:
            self.predictor.calibration(resolutions[-1])
        return found

    def upper_factors(self) -> Values:
        """The bound's factor for each code of the first slot; 1 for an estimated table."""
        codes = range(self.first.size)
        found = [self._calibrations.get(self._resolution(code)) for code in codes]
        return np.array([1.0 if f is None else f.upper_factor for f in found])

    def spills(self) -> tuple[Values, Values]:
        """Cost of a spilled megabyte, and the cache, for each code of the first slot."""
        codes = range(self.first.size)
        found = [self._calibrations.get(self._resolution(code)) for code in codes]
        terms = [Terms() if f is None else f.terms for f in found]
        return (
            np.array([t.spill_ms_per_mb for t in terms]), np.array([t.cache_mb for t in terms])
        )  # fmt: skip

    def _resolution(self, code: int) -> int:
        return int(picked(self.first, code).get("resolution", self.plan.resolutions[0]))

    def constant(self, code: int) -> tuple[float, float, float, float]:
        """What every network with this first code costs; NaN where there is no calibration."""
        roofline = self.predictor.table.device.roofline
        if roofline is not None:
            constant_ms = roofline.constant_ms
            return constant_ms, constant_ms * (roofline.bound_factor - 1), 0.0, 0.0
        found = self._calibrations.get(self._resolution(code))
        return (float("nan"),) * 4 if found is None else (found.constant_ms, 0.0, 0.0, 0.0)

    def __call__(
        self, blocks: Sequence[Placed], resolution: int
    ) -> tuple[float, float, float, float]:
        """Calibrated latency, slack of its bound, the least it may count, values; NaN: unknown."""
        found = self._calibrations.get(resolution)
        terms = Terms() if found is None else found.terms
        cost = slack = floor = values = 0.0
        for position, block in blocks:
            if is_exit(position) and resolution in self._calibrations:
                call_ms, more_ms = self.predictor.call_ms(resolution)
                cost, slack = cost + call_ms, slack + more_ms
            latency, bound = self._block_ms(block, resolution)
            border = terms.border_ms_per_million * block.border_values / 1e6
            macs = terms.mac_ms_per_billion * block.cost.macs / 1e9
            cost += terms.sum_factor * latency + terms.per_block_ms + border + macs
            slack += terms.sum_factor * (bound - latency)
            floor += LEAST_SHARE * latency
            values += block.cost.params + block.border_values
        return cost, slack, floor, values

    def _block_ms(self, block: Block, resolution: int) -> tuple[float, float]:
        precision = self.predictor.table.device.precision
        try:
            latency, upper, _ = self.predictor.block(BlockKey(block, precision), resolution)
        except TableError:
            return float("nan"), float("nan")
        return latency, upper
