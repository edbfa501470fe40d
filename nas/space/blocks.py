"""Blocks: the unit of choice and of the latency table, their keys and their lowering to layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from nas.errors import SpaceError
from nas.space.layers import (
    Activation,
    Conv,
    Cost,
    Gate,
    GlobalPool,
    Layer,
    Linear,
    Residual,
    SqueezeExcite,
    layers_cost,
)

KEY_SCHEMA = 1

Param = int | str | bool


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
        return int(dict(self.params).get("stride", 1))

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
    """A block from its parts; `params` must be exactly those that `op` has.

    Raises:
        SpaceError: Unknown op, or parameters that the op does not have.
    """
    if op not in OPS:
        raise SpaceError("a block names a known op", got=op, allowed=", ".join(sorted(OPS)))
    allowed = OP_PARAMS[op]
    if set(params) != set(allowed):
        raise SpaceError(
            f"{op} takes exactly its own parameters",
            got=", ".join(sorted(params)) or "none",
            allowed=", ".join(allowed),
        )
    return Block(op, *size, in_channels, out_channels, tuple(sorted(params.items())))


def _activation(params: Mapping[str, Any]) -> Activation:
    return cast(Activation, params["activation"])


def _plain(name: str) -> Callable[[int, int, dict[str, Any]], tuple[Layer, ...]]:
    def lower(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
        kernel, stride = params["kernel"], params["stride"]
        return (Conv(name, in_channels, out_channels, kernel, stride, 1, _activation(params)),)

    return lower


def _depthwise_separable(
    in_channels: int, out_channels: int, params: dict[str, Any]
) -> tuple[Layer, ...]:
    kernel, stride, activation = params["kernel"], params["stride"], _activation(params)
    return (
        Conv("depthwise", in_channels, in_channels, kernel, stride, in_channels, activation),
        Conv("pointwise", in_channels, out_channels, 1, 1, 1, activation),
    )


def _inverted_residual(
    in_channels: int, out_channels: int, params: dict[str, Any]
) -> tuple[Layer, ...]:
    hidden, squeeze, activation = params["hidden"], params["se"], _activation(params)
    kernel, stride = params["kernel"], params["stride"]
    body: list[Layer] = []
    if hidden != in_channels:
        body.append(Conv("expand", in_channels, hidden, 1, 1, 1, activation))
    body.append(Conv("depthwise", hidden, hidden, kernel, stride, hidden, activation))
    if squeeze:
        body.append(SqueezeExcite("se", hidden, squeeze, cast(Gate, params["gate"])))
    body.append(Conv("project", hidden, out_channels, 1, 1, 1, "none"))
    return (Residual("residual", tuple(body)),) if params["residual"] else tuple(body)


def _head(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    return (Conv("conv", in_channels, out_channels, 1, 1, 1, _activation(params)),)


def _classifier(in_channels: int, out_channels: int, params: dict[str, Any]) -> tuple[Layer, ...]:
    hidden = params["hidden"]
    if params["pooling"] != "mean":
        raise SpaceError("a classifier pools by the mean", got=params["pooling"], allowed="mean")
    layers: list[Layer] = [GlobalPool("pool", in_channels)]
    if hidden:
        layers.append(Linear("hidden", in_channels, hidden, _activation(params)))
    return (*layers, Linear("classes", hidden or in_channels, out_channels, "none"))


OPS: dict[str, Callable[[int, int, dict[str, Any]], tuple[Layer, ...]]] = {
    "stem": _plain("conv"),
    "conv": _plain("conv"),
    "depthwise_separable": _depthwise_separable,
    "inverted_residual": _inverted_residual,
    "head": _head,
    "classifier": _classifier,
}
OP_PARAMS: dict[str, tuple[str, ...]] = {
    "stem": ("activation", "kernel", "stride"),
    "conv": ("activation", "kernel", "stride"),
    "depthwise_separable": ("activation", "kernel", "stride"),
    "inverted_residual": ("activation", "gate", "hidden", "kernel", "residual", "se", "stride"),
    "head": ("activation",),
    "classifier": ("activation", "hidden", "pooling"),
}
