"""Architectures as rows of small integers, so that a whole population is one array."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nas.space import sample as sampling
from nas.space.architecture import EXIT, Architecture
from nas.space.schema import VARIANT
from nas.space.space import Dimension, SearchSpace

Codes = npt.NDArray[np.int32]
LARGEST_SLOT = 1 << 15
"""Combinations of choices that share one integer, at most: tables of them stay in the cache."""


@dataclass(frozen=True)
class Slot:
    """Neighbouring choices that one integer stands for, the first one its most significant digit.

    Attributes:
        stage: Number of the stage, from 1; 0 for the slot of resolution and width.
        blocks: Number of the first block of the slot, and of the first one after it.
        dimensions: What is chosen.
    """

    stage: int
    blocks: tuple[int, int]
    dimensions: tuple[Dimension, ...]

    @cached_property
    def size(self) -> int:
        """How many values the integer has."""
        return math.prod(len(d.choices) for d in self.dimensions)

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """What each digit counts."""
        lengths = [len(d.choices) for d in self.dimensions]
        return tuple(math.prod(lengths[i + 1 :]) for i in range(len(lengths)))


@dataclass(frozen=True)
class CodeBook:
    """How architectures of one plan of a space are written as rows of integers.

    The first column is resolution and width; each stage has one column, or several where it has
    very many combinations of choices.
    """

    space: SearchSpace
    plan: str

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The columns."""
        found = {d.name: d for d in self.space.dimensions(self.plan)}
        first = tuple(found[name] for name in ("resolution", "width") if name in found)
        slots = [Slot(0, (1, 1), first)]
        for number, stage in enumerate(self.space.file.stages, 1):
            depth = found.get(f"stage{number}.depth")
            deepest = max(int(choice) for choice in stage.options("depth"))
            per_block = [
                tuple(d for d in found.values() if d.name.startswith(f"stage{number}.block{b}."))
                for b in range(1, deepest + 1)
            ]
            variant = found.get(f"stage{number}.{VARIANT}")
            if variant is not None:
                per_block[0] = (variant, *per_block[0])
            exit_choice = found.get(f"stage{number}.{EXIT}")
            if exit_choice is not None:
                per_block[-1] = (*per_block[-1], exit_choice)
            slots += _split(number, depth, per_block)
        return tuple(slots)

    def encode(self, architectures: Iterable[Architecture]) -> Codes:
        """Rows of codes, shape `N x S`; choices without effect count as the first."""
        rows = [self._encode(architecture) for architecture in architectures]
        return np.array(rows, np.int32).reshape(-1, len(self.slots))

    def decode(self, row: npt.ArrayLike) -> Architecture:
        """The architecture of a row, shape `S`."""
        genome: sampling.Genome = {}
        for slot, code in zip(self.slots, np.asarray(row).tolist(), strict=True):
            for d, weight in zip(slot.dimensions, slot.weights, strict=True):
                genome[d.name] = d.choices[code // weight % len(d.choices)]
        return sampling.from_genome(self.space, self.plan, genome)

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Rows with every dimension drawn uniformly, shape `N x S`."""
        columns = [rng.integers(slot.size, size=n, dtype=np.int32) for slot in self.slots]
        return np.stack(columns, axis=1)

    @cached_property
    def _digits(self) -> tuple[tuple[tuple[str, dict[object, int]], ...], ...]:
        """Per slot and dimension: its name, and what each choice adds to the code."""
        return tuple(
            tuple(
                (d.name, {choice: weight * i for i, choice in enumerate(d.choices)})
                for d, weight in zip(slot.dimensions, slot.weights, strict=True)
            )
            for slot in self.slots
        )

    def _encode(self, architecture: Architecture) -> list[int]:
        known = dict(architecture.choices)
        known["resolution"] = architecture.resolution
        return [
            sum(values[known[name]] for name, values in slot if name in known)
            for slot in self._digits
        ]


def _split(
    stage: int, depth: Dimension | None, per_block: list[tuple[Dimension, ...]]
) -> list[Slot]:
    """The slots of a stage, each with as many blocks as fit."""
    slots: list[Slot] = []
    start, dimensions = 1, (depth,) if depth else ()
    for number, added in enumerate(per_block, 1):
        candidate = Slot(stage, (start, number + 1), (*dimensions, *added))
        if candidate.size > LARGEST_SLOT and number > start:
            slots.append(Slot(stage, (start, number), dimensions))
            start, dimensions = number, ()
        dimensions = (*dimensions, *added)
    return [*slots, Slot(stage, (start, len(per_block) + 1), dimensions)]
