"""Latencies of whole populations: integer codes into gathered sums.

A network is a chain, and what a block costs depends on the choices before it only through the size
and the channels that reach it. So a slot's codes and the state before it give a cost and the state
after it, and both are tables: a prediction is two look-ups for each slot.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.errors import TableError
from nas.latency.device_file import Calibration, Terms
from nas.latency.predict import LEAST_SHARE, Predictor, spilled_mb
from nas.space.blocks import Block, BlockKey
from nas.space.codes import CodeBook, Codes, Slot
from nas.space.resolve import Chain, add_block, finish_chain, stage_depth, start_chain

Values = npt.NDArray[np.float64]
Costs = tuple[float, float, float, float]
CHUNK = 1 << 14
"""Rows that are looked up at a time: small enough that intermediate results stay in the cache."""


@dataclass(frozen=True)
class State:
    """Everything before a slot that matters to what comes."""

    resolution: int
    width: float
    size: tuple[int, int]
    channels: int
    depth: int = 0


@dataclass
class _Step:
    """Tables of one slot, flat: index `state * size + code`.

    `slack` is what the bound adds to the prediction, before its factor; `values` are weights and
    what passes between blocks.
    """

    size: int
    cost: Values
    slack: Values
    floor: Values
    values: Values
    after: npt.NDArray[np.int32]


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
    """

    predictor: Predictor
    book: CodeBook = field(init=False)

    def __post_init__(self) -> None:
        self.book = CodeBook(self.predictor.space, self.predictor.plan)
        builder = _Builder(self.predictor, self.book)
        self._steps = builder.steps()
        self._upper_factor = builder.upper_factors()
        lowest = sum(float(np.nanmin(step.cost - step.floor)) for step in self._steps)
        self._has_slack = any(bool(np.nansum(step.slack)) for step in self._steps)
        self._needs_floor = lowest < 0
        self._spill_ms_per_mb, self._cache_mb = builder.spills()
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
            predicted += step.cost.take(index)
            if self._has_slack:
                upper += step.slack.take(index)
            if floor is not None:
                floor += step.floor.take(index)
            if values is not None:
                values += step.values.take(index)
            state = step.after.take(index)
        if values is not None:
            spilled = spilled_mb(values, self._cache_mb.take(columns[0]))
            predicted += spilled * self._spill_ms_per_mb.take(columns[0])
        if floor is not None:
            np.maximum(predicted, floor, out=predicted)
        upper += predicted
        upper *= self._upper_factor.take(columns[0])


