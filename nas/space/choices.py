"""Architectures as rows of indices of choices, one for each dimension: canonical form, codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.codes import CodeBook, Codes
from nas.space.resolve import first_block_changes_shape
from nas.space.schema import Choice, Stage
from nas.space.space import Dimension, SearchSpace, block_of

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChoiceRows:
    """How architectures of one plan of a space are written as rows of indices, shape `D`.

    The columns are `space.dimensions(plan)`. `codes` packs many columns into few: that is for
    tables; here every choice has its own column.
    """

    space: SearchSpace
    plan: str

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The columns."""
        return self.space.dimensions(self.plan)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each column."""
        return tuple(len(d.choices) for d in self.dimensions)

    @cached_property
    def book(self) -> CodeBook:
        """Packs rows into codes."""
        return CodeBook(self.space, self.plan)

    def row(self, genome: Mapping[str, Choice]) -> Rows:
        """The row of a full assignment.

        Raises:
            KeyError: A dimension is missing.
            ValueError: A choice is not one of its dimension's.
        """
        return np.array([d.choices.index(genome[d.name]) for d in self.dimensions], np.int64)

    def genome(self, row: Rows) -> sampling.Genome:
        """The full assignment of a row; -1 counts as the first choice."""
        pairs = zip(self.dimensions, np.maximum(row, 0).tolist(), strict=True)
        return {d.name: d.choices[index] for d, index in pairs}

    def architecture(self, row: Rows) -> Architecture:
        """The architecture of a row."""
        return sampling.from_genome(self.space, self.plan, self.genome(row))

    def pack(self, rows: Rows) -> Codes:
        """Codes of rows, `N x D` to `N x S`; -1 counts as the first choice."""
        packed: Codes = (np.maximum(rows, 0).astype(float) @ self._packing).astype(np.int32)
        return packed

    @cached_property
    def _packing(self) -> npt.NDArray[np.float64]:
        """Weight of each dimension in each slot, `D x S`; products of floats are the fast ones."""
        place = {d.name: column for column, d in enumerate(self.dimensions)}
        found = np.zeros((len(self.dimensions), len(self.book.slots)))
        for number, slot in enumerate(self.book.slots):
            for dimension, weight in zip(slot.dimensions, slot.weights, strict=True):
                found[place[dimension.name], number] = weight
        return found

    def canonical(self, rows: Rows) -> Rows:
        """As architectures are written, `N x D`: skipped blocks last, -1 where without effect."""
        found: Rows = rows.copy()
        for number, stage in enumerate(self.space.file.stages, 1):
            blocks = self._blocks[number - 1]
            if blocks:
                self._canonical_stage(found, number, stage, blocks)
        return found

    def _canonical_stage(
        self, rows: Rows, number: int, stage: Stage, blocks: dict[int, list[int]]
    ) -> None:
        depth = self._depth(rows, number, stage)
        if stage.skips:
            self._skips_last(rows, number, stage, blocks, depth)
        for block, columns in blocks.items():
            rows[np.flatnonzero(depth < block)[:, None], columns] = -1

    def _skips_last(
        self,
        rows: Rows,
        number: int,
        stage: Stage,
        blocks: dict[int, list[int]],
        depth: npt.NDArray[np.int64],
    ) -> None:
        columns = [columns[0] for columns in blocks.values()]
        choices = self.dimensions[columns[0]].choices
        skips = [choices.index(skip) for skip in stage.skips]
        variants = rows[:, columns]
        blocks_of = np.array(list(blocks))
        # Blocks that keep their place, blocks that do something, skipped ones, inactive ones.
        group = np.where(np.isin(variants, skips), 2, 1)
        group[:, blocks_of == 1] = np.where(self._fixed(rows, number)[:, None], 0, group[:, :1])
        group[blocks_of > depth[:, None]] = 3
        order = np.argsort(group, axis=1, kind="stable")
        group = np.take_along_axis(group, order, axis=1)
        moved = np.take_along_axis(variants, order, axis=1)
        rows[:, columns] = np.where(group == 2, skips[0], moved)

    @cached_property
    def _blocks(self) -> list[dict[int, list[int]]]:
        """Columns of each block that has any, stage after stage."""
        found: list[dict[int, list[int]]] = [{} for _ in self.space.file.stages]
        for column, dimension in enumerate(self.dimensions):
            place = block_of(dimension.name)
            if place is not None:
                stage, block = place
                found[stage - 1].setdefault(block, []).append(column)
        return found

    def _depth(self, rows: Rows, number: int, stage: Stage) -> npt.NDArray[np.int64]:
        """How many blocks of a stage are active, shape `N`."""
        name = f"stage{number}.depth"
        for column, dimension in enumerate(self.dimensions):
            if dimension.name == name:
                depths = np.array([int(choice) for choice in dimension.choices])
                return np.asarray(depths[rows[:, column]])
        return np.full(len(rows), int(stage.options("depth")[0]))

    def _fixed(self, rows: Rows, number: int) -> npt.NDArray[np.bool_]:
        """Whether the first block of a stage keeps its place, because it changes the shape."""
        plan, file = self.space.plan(self.plan), self.space.file
        fixed = np.array([first_block_changes_shape(file, plan, number, w) for w in file.width])
        for column, dimension in enumerate(self.dimensions):
            if dimension.name == "width":
                return np.asarray(fixed[rows[:, column]])
        return np.full(len(rows), fixed[0])
