"""Latency of a model that was not built here, as far as its blocks are known.

What is not known is listed, never counted as nothing: the number says that it is of the rest.
A bound is given only where a certificate covers the model.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nas.errors import TableError
from nas.latency.device_file import Calibration
from nas.latency.foreign import (
    ForeignLatency,
    ForeignNetwork,
    ForeignPrediction,
    Leftover,
    Placed,
    Unmatched,
)
from nas.latency.predict import BlockSums, Predictor, calibrated_ms, estimated_prediction, look_up
from nas.latency.roofline import Roofline, operations_ms
from nas.latency.table import LatencyTable
from nas.space.architecture import Architecture
from nas.space.blocks import Block, BlockKey
from nas.space.enumerate import distinct_blocks
from nas.space.membership import find_architecture
from nas.space.space import SearchSpace

Seen = tuple[float, float, bool]
"""Latency, its own upper bound, whether it was interpolated; as `look_up` gives it."""
Counted = tuple[Block, Seen]


def predict_foreign(
    table: LatencyTable, network: ForeignNetwork, spaces: Sequence[SearchSpace]
) -> ForeignPrediction:
    """Predict a model that was read from a file.

    Args:
        table: The device's table.
        network: What was read.
        spaces: The search spaces that are known here: for calibrations, and for the commands that
            add a block.

    Raises:
        TableError: The table answers no part of the model.
    """
    foreign = _Foreign(table, network, spaces)
    seen = [foreign.look_up(block) for block in network.blocks]
    counted = [(b, s) for b, s in zip(network.blocks, seen, strict=True) if s is not None]
    pairs = list(zip(network.placed, seen, strict=True))
    lacking = [foreign.lacking(placed) for placed, found in pairs if found is None]
    unmatched = (*lacking, *map(foreign.leftover, network.leftovers))
    if not counted and all(part.counted_ms is None for part in unmatched):
        raise _nothing(table, unmatched)
    covered = sum(placed.block.cost.macs for placed, found in pairs if found is not None)
    covered += sum(part.macs or 0 for part in unmatched if part.counted_ms is not None)
    return ForeignPrediction(
        foreign.latency(counted, unmatched),
        table.provenance,
        any(interpolated for _, (_, _, interpolated) in counted),
        all(part.counted_ms is not None for part in unmatched),
        foreign.home.architecture.id if foreign.home else None,
        network.macs,
        covered,
        unmatched,
    )


@dataclass(frozen=True)
class _Home:
    """The architecture that a model is."""

    space: SearchSpace
    plan: str
    architecture: Architecture


@dataclass
class _Foreign:
    """One model and one table."""

    table: LatencyTable
    network: ForeignNetwork
    spaces: Sequence[SearchSpace]
    _pools: dict[tuple[str, str], frozenset[object]] = field(default_factory=dict)

    def look_up(self, block: Block) -> Seen | None:
        """What the table says of a block, or of one that computes the same by another name."""
        precision = self.table.device.precision
        found = look_up(self.table, BlockKey(block, precision))
        if found is None and block.computation in self._same:
            found = look_up(self.table, self._same[block.computation])
        return found

    def lacking(self, placed: Placed) -> Unmatched:
        """A block that the table does not have."""
        block = placed.block
        why, macs = "the table has no such block", block.cost.macs
        do = self._command(block)
        return Unmatched(placed.name, str(block), placed.shape, why, macs, None, do)

    def leftover(self, part: Leftover) -> Unmatched:
        """Nodes that are no block; a roofline may still know their layers."""
        roofline, counted_ms = self.table.device.roofline, None
        if roofline is not None and part.operations:
            counted_ms = operations_ms(roofline, part.operations)
        return Unmatched(part.name, part.op, part.shape, part.why, part.macs, counted_ms)

    def latency(self, counted: Sequence[Counted], unmatched: Sequence[Unmatched]) -> ForeignLatency:
        """The number that the parts give."""
        roofline = self.table.device.roofline
        if roofline is not None:
            return _estimated(roofline, [seen for _, seen in counted], unmatched)
        whole = None if unmatched else self._certified()
        return whole or self._calibrated(counted, not unmatched)

    @cached_property
    def home(self) -> _Home | None:
        """The architecture that the model is; one that the table is calibrated for comes first."""
        if self.network.leftovers or not self.network.chain or not self.network.placed:
            return None
        places = sorted(self._places(), key=lambda place: self._calibration(*place) is None)
        for space, plan in places:
            found = find_architecture(space, plan, self.network.blocks)
            if found is not None:
                return _Home(space, plan, found)
        return None

    @cached_property
    def _same(self) -> dict[object, BlockKey]:
        precision = self.table.device.precision
        keys = [k for k in self.table.rows if (k.precision, k.batch) == (precision, 1)]
        return {key.block.computation: key for key in keys}

    def _certified(self) -> ForeignLatency | None:
        """The same answer as for the architecture, if the model is one of a calibrated space."""
        home = self.home
        if home is None or self._calibration(home.space, home.plan) is None:
            return None
        predictor = Predictor(self.table, home.space, home.plan, self.network.classes)
        with contextlib.suppress(TableError):
            found = predictor.architecture(home.architecture)
            basis = f"certificate of {home.space.name} {home.plan}"
            return ForeignLatency(found.predicted_ms, found.lower_ms, found.upper_ms, basis, True)
        return None

    def _calibrated(self, counted: Sequence[Counted], whole: bool) -> ForeignLatency:
        """By the calibration for images of nearly this size, which no model of this kind made."""
        sums = BlockSums.of([ms for _, (ms, _, _) in counted], [block for block, _ in counted])
        found = self._nearest_calibration()
        if found is None:
            basis = "sum of blocks, each with a call of its own, outside every certificate"
            return ForeignLatency(float(sums.latency_ms), None, None, basis, False)
        predicted = float(calibrated_ms(found.terms, sums))
        basis = f"calibration of {found.space} {found.plan}, outside its certificate"
        return ForeignLatency(predicted, None, None, basis, whole)

    def _nearest_calibration(self) -> Calibration | None:
        precision, size = self.table.device.precision, self.network.size[0]
        known = [c for c in self.table.device.calibrations if c.precision == precision]
        distances = [min(abs(math.log(r / size)) for r in c.resolutions) for c in known]
        return known[distances.index(min(distances))] if known else None

    def _command(self, block: Block) -> str | None:
        """The command that profiles a block, if a known space has it at this resolution."""
        for space, plan in self._places():
            if block.computation in self._pool(space, plan):
                predictor = Predictor(self.table, space, plan, self.network.classes)
                return predictor.profile_command(self.network.size[0], block)
        return None

    def _places(self) -> Iterator[tuple[SearchSpace, str]]:
        """The spaces and plans that have images of this size."""
        height, width = self.network.size
        for space in self.spaces:
            for plan in space.plans:
                if height == width and height in space.plan(plan).resolutions:
                    yield space, plan

    def _calibration(self, space: SearchSpace, plan: str) -> Calibration | None:
        precision, resolution = self.table.device.precision, self.network.size[0]
        return self.table.calibration(space.name, plan, precision, resolution)

    def _pool(self, space: SearchSpace, plan: str) -> frozenset[object]:
        """What the blocks of a space compute at this resolution."""
        key = space.name, plan
        if key not in self._pools:
            sizes = (self.network.size[0],), (self.network.classes,)
            blocks = distinct_blocks(space, plan, *sizes)
            self._pools[key] = frozenset(block.computation for block in blocks)
        return self._pools[key]


def _estimated(
    roofline: Roofline, counted: Sequence[Seen], unmatched: Sequence[Unmatched]
) -> ForeignLatency:
    """A whole model where everything is in blocks; otherwise no bound."""
    if not unmatched:
        found = estimated_prediction(roofline, counted)
        basis = "estimate of all its blocks"
        return ForeignLatency(found.predicted_ms, found.lower_ms, found.upper_ms, basis, True)
    total = sum(ms for ms, _, _ in counted) + sum(part.counted_ms or 0 for part in unmatched)
    whole = all(part.counted_ms is not None for part in unmatched)
    basis = "estimate, in part layer by layer, outside the certificate"
    return ForeignLatency(roofline.constant_ms + total, None, None, basis, whole)


def _nothing(table: LatencyTable, unmatched: Sequence[Unmatched]) -> TableError:
    first = next((part.do for part in unmatched if part.do), None)
    names = ", ".join(part.what for part in unmatched[:3])
    more = f" and {len(unmatched) - 3} more" if len(unmatched) > 3 else ""
    return TableError(
        f"the table of {table.name} answers no part of this model",
        got=names + more,
        do=first or "nas spaces lists the spaces whose blocks nas profile can measure",
    )
