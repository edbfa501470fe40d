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
from nas.latency.predict import Predictor
from nas.latency.table import Calibration
from nas.space.blocks import Block, BlockKey
from nas.space.codes import CodeBook, Codes, Slot
from nas.space.resolve import Chain, add_block, finish_chain, stage_depth, start_chain

Values = npt.NDArray[np.float64]
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
    """Tables of one slot, flat: index `state * size + code`."""

    size: int
    cost: Values
    upper: Values
    floor: Values
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
        roofline = self.predictor.table.device.roofline
        self._estimated = roofline is not None
        if roofline is not None:
            self._terms = roofline.constant_ms, 1.0, 0.0
            self._upper_constant_ms = roofline.constant_ms * roofline.bound_factor
        else:
            found = self._any_calibration()
            self._terms = found.constant_ms, found.sum_factor, found.per_block_ms
            self._upper_factor = found.upper_factor
        self._steps = _Builder(self.predictor, self.book, self._terms).steps()
        lowest = sum(float(np.nanmin(step.cost - step.floor)) for step in self._steps)
        self._needs_floor = not self._estimated and self._terms[0] + lowest < 0

    def _any_calibration(self) -> Calibration:
        """That of the plan: resolutions it does not cover are left to the tables."""
        resolutions = self.predictor.space.plan(self.predictor.plan).resolutions
        for resolution in resolutions[:-1]:
            with contextlib.suppress(TableError):
                return self.predictor.calibration(resolution)
        return self.predictor.calibration(resolutions[-1])

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
        predicted[:] = self._terms[0]
        if self._estimated:
            upper[:] = self._upper_constant_ms
        floor = np.zeros(len(predicted)) if self._needs_floor else None
        for step, codes in zip(self._steps, columns, strict=True):
            index = state * step.size + codes
            predicted += step.cost.take(index)
            if self._estimated:
                upper += step.upper.take(index)
            if floor is not None:
                floor += step.floor.take(index)
            state = step.after.take(index)
        if floor is not None:
            np.maximum(predicted, floor, out=predicted)
        if not self._estimated:
            np.multiply(predicted, self._upper_factor, out=upper)


class _Builder:
    """Makes the tables, slot by slot."""

    def __init__(
        self, predictor: Predictor, book: CodeBook, terms: tuple[float, float, float]
    ) -> None:
        self.predictor, self.book, self.terms = predictor, book, terms
        self.file = predictor.space.file
        self.plan = predictor.space.plan(predictor.plan)
        self._moves: dict[Any, tuple[Values, list[State]]] = {}

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
        cost, upper, floor = tails[last.after].T
        last.cost, last.upper, last.floor = last.cost + cost, last.upper + upper, last.floor + floor
        return steps

    def _start(self, slot: Slot) -> tuple[_Step, list[State]]:
        """Resolution and width give the first states; the stem is what they cost."""
        costs, states = [], []
        for code in range(slot.size):
            picked = _picked(slot, code)
            resolution = int(picked.get("resolution", self.plan.resolutions[0]))
            width = float(picked.get("width", self.file.width[0]))
            known = self._covers(resolution)
            chain = start_chain(self.file, self.plan, resolution, width)
            costs.append(self._cost(chain.blocks, resolution) if known else (float("nan"),) * 3)
            states.append(State(resolution, width, chain.size, chain.channels))
        return self._step(slot, [np.array(costs)], [states])

    def _covers(self, resolution: int) -> bool:
        if self.predictor.table.device.roofline is not None:
            return True
        try:
            self.predictor.calibration(resolution)
        except TableError:
            return False
        return True

    def _slot(self, slot: Slot, before: list[State], ends: bool) -> tuple[_Step, list[State]]:
        costs, states = [], []
        for state in before:
            cost, after = self._from_state(slot, state)
            costs.append(cost)
            states.append([self._left(s) for s in after] if ends else after)
        return self._step(slot, costs, states)

    def _from_state(self, slot: Slot, state: State) -> tuple[Values, list[State]]:
        """Costs (`codes x 3`) and states after all codes of a slot, from one state."""
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
            cost, after = np.zeros((1, 3)), [start]
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
        total = (cost[:, None, :] + added).reshape(-1, 3)
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

    def _tail(self, state: State) -> tuple[float, float, float]:
        chain = Chain([], state.size, state.channels)
        finish_chain(chain, self.file, state.width, self.predictor.classes)
        return self._cost(chain.blocks, state.resolution)

    def _cost(self, blocks: list[tuple[str, Block]], resolution: int) -> tuple[float, float, float]:
        """Calibrated latency, its own upper bound, and the least it may count; NaN if unknown."""
        _, factor, per_block = self.terms
        cost = upper = floor = 0.0
        for _, block in blocks:
            latency, bound = self._block_ms(block, resolution)
            cost += factor * latency + per_block
            upper += bound
            floor += 0.1 * latency
        return cost, upper, floor

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
        cost, upper, floor = (np.ascontiguousarray(c) for c in np.concatenate(costs).T)
        return _Step(slot.size, cost, upper, floor, np.array(after, np.int32)), list(numbers)


def _picked(slot: Slot, code: int) -> dict[str, Any]:
    return {
        d.name: d.choices[code // weight % len(d.choices)]
        for d, weight in zip(slot.dimensions, slot.weights, strict=True)
    }
