"""Blocks: the unit of choice and of the latency table, and their keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from nas.errors import SpaceError
from nas.space.families import HALVED, OP_PARAMS, OPS, OPTIONAL_PARAMS, Param
from nas.space.layers import Cost, Layer, layers_cost

__all__ = ["KEY_SCHEMA", "OPS", "Block", "BlockKey", "Param", "make_block"]

KEY_SCHEMA = 1


@dataclass(frozen=True)
class Block:
    """One block with its input size: an immutable value, equal when the computation is.

    Attributes:
        op: A name of `OPS`.
        height: Height of the input, pixels.
        width: Width of the input, pixels.
        in_channels: Channels of the input.
        out_channels: Channels of the output (classes, for a classifier).
        params: The op's own parameters, sorted by name.
    """

    op: str
    height: int
    width: int
    in_channels: int
    out_channels: int
    params: tuple[tuple[str, Param], ...]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The block as primitive layers."""
        return OPS[self.op](self.in_channels, self.out_channels, dict(self.params))

    @cached_property
    def cost(self) -> Cost:
        """Parameters and MACs."""
        return layers_cost(self.layers, self.height, self.width)

    @property
    def stride(self) -> int:
        """How much smaller the output is."""
        params = dict(self.params)
        return int(params.get("stride", 1)) * int(params.get("pool", 1))

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        if self.op == "classifier":
            return 1, 1
        return -(-self.height // self.stride), -(-self.width // self.stride)

    @property
    def border_values(self) -> int:
        """Values that enter and leave the block: what a runtime may have to reorder there."""
        height, width = self.output_size
        return self.in_channels * self.height * self.width + self.out_channels * height * width

    @property
    def computation(self) -> tuple[int, int, tuple[Layer, ...]]:
        """Equal for blocks that compute the same, whatever their op is called."""
        return self.height, self.width, self.layers

    @property
    def params_json(self) -> str:
        """The op's own parameters as canonical JSON."""
        return json.dumps(dict(self.params), sort_keys=True, separators=(",", ":"))

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}x{self.in_channels}"
        return f"{self.op} {size}->{self.out_channels} {self.params_json}"


@dataclass(frozen=True)
class BlockKey:
    """Everything a block's latency on a device depends on: a row of a latency table."""

    block: Block
    precision: str = "fp32"
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.block} {self.precision} batch {self.batch}"


def make_block(
    op: str, size: tuple[int, int], in_channels: int, out_channels: int, params: Mapping[str, Param]
) -> Block:
    """A block from its parts; `params` must be those that `op` has, optional ones may be missing.

    Raises:
        SpaceError: Unknown op, parameters that the op does not have, or channels that it cannot
            give.
    """
    if op not in OPS:
        raise SpaceError("a block names a known op", got=op, allowed=", ".join(sorted(OPS)))
    optional = OPTIONAL_PARAMS.get(op, {})
    needed, given = set(OP_PARAMS[op]), set(params)
    if not needed <= given <= needed | set(optional):
        raise SpaceError(
            f"{op} takes exactly its own parameters",
            got=", ".join(sorted(params)) or "none",
            allowed=", ".join((*OP_PARAMS[op], *(f"{name} (optional)" for name in optional))),
        )
    if op in HALVED and out_channels % 2:
        raise SpaceError(f"a {op} joins two halves: its channels are even", got=out_channels)
    told = {name: value for name, value in params.items() if optional.get(name) != value}
    return Block(op, *size, in_channels, out_channels, tuple(sorted(told.items())))