class _Builder:
    """Makes the tables, slot by slot."""

    def __init__(self, predictor: Predictor, book: CodeBook) -> None:
        self.predictor, self.book = predictor, book
        self.file = predictor.space.file
        self.plan = predictor.space.plan(predictor.plan)
        self._moves: dict[Any, tuple[Values, list[State]]] = {}
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
        codes = range(self.book.slots[0].size)
        found = [self._calibrations.get(self._resolution(code)) for code in codes]
        return np.array([1.0 if f is None else f.upper_factor for f in found])

    def spills(self) -> tuple[Values, Values]:
        """Cost of a spilled megabyte, and the cache, for each code of the first slot."""
        codes = range(self.book.slots[0].size)
        found = [self._calibrations.get(self._resolution(code)) for code in codes]
        terms = [Terms() if f is None else f.terms for f in found]
        return (
            np.array([t.spill_ms_per_mb for t in terms]), np.array([t.cache_mb for t in terms])
        )  # fmt: skip

    def _resolution(self, code: int) -> int:
        picked = _picked(self.book.slots[0], code)
        return int(picked.get("resolution", self.plan.resolutions[0]))

    def steps(self) -> list[_Step]:
        first, *rest = self.book.slots
        step, states = self._start(first)
        steps = [step]
        for position, slot in enumerate(rest):
            ends = position + 1 == len(rest) or rest[position + 1].stage != slot.stage
            step, states = self._slot(slot, states, ends)
            steps.append(step)
        tails = np.array([self._tail(state) for state in states])
        last = steps[-1]
        cost, slack, floor, values = tails[last.after].T
        last.cost, last.slack, last.floor = last.cost + cost, last.slack + slack, last.floor + floor
        last.values = last.values + values
        return steps

    def _start(self, slot: Slot) -> tuple[_Step, list[State]]:
        """Resolution and width give the first states; the stem is what they cost."""
        costs, states = [], []
        for code in range(slot.size):
            picked = _picked(slot, code)
            resolution = self._resolution(code)
            width = float(picked.get("width", self.file.width[0]))
            chain = start_chain(self.file, self.plan, resolution, width)
            cost = np.array(self._constant(resolution))
            costs.append(tuple(cost + self._cost(chain.blocks, resolution)))
            states.append(State(resolution, width, chain.size, chain.channels))
        return self._step(slot, [np.array(costs)], [states])

    def _constant(self, resolution: int) -> Costs:
        """What every network costs; NaN for a resolution without a calibration."""
        roofline = self.predictor.table.device.roofline
        if roofline is not None:
            constant_ms = roofline.constant_ms
            return constant_ms, constant_ms * (roofline.bound_factor - 1), 0.0, 0.0
        found = self._calibrations.get(resolution)
        return (float("nan"),) * 4 if found is None else (found.constant_ms, 0.0, 0.0, 0.0)

    def _slot(self, slot: Slot, before: list[State], ends: bool) -> tuple[_Step, list[State]]:
        costs, states = [], []
        for state in before:
            cost, after = self._from_state(slot, state)
            costs.append(cost)
            states.append([self._left(s) for s in after] if ends else after)
        return self._step(slot, costs, states)

    def _from_state(self, slot: Slot, state: State) -> tuple[Values, list[State]]:
        """Costs (`codes x 4`) and states after all codes of a slot, from one state."""
        stage = self.file.stages[slot.stage - 1]
        name = f"stage{slot.stage}"
        chosen = slot.dimensions[0] if slot.dimensions else None
        depths = [state.depth]
        if slot.blocks[0] == 1:
            has_depth = chosen is not None and chosen.name == f"{name}.depth"
            options = chosen.choices if has_depth and chosen else [None]
            depths = [
                stage_depth(name, stage, {} if d is None else {f"{name}.depth": d}) for d in options
            ]
        costs, states = [], []
        for depth in depths:
            start = State(state.resolution, state.width, state.size, state.channels, depth)
            cost, after = np.zeros((1, 4)), [start]
            for index in range(*slot.blocks):
                cost, after = self._block(slot, index, depth, cost, after)
            costs.append(cost)
            states += after
        return np.concatenate(costs), states

    def _block(
        self, slot: Slot, index: int, depth: int, cost: Values, after: list[State]
    ) -> tuple[Values, list[State]]:
        """Each code so far with each choice of the next block."""
        prefix = f"stage{slot.stage}.block{index}."
        own = Slot(
            slot.stage, (index, index + 1),
            tuple(d for d in slot.dimensions if d.name.startswith(prefix)),
        )  # fmt: skip
        if index > depth:
            return np.repeat(cost, own.size, axis=0), [s for s in after for _ in range(own.size)]
        moves = [self._move(own, state) for state in after]
        added = np.stack([costs for costs, _ in moves])
        total = (cost[:, None, :] + added).reshape(-1, 4)
        return total, [s for _, states in moves for s in states]

    def _move(self, own: Slot, state: State) -> tuple[Values, list[State]]:
        key = own.stage, own.blocks[0], state
        if key not in self._moves:
            costs, states = [], []
            for code in range(own.size):
                chain = Chain([], state.size, state.channels)
                add_block(
                    chain, self.file, self.plan, own.stage, own.blocks[0], state.width,
                    _picked(own, code),
                )  # fmt: skip
                costs.append(self._cost(chain.blocks, state.resolution))
                states.append(
                    State(state.resolution, state.width, chain.size, chain.channels, state.depth)
                )
            self._moves[key] = np.array(costs), states
        return self._moves[key]

    def _left(self, state: State) -> State:
        """After a stage its depth no longer matters."""
        return State(state.resolution, state.width, state.size, state.channels)

    def _tail(self, state: State) -> Costs:
        chain = Chain([], state.size, state.channels)
        finish_chain(chain, self.file, state.width, self.predictor.classes)
        return self._cost(chain.blocks, state.resolution)

    def _cost(self, blocks: list[tuple[str, Block]], resolution: int) -> Costs:
        """Calibrated latency, slack of its bound, the least it may count, values; NaN: unknown."""
        found = self._calibrations.get(resolution)
        terms = Terms() if found is None else found.terms
        cost = slack = floor = values = 0.0
        for _, block in blocks:
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

    def _step(
        self, slot: Slot, costs: list[Values], states: list[list[State]]
    ) -> tuple[_Step, list[State]]:
        numbers: dict[State, int] = {}
        after = [numbers.setdefault(s, len(numbers)) for part in states for s in part]
        cost, slack, floor, values = (np.ascontiguousarray(c) for c in np.concatenate(costs).T)
        step = _Step(slot.size, cost, slack, floor, values, np.array(after, np.int32))
        return step, list(numbers)


def _picked(slot: Slot, code: int) -> dict[str, Any]:
    return {
        d.name: d.choices[code // weight % len(d.choices)]
        for d, weight in zip(slot.dimensions, slot.weights, strict=True)
    }
