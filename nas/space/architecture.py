"""Architectures: immutable values whose id is a hash of the network they resolve to."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas.space.blocks import KEY_SCHEMA, Block, BlockKey
from nas.space.layers import Cost
from nas.space.schema import Choice

EXIT = "exit"
"""How the position of an exit ends."""
Placed = tuple[str, Block]
"""A position, such as `stage2.block1`, which is where the supernet keeps weights; and a block."""


def is_exit(position: str) -> bool:
    """Whether a block there is an exit: a classifier beside the chain."""
    return position.rpartition(".")[2] == EXIT


def stage_of(position: str) -> int:
    """Number of the stage of a position such as `stage2.exit`."""
    return int(position.partition(".")[0].removeprefix("stage"))


@dataclass(frozen=True)
class Segment:
    """What runs before inference may end.

    Attributes:
        trunk: The chain's blocks since the segment before.
        exit: The classifier that reads their output; of the last segment the chain's own.
    """

    trunk: tuple[Placed, ...]
    exit: Placed


@dataclass(frozen=True)
class Network:
    """A fully specified chain of blocks, each with its place in the space.

    Attributes:
        resolution: Height and width of the RGB input, pixels.
        blocks: From the stem to the classifier; an exit follows the block whose output it reads,
            which the next block that is no exit reads, too.
    """

    resolution: int
    blocks: tuple[Placed, ...]

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return self.blocks[-1][1].out_channels

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """One for each exit, and the last, which ends with the classifier."""
        found: list[Segment] = []
        trunk: list[Placed] = []
        for place in self.blocks[:-1]:
            if is_exit(place[0]):
                found.append(Segment(tuple(trunk), place))
                trunk = []
            else:
                trunk.append(place)
        return (*found, Segment(tuple(trunk), self.blocks[-1]))

    @cached_property
    def macs_until_exits(self) -> tuple[int, ...]:
        """Multiply-adds of an inference that leaves at each exit, and at the end."""
        each = [sum(b.cost.macs for _, b in (*s.trunk, s.exit)) for s in self.segments]
        return tuple(itertools.accumulate(each))

    @cached_property
    def without_exits(self) -> Network:
        """The chain alone."""
        if len(self.segments) == 1:
            return self
        return Network(self.resolution, tuple(p for p in self.blocks if not is_exit(p[0])))

    @cached_property
    def cost(self) -> Cost:
        """Parameters (as torch counts them) and MACs (convolutions and linear layers)."""
        return sum((block.cost for _, block in self.blocks), Cost(0, 0))

    def keys(self, precision: str = "fp32", batch: int = 1) -> tuple[BlockKey, ...]:
        """The rows of a latency table that this network is the sum of."""
        return tuple(BlockKey(block, precision, batch) for _, block in self.blocks)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of a hash of layers, strides and resolution, not classes."""
        parts = [str(KEY_SCHEMA), str(self.resolution)]
        for place, block in self.blocks[:-1]:
            parts.append(f"{EXIT} {_classless(block)}" if is_exit(place) else str(block))
        parts.append(_classless(self.blocks[-1][1]))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _classless(classifier: Block) -> str:
    return f"{classifier.op} {classifier.in_channels} {classifier.params_json}"


@dataclass(frozen=True)
class Architecture:
    """One network of a space, written canonically: only choices that matter, in a fixed order.

    Make one with `SearchSpace.architecture`; two ways to write the same network are equal.
    """

    space: str
    plan: str
    resolution: int
    choices: tuple[tuple[str, Choice], ...]
    id: str

    def to_json(self) -> dict[str, Any]:
        """The architecture object of `nas sample --json` and `--arch FILE`."""
        return {
            "schema": 1,
            "space": self.space,
            "plan": self.plan,
            "resolution": self.resolution,
            "choices": dict(self.choices),
            "id": self.id,
        }
