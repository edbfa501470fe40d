"""Architectures: immutable values whose id is a hash of the network they resolve to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nas.space.blocks import KEY_SCHEMA, Block, BlockKey
from nas.space.layers import Cost
from nas.space.schema import Choice


@dataclass(frozen=True)
class Network:
    """A fully specified chain of blocks, each with its place in the space.

    Attributes:
        resolution: Height and width of the RGB input, pixels.
        blocks: `(position, block)` from the stem to the classifier; the position (such as
            `stage2.block1`) is where the supernet keeps the block's weights.
    """

    resolution: int
    blocks: tuple[tuple[str, Block], ...]

    @property
    def classes(self) -> int:
        """Number of outputs."""
        return self.blocks[-1][1].out_channels

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
        parts += [str(block) for _, block in self.blocks[:-1]]
        last = self.blocks[-1][1]
        parts.append(f"{last.op} {last.in_channels} {last.params_json}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


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
