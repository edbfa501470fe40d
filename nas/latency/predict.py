"""Latency of a whole network from a device's table, with an interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nas.errors import OptionError, TableError
from nas.latency.device_file import Calibration, Terms
from nas.latency.roofline import Roofline, estimate_block_ms
from nas.latency.table import LatencyTable, Row, profile_option
from nas.space.architecture import Architecture, Network
from nas.space.blocks import Block, BlockKey
from nas.space.space import SearchSpace

LEAST_SHARE = 0.1
"""Of the sum of its blocks, that a network takes at least."""


@dataclass(frozen=True)
class Prediction:
    """A predicted latency, batch 1.

    Attributes:
        predicted_ms: The expected latency.
        lower_ms: Lower end of the interval.
        upper_ms: One-sided 98 % upper bound; budgets are held against it.
        provenance: `measured` or `estimated`: what the table behind it is.
        interpolated: Whether a block of it was not measured, but derived from others.
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
        space: The search space.
        plan: Its input plan.
        classes: Number of outputs of the networks.

    Raises:
        OptionError: The space has no such plan, or there is no class.
    """

    table: LatencyTable
    space: SearchSpace
    plan: str
    classes: int
    _seen: dict[BlockKey, tuple[float, float, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.space.plan(self.plan)
        if self.classes < 1:
            raise OptionError("a network has a class or more", got=self.classes)

    def architecture(self, architecture: Architecture) -> Prediction:
        """Predict one architecture.

        Raises:
            TableError: The table lacks a block or the calibration; names the command that adds it.
        """
        return self.network(self.space.network(architecture, self.classes))

    def network(self, network: Network) -> Prediction:
        """Predict one network, all of its exits included."""
        return self.until_exits(network)[-1]

    def until_exits(self, network: Network) -> list[Prediction]:
        """Predict an inference that leaves at each exit, and at the end."""
        found: list[Prediction] = []
        blocks: list[Block] = []
        for segment in network.segments:
            blocks += [block for _, block in (*segment.trunk, segment.exit)]
            found.append(self._predict(blocks, network.resolution, len(found)))
        return found

    def call_ms(self, resolution: int) -> tuple[float, float]:
        """What another call of the runtime takes, for the next segment, and what its bound adds.

        Nobody measured that. Of an estimated table it is the constant of a whole network; of a
        measured one the larger of that and of what each block saves that is not run by itself, as
        far as these are above zero: fitted together, either may have taken over the other's part.
        """
        roofline = self.table.device.roofline
        if roofline is not None:
            return roofline.constant_ms, roofline.constant_ms * (roofline.bound_factor - 1)
        terms = self.calibration(resolution).terms
        return max(terms.constant_ms, -terms.per_block_ms, 0.0), 0.0

    def _predict(self, blocks: Sequence[Block], resolution: int, more_calls: int) -> Prediction:
        """Of a chain of blocks in a call, and as many more as there are exits before its end."""
        precision = self.table.device.precision
        seen = [self.block(BlockKey(block, precision), resolution) for block in blocks]
        call_ms, more_ms = self.call_ms(resolution) if more_calls else (0.0, 0.0)
        call_ms, more_ms = more_calls * call_ms, more_calls * more_ms
        if self.table.device.roofline is not None:
            return estimated_prediction(self.table.device.roofline, seen, call_ms, more_ms)
        calibration = self.calibration(resolution)
        sums = BlockSums.of([latency for latency, _, _ in seen], blocks)
        predicted = float(calibrated_ms(calibration.terms, sums)) + call_ms
        # What the calibration's models did not have: a classifier between numbers of classes.
        slack = calibration.terms.sum_factor * sum(upper - latency for latency, upper, _ in seen)
        return Prediction(
            predicted,
            max(predicted - slack, 0.0) * calibration.lower_factor,
            (predicted + slack) * calibration.upper_factor,
            "measured",
            any(interpolated for _, _, interpolated in seen),
        )

    def calibration(self, resolution: int) -> Calibration:
        """What turns sums of blocks into latencies of networks of this resolution.

        Raises:
            TableError: The table has none; names the command that adds it.
        """
        precision = self.table.device.precision
        found = self.table.calibration(self.space.name, self.plan, precision, resolution)
        if found is None:
            raise TableError(
                f"the table of {self.table.name} is not calibrated for {self.space.name}",
                got=f"plan {self.plan} at {resolution} px",
                allowed=_calibrated(self.table),
                do=self.profile_command(resolution),
            )
        return found

    def block(self, key: BlockKey, resolution: int) -> tuple[float, float, bool]:
        """Latency, its own upper bound, whether it was interpolated; see `look_up`."""
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

    @property
    def _resolutions(self) -> list[int]:
        return self.space.plan(self.plan).resolutions

    def profile_command(self, resolution: int, block: Block | None = None) -> str:
        """The command that adds what is missing for this resolution, or for a block of it."""
        device = profile_option(self.table.device, self.table.folder)
        command = f"nas profile {device} {self.space.option}"
        command += f" --plan {self.plan}"
        known = self.table.calibrations(self.space.name, self.plan, self.table.device.precision)
        done = sorted(r for calibration in known for r in calibration.resolutions)
        if known and resolution not in done:
            command += f" --resolution {resolution}"
        elif len(done) < len(self._resolutions):
            command += "".join(f" --resolution {r}" for r in done)
        if block is not None and block.op == "classifier":
            command += f" --classes {block.out_channels}"
        if self.table.name not in device:
            command += f", then {' '.join(device.split()[:2])} here too"
        return command


def look_up(table: LatencyTable, key: BlockKey) -> tuple[float, float, bool] | None:
    """Latency of a block, its own upper bound, whether it was interpolated.

    The bound of a row of a measured table is its latency: calibrations bound whole models.
    """
    if table.device.roofline is not None:
        latency, upper = estimate_block_ms(table.device.roofline, key.block, key.precision)
        return latency, upper, False
    row = table.rows.get(key)
    if row is not None:
        return row.latency_ms, row.latency_ms, row.source != "measured"
    found = table.class_lines.latency_ms(key)
    return None if found is None else (*found, True)


def estimated_prediction(
    roofline: Roofline,
    blocks: Sequence[tuple[float, float, bool]],
    call_ms: float = 0.0,
    more_ms: float = 0.0,
) -> Prediction:
    """A network's latency from the estimates of its blocks, see `look_up`.

    Args:
        roofline: Of the device.
        blocks: Latency and bound of each.
        call_ms: Of calls of the runtime beyond the first.
        more_ms: What their bound adds to that.
    """
    predicted = roofline.constant_ms + call_ms + sum(latency for latency, _, _ in blocks)
    upper = roofline.constant_ms * roofline.bound_factor + sum(up for _, up, _ in blocks)
    upper += call_ms + more_ms
    return Prediction(predicted, predicted * predicted / upper, upper, "estimated")


class BlockSums(NamedTuple):
    """What a calibration needs of networks: arrays of shape `N`, or of none for a single one.

    Attributes:
        latency_ms: Sums of the blocks' latencies.
        blocks: Numbers of blocks.
        border_values: Values that enter and leave the blocks.
        macs: Multiply-adds.
        weights: Numbers of weights.
    """

    latency_ms: np.ndarray
    blocks: np.ndarray
    border_values: np.ndarray
    macs: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, latencies_ms: Sequence[float], blocks: Sequence[Block]) -> BlockSums:
        """Of one network."""
        values = sum(block.border_values for block in blocks)
        macs = sum(block.cost.macs for block in blocks)
        weights = sum(block.cost.params for block in blocks)
        found = sum(latencies_ms), len(blocks), values, macs, weights
        return cls(*(np.array(float(number)) for number in found))

    def features(self, cache_mb: float) -> np.ndarray:
        """What the terms of a calibration are multiplied with, shape `... x 6`."""
        ones = np.ones_like(self.latency_ms)
        spilled = spilled_mb(self.weights + self.border_values, cache_mb)
        calls = [ones, self.latency_ms, self.blocks]
        sizes = [self.border_values / 1e6, self.macs / 1e9, spilled]
        return np.stack(calls + sizes, axis=-1)


def spilled_mb(values: np.ndarray, cache_mb: float | np.ndarray) -> np.ndarray:
    """Megabytes of weights and of what passes between blocks that a cache does not hold, fp32."""
    return np.asarray(np.maximum(values * 4 / 1e6 - cache_mb, 0))


def calibrated_ms(terms: Terms, sums: BlockSums) -> np.ndarray:
    """Whole-model latencies in milliseconds; never below a tenth of the sums."""
    latency_ms = sums.features(terms.cache_mb) @ np.array(terms[:-1])
    return np.asarray(np.maximum(latency_ms, LEAST_SHARE * sums.latency_ms))


def sum_of_energies(
    rows: Mapping[BlockKey, Row], blocks: Sequence[Block], precision: str
) -> float | None:
    """Sum of the blocks' energies, mJ; None where one of them is not known.

    Not calibrated on whole models: blocks by themselves pay for calls that they share in a network.
    """
    keys = [BlockKey(block, precision) for block in blocks]
    found = [rows[key].energy_mj if key in rows else None for key in keys]
    known = [energy_mj for energy_mj in found if energy_mj is not None]
    return sum(known) if known and len(known) == len(found) else None


def _calibrated(table: LatencyTable) -> str:
    return ", ".join(
        f"{c.space} {c.plan} at {'/'.join(map(str, c.resolutions))} px"
        for c in table.device.calibrations
    )
