"""Sums or maxima over the blocks of whole populations: integer codes into gathered values.

A network is a chain, and what a block is depends on the choices before it only through the size
and the channels that reach it. So a slot's code and the state before it give the values of its
blocks and the state after it, and both are tables: a sum is two look-ups for each slot, and so is
the largest of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nas.space.architecture import Placed
from nas.space.codes import CodeBook, Codes, Slot
from nas.space.resolve import (
    Chain,
    add_block,
    add_exit,
    finish_chain,
    stage_depth,
    start_chain,
)
from nas.space.schema import VARIANT, Choice

Values = npt.NDArray[np.float64]
Measure = Callable[[Sequence[Placed], int], Sequence[float]]
"""What blocks add to each of `K` sums, at a resolution; none below zero where they are maxima."""


class _State(NamedTuple):
    """Everything before a slot that matters to what comes."""

    resolution: int
    width: float
    size: tuple[int, int]
    channels: int
    depth: int = 0
    reached: float = 1.0
    variant: Choice = ""


@dataclass
class Step:
    """Tables of one slot, index `state * size + code`.

    Attributes:
        size: Codes of the slot.
        values: What its blocks add, `K x states*size`.
        after: Number of the state after it.
    """

    size: int
    values: Values
    after: npt.NDArray[np.int32]


def make_steps(
    book: CodeBook,
    classes: int,
    measure: Measure,
    combine: np.ufunc = np.add,
    staying: Mapping[int, float] | None = None,
) -> list[Step]:
    """The tables of all slots, in order; the stem counts to the first, the tail to the last.

    Args:
        book: How architectures are written.
        classes: Outputs of the classifier.
        measure: What blocks add; NaN where it is not known.
        combine: `np.add` for sums, `np.maximum` for maxima.
        staying: Share of the images that go on at the exit of a stage, by its number: sums are then
            means over the images.
    """
    return _Builder(book, classes, measure, combine, staying or {}).steps()


def gather(steps: Sequence[Step], codes: Codes, combine: np.ufunc = np.add) -> Values:
    """The sums, or maxima, of rows of codes, `N x S`; shape `N x K`."""
    state = np.zeros(len(codes), np.int32)
    total = np.zeros((len(steps[0].values), len(codes)))
    for step, column in zip(steps, codes.T, strict=True):
        index = state * step.size + column
        combine(total, step.values[:, index], out=total)
        state = step.after[index]
    return np.asarray(total.T)


class _Builder:
    """Makes the tables, slot by slot."""

    def __init__(
        self,
        book: CodeBook,
        classes: int,
        measure: Measure,
        combine: np.ufunc,
        staying: Mapping[int, float],
    ) -> None:
        self.book, self.classes, self.measure, self.combine = book, classes, measure, combine
        self.staying = staying
        self.file = book.space.file
        self.plan = book.space.plan(book.plan)
        self._moves: dict[Any, tuple[Values, list[_State]]] = {}
        self._exits: dict[tuple[int, _State, bool], list[float]] = {}

    def steps(self) -> list[Step]:
        first, *rest = self.book.slots
        step, states = self._start(first)
        steps = [step]
        for position, slot in enumerate(rest):
            ends = position + 1 == len(rest) or rest[position + 1].stage != slot.stage
            step, states = self._slot(slot, states, ends)
            steps.append(step)
        tails = np.array([self._tail(state) for state in states])
        steps[-1].values = self.combine(steps[-1].values, tails[steps[-1].after].T)
        return steps

    def _start(self, slot: Slot) -> tuple[Step, list[_State]]:
        """Resolution and width give the first states; the stem is what they cost."""
        values, states = [], []
        for code in range(slot.size):
            found = picked(slot, code)
            resolution = int(found.get("resolution", self.plan.resolutions[0]))
            width = float(found.get("width", self.file.width[0]))
            chain = start_chain(self.file, self.plan, resolution, width)
            start = _State(resolution, width, chain.size, chain.channels)
            values.append(self._values(chain, start))
            states.append(start)
        return _step(slot, [np.array(values)], [states])

    def _slot(self, slot: Slot, before: list[_State], ends: bool) -> tuple[Step, list[_State]]:
        values, states = [], []
        for state in before:
            found, after = self._from_state(slot, state, ends)
            values.append(found)
            # After a stage its depth and variant no longer matter.
            states.append([s._replace(depth=0, variant="") for s in after] if ends else after)
        return _step(slot, values, states)

    def _from_state(self, slot: Slot, state: _State, ends: bool) -> tuple[Values, list[_State]]:
        """Values (`codes x K`) and states after all codes of a slot, from one state."""
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
        values, states = [], []
        for depth in depths:
            after = [state._replace(depth=depth)]
            found = np.zeros((1, len(self.measure([], state.resolution))))
            for index in range(*slot.blocks):
                found, after = self._block(slot, index, depth, found, after)
            if ends:
                found, after = self._exit(slot, depth, found, after)
            values.append(found)
            states += after
        return np.concatenate(values), states

    def _block(
        self, slot: Slot, index: int, depth: int, values: Values, after: list[_State]
    ) -> tuple[Values, list[_State]]:
        """Each code so far with each choice of the next block."""
        prefix = f"stage{slot.stage}.block{index}."
        whole = f"stage{slot.stage}.{VARIANT}" if index == 1 else None
        own = Slot(
            slot.stage, (index, index + 1),
            tuple(d for d in slot.dimensions if d.name.startswith(prefix) or d.name == whole),
        )  # fmt: skip
        if index > depth:
            repeated = np.repeat(values, own.size, axis=0)
            return repeated, [s for s in after for _ in range(own.size)]
        moves = [self._move(own, state) for state in after]
        added = np.stack([found for found, _ in moves])
        total = self.combine(values[:, None, :], added).reshape(-1, values.shape[1])
        return total, [s for _, states in moves for s in states]

    def _exit(
        self, slot: Slot, depth: int, values: Values, after: list[_State]
    ) -> tuple[Values, list[_State]]:
        """Each code so far without and with the stage's exit, as far as those are choices."""
        stage = self.file.stages[slot.stage - 1]
        options = stage.options("exit")
        if not stage.may_exit:
            return values, after
        added = [[self._exit_values(slot.stage, s, depth and o) for o in options] for s in after]
        total = self.combine(values[:, None, :], np.array(added)).reshape(-1, values.shape[1])
        stays = self.staying.get(slot.stage, 1.0)
        left = [s if not (depth and o) else s._replace(reached=s.reached * stays)
                for s in after for o in options]  # fmt: skip
        return total, left

    def _exit_values(self, stage: int, state: _State, present: Choice) -> list[float]:
        key = stage, state, bool(present)
        if key not in self._exits:
            chain = Chain([], state.size, state.channels)
            if present:
                add_exit(chain, self.file, stage, state.width, self.classes)
            self._exits[key] = self._values(chain, state)
        return self._exits[key]

    def _move(self, own: Slot, state: _State) -> tuple[Values, list[_State]]:
        key = own.stage, own.blocks[0], state
        if key not in self._moves:
            values, states = [], []
            whole = f"stage{own.stage}.{VARIANT}"
            for code in range(own.size):
                chain = Chain([], state.size, state.channels)
                chosen = {**({whole: state.variant} if state.variant else {}), **picked(own, code)}
                add_block(
                    chain, self.file, self.plan, own.stage, own.blocks[0], state.width, chosen
                )
                values.append(self._values(chain, state))
                after = state._replace(size=chain.size, channels=chain.channels)
                states.append(after._replace(variant=chosen.get(whole, "")))
            self._moves[key] = np.array(values), states
        return self._moves[key]

    def _tail(self, state: _State) -> list[float]:
        chain = Chain([], state.size, state.channels)
        finish_chain(chain, self.file, state.width, self.classes)
        return self._values(chain, state)

    def _values(self, chain: Chain, state: _State) -> list[float]:
        """Of blocks that run for the share of the images that reaches `state`."""
        return [value * state.reached for value in self.measure(chain.blocks, state.resolution)]


def picked(slot: Slot, code: int) -> dict[str, Any]:
    """The choices that a code of a slot stands for, by name."""
    return {
        d.name: d.choices[code // weight % len(d.choices)]
        for d, weight in zip(slot.dimensions, slot.weights, strict=True)
    }


def _step(
    slot: Slot, values: list[Values], states: list[list[_State]]
) -> tuple[Step, list[_State]]:
    numbers: dict[_State, int] = {}
    after = [numbers.setdefault(s, len(numbers)) for part in states for s in part]
    table = np.ascontiguousarray(np.concatenate(values).T)
    return Step(slot.size, table, np.array(after, np.int32)), list(numbers)
