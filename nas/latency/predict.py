"""Latency of a whole network from a device's table, with an interval."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.errors import TableError
from nas.latency.roofline import Roofline, estimate_block_ms
from nas.latency.table import Calibration, LatencyTable, profile_option
from nas.space.architecture import Architecture, Network
from nas.space.blocks import Block, BlockKey
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class Prediction:
    """A predicted latency, batch 1.

    Attributes:
        predicted_ms: The expected latency.
        lower_ms: Lower end of the interval.
        upper_ms: One-sided 98 % upper bound; budgets are held against it.
        provenance: `measured` or `estimated`: what the table behind it is.
        interpolated: Whether the classifier was interpolated between numbers of classes.
    """

    predicted_ms: float
    lower_ms: float
    upper_ms: float
    provenance: str
    interpolated: bool = False


@dataclass
class Predictor:
    """Predicts networks of one space and plan on one device; remembers blocks it has seen.

    Args:
        table: The device's table.
        space: Name of the search space.
        plan: Its input plan.
        classes: Number of outputs of the networks.
    """

    table: LatencyTable
    space: SearchSpace
    plan: str
    classes: int
    _seen: dict[BlockKey, tuple[float, float, bool]] = field(default_factory=dict)

    def architecture(self, architecture: Architecture) -> Prediction:
        """Predict one architecture.

        Raises:
            TableError: The table lacks a block or the calibration; names the command that adds it.
        """
        return self.network(self.space.network(architecture, self.classes))

    def network(self, network: Network) -> Prediction:
        """Predict one network."""
        precision = self.table.device.precision
        seen = [self.block(key, network.resolution) for key in network.keys(precision)]
        if self.table.device.roofline is not None:
            return estimated_prediction(self.table.device.roofline, seen)
        total = sum(latency for latency, _, _ in seen)
        calibration = self.calibration(network.resolution)
        terms = calibration.constant_ms, calibration.sum_factor, calibration.per_block_ms
        predicted = float(calibrated_ms(terms, np.array(total), np.array(len(seen))))
        return Prediction(
            predicted,
            predicted * calibration.lower_factor,
            predicted * calibration.upper_factor,
            "measured",
            any(interpolated for _, _, interpolated in seen),
        )

    def calibration(self, resolution: int) -> Calibration:
        """What turns sums of blocks into latencies of networks of this resolution.

        Raises:
            TableError: The table has none; names the command that adds it.
        """
        found = self.table.calibration(self.space.name, self.plan, self.table.device.precision)
        if found is None or resolution not in found.resolutions:
            raise TableError(
                f"the table of {self.table.name} is not calibrated for {self.space.name}",
                got=f"plan {self.plan} at {resolution} px",
                allowed=_calibrated(self.table),
                do=self.profile_command(resolution),
            )
        return found

    def block(self, key: BlockKey, resolution: int) -> tuple[float, float, bool]:
        """Latency, its own upper bound (estimated tables), whether it was interpolated."""
        if key not in self._seen:
            self._seen[key] = self._look_up(key, resolution)
        return self._seen[key]

    def _look_up(self, key: BlockKey, resolution: int) -> tuple[float, float, bool]:
        found = look_up(self.table, key)
        if found is None:
            raise TableError(
                f"the table of {self.table.name} lacks a block of {self.space.name}",
                got=str(key),
                do=self.profile_command(resolution, key.block),
            )
        return found

    def profile_command(self, resolution: int, block: Block | None = None) -> str:
        """The command that adds what is missing for this resolution, or for a block of it."""
        device = profile_option(self.table.name, self.table.folder)
        command = f"nas profile {device} {self.space.option}"
        command += f" --plan {self.plan}"
        found = self.table.calibration(self.space.name, self.plan, self.table.device.precision)
        if found is not None and resolution not in found.resolutions:
            command += f" --resolution {resolution}"
        if block is not None and block.op == "classifier":
            command += f" --classes {block.out_channels}"
        if self.table.name not in device:
            command += f", then {device} here too"
        return command


def look_up(table: LatencyTable, key: BlockKey) -> tuple[float, float, bool] | None:
    """Latency of a block, its own upper bound (estimated tables), whether it was interpolated."""
    if table.device.roofline is not None:
        latency, upper = estimate_block_ms(table.device.roofline, key.block, key.precision)
        return latency, upper, False
    row = table.rows.get(key)
    if row is not None:
        return row.latency_ms, row.latency_ms, False
    latency_ms = interpolate_classes(table, key)
    return None if latency_ms is None else (latency_ms, latency_ms, True)


def estimated_prediction(
    roofline: Roofline, blocks: Sequence[tuple[float, float, bool]]
) -> Prediction:
    """A network's latency from the estimates of its blocks, see `look_up`."""
    predicted = roofline.constant_ms + sum(latency for latency, _, _ in blocks)
    upper = roofline.constant_ms * roofline.bound_factor + sum(up for _, up, _ in blocks)
    return Prediction(predicted, predicted * predicted / upper, upper, "estimated")


def calibrated_ms(
    terms: tuple[float, float, float], sums_ms: np.ndarray, blocks: np.ndarray
) -> np.ndarray:
    """Whole-model latencies in milliseconds; never below a tenth of the sums.

    Args:
        terms: Constant in ms, factor on the sum, ms per block.
        sums_ms: Sums of the blocks' latencies, shape `N`.
        blocks: Numbers of blocks, shape `N`.
    """
    constant_ms, factor, per_block_ms = terms
    latency_ms = constant_ms + factor * sums_ms + per_block_ms * blocks
    return np.maximum(latency_ms, 0.1 * sums_ms)


def interpolate_classes(table: LatencyTable, key: BlockKey) -> float | None:
    """A classifier's latency from its measured neighbours in the number of classes.

    Linear in the number of classes, as the work of the last layer is; `None` for other blocks
    and outside the measured range.
    """
    if key.block.op != "classifier":
        return None
    measured: list[tuple[int, float]] = []
    for other, row in table.rows.items():
        if _same_but_classes(other, key):
            measured.append((other.block.out_channels, row.latency_ms))
    measured.sort()
    classes = key.block.out_channels
    above = bisect_left(measured, (classes, 0.0))
    if above == 0 or above == len(measured):
        return None
    (low, low_ms), (high, high_ms) = measured[above - 1], measured[above]
    return low_ms + (high_ms - low_ms) * (classes - low) / (high - low)


def _same_but_classes(a: BlockKey, b: BlockKey) -> bool:
    return (
        a.block.op == b.block.op
        and (a.precision, a.batch) == (b.precision, b.batch)
        and a.block.in_channels == b.block.in_channels
        and (a.block.height, a.block.width) == (b.block.height, b.block.width)
        and a.block.params == b.block.params
    )


def _calibrated(table: LatencyTable) -> str:
    return ", ".join(
        f"{c.space} {c.plan} at {'/'.join(map(str, c.resolutions))} px"
        for c in table.device.calibrations
    )
