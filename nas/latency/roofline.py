"""Roofline estimates: the latency of any block from a few coefficients per kind of layer.

A block is lowered to operations. Each costs a launch, its multiply-adds and the bytes that it reads
and writes. The coefficients are fitted to published latencies of whole networks by
`benchmarks/latency/fit_estimates.py`; docs/decisions/0003-estimated-tables.md says how well.

The cost of one operation is `launch_ms + macs * ms_per_gmac + bytes * ms_per_mb`: the sum where a
roofline in the strict sense (Williams et al., 2009, doi:10.1145/1498765.1498785) takes the larger
of the two, because a batch of one overlaps little (measured: the decision page compares both).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nas.errors import TableError
from nas.space.blocks import Block
from nas.space.layers import (
    Branches,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    MaxPool,
    Residual,
    SqueezeExcite,
    chain_channels,
    layer_cost,
    output_channels,
    output_size,
)

Kind = Literal[
    "dense", "pointwise", "depthwise", "linear", "squeeze_excite", "pool", "add", "hardswish"
]
Unfitted = Literal["silu", "copy"]
"""Kinds that no source has: a SiLU; a part of the channels that is copied, joined or shuffled."""
Precision = Literal["fp32", "fp16", "int8"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STAND_INS: dict[Unfitted, Kind] = {"silu": "hardswish", "copy": "pool"}
"""What they cost like: the same passes over the memory. Never covered, so with the wider bound."""
MOBILE_OPS = ("stem", "conv", "depthwise_separable", "inverted_residual", "head", "classifier")
"""Blocks that are covered where their kinds are: the sources of every device have such networks."""
BYTES: dict[str, int] = {"fp32": 4, "fp16": 2, "int8": 1}

_Coefficient = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Factor = Annotated[float, Field(ge=1, allow_inf_nan=False)]


@dataclass(frozen=True)
class Operation:
    """One thing that the runtime does.

    Attributes:
        kind: Which coefficients apply.
        macs: Multiply-adds of convolutions and linear layers.
        elements: Numbers read and written: inputs, weights, outputs.
    """

    kind: Kind | Unfitted
    macs: int
    elements: int


class RooflineKind(BaseModel):
    """The coefficients of one kind of layer on one device.

    Attributes:
        ms_per_gmac: Milliseconds per 10^9 multiply-adds.
        ms_per_mb: Milliseconds per 10^6 bytes read or written.
        launch_ms: Milliseconds for starting the operation.
        covered: Whether a source measured on this very device contains the kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ms_per_gmac: _Coefficient
    ms_per_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    launch_ms: _Coefficient
    covered: bool


class Roofline(BaseModel):
    """The section `roofline:` of an estimated table's `device.yaml`.

    Attributes:
        precision: The only precision that was fitted, and so the only one that is answered.
        kinds: Coefficients of every kind in `KINDS`.
        bound_factor: Upper bound over prediction, where all kinds are covered.
        uncovered_bound_factor: The same where a block has a kind that is not covered.
        constant_ms: Part of a whole network's latency that belongs to no block.
        covered_ops: Families of blocks, beyond those of mobile networks, that a source measured on
            this very device is made of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Precision
    kinds: dict[Kind, RooflineKind]
    bound_factor: _Factor
    uncovered_bound_factor: Annotated[float, Field(ge=1.5, allow_inf_nan=False)]
    constant_ms: _Coefficient
    covered_ops: list[str] = []

    @model_validator(mode="after")
    def _all_kinds(self) -> Roofline:
        missing = [kind for kind in KINDS if kind not in self.kinds]
        if missing:
            raise ValueError(f"a roofline has coefficients for every kind; missing: {missing}")
        return self


def estimate_block_ms(roofline: Roofline, block: Block, precision: str) -> tuple[float, float]:
    """Latency of one block at batch 1, and its upper bound; both above zero.

    Raises:
        TableError: `precision` is not the one that the coefficients were fitted at.
    """
    if precision != roofline.precision:
        raise TableError(
            "an estimated table answers only the precision that its sources were measured at",
            got=precision,
            allowed=roofline.precision,
        )
    operations = block_operations(block)
    latency_ms = operations_ms(roofline, operations)
    covered = block.op in (*MOBILE_OPS, *roofline.covered_ops)
    covered &= all(_covered(roofline, operation) for operation in operations)
    factor = roofline.bound_factor if covered else roofline.uncovered_bound_factor
    return latency_ms, latency_ms * factor


def operations_ms(roofline: Roofline, operations: Iterable[Operation]) -> float:
    """Latency of a sequence of operations, without the constant."""
    size = BYTES[roofline.precision]
    total = 0.0
    for operation in operations:
        kind = roofline.kinds[_fitted(operation.kind)]
        total += kind.launch_ms
        total += operation.macs * 1e-9 * kind.ms_per_gmac
        total += operation.elements * 1e-6 * size * kind.ms_per_mb
    return total


def _covered(roofline: Roofline, operation: Operation) -> bool:
    kind = _fitted(operation.kind)
    return kind == operation.kind and roofline.kinds[kind].covered


def _fitted(kind: Kind | Unfitted) -> Kind:
    return STAND_INS[kind] if kind == "silu" or kind == "copy" else kind


def block_operations(block: Block) -> tuple[Operation, ...]:
    """What a runtime does for `block`, in order."""
    return _chain_operations(block.layers, (block.in_channels, block.height, block.width))


def layer_operations(
    layer: Layer, height: int, width: int, channels: int = 0
) -> tuple[Operation, ...]:
    """What a runtime does for one layer whose input is `channels` x `height` x `width`.

    Batch norm, bias, ReLU and ReLU6 are part of the layer before them (runtimes fuse them), a
    HardSwish or SiLU is an operation of its own. Joining branches is free, as the SqueezeNets that
    were fitted to were counted; a split or a shuffle is not. Channels matter to those that hold
    other layers only.
    """
    match layer:
        case Conv():
            return _conv_operations(layer, height, width)
        case SqueezeExcite():
            return (_squeeze_excite_operation(layer, height, width),)
        case GlobalPool():
            return (Operation("pool", 0, layer.channels * (height * width + 1)),)
        case MaxPool():
            after = output_size(layer, height, width)
            elements = layer.channels * (height * width + after[0] * after[1])
            return (Operation("pool", 0, elements),)
        case Linear():
            macs = layer_cost(layer, height, width).macs
            elements = macs + layer.in_features + layer.out_features
            linear = Operation("linear", macs, elements)
            return (linear, *_activation_operations(layer.activation, layer.out_features))
        case Residual():
            return _residual_operations(layer, (channels, height, width))
        case Branches():
            return _branches_operations(layer, (channels, height, width))


def convolution_kind(layer: Conv) -> Kind:
    """Which coefficients a convolution takes; grouped, but not depthwise, counts as dense."""
    if layer.groups == layer.in_channels > 1:
        return "depthwise"
    return "pointwise" if layer.kernel == 1 else "dense"


Shape = tuple[int, int, int]
"""Channels, height and width."""


def _chain_operations(layers: tuple[Layer, ...], shape: Shape) -> tuple[Operation, ...]:
    operations: list[Operation] = []
    channels, height, width = shape
    for layer in layers:
        operations.extend(layer_operations(layer, height, width, channels))
        channels = output_channels(layer, channels)
        height, width = output_size(layer, height, width)
    return tuple(operations)


def _conv_operations(layer: Conv, height: int, width: int) -> tuple[Operation, ...]:
    out_height, out_width = output_size(layer, height, width)
    outputs = layer.out_channels * out_height * out_width
    weights = layer.out_channels * layer.in_channels // layer.groups * layer.kernel**2
    elements = layer.in_channels * height * width + weights + outputs
    macs = weights * out_height * out_width
    convolution = Operation(convolution_kind(layer), macs, elements)
    return (convolution, *_activation_operations(layer.activation, outputs))


def _squeeze_excite_operation(layer: SqueezeExcite, height: int, width: int) -> Operation:
    """The input is read twice (mean, product) and written once."""
    macs = layer_cost(layer, height, width).macs
    return Operation("squeeze_excite", macs, macs + 3 * layer.channels * height * width)


def _residual_operations(layer: Residual, shape: Shape) -> tuple[Operation, ...]:
    height, width = output_size(layer, *shape[1:])
    values = chain_channels(layer.body, shape[0]) * height * width
    body, start = (_chain_operations(chain, shape) for chain in (layer.body, layer.shortcut))
    activation = _activation_operations(layer.activation, values)
    return (*body, *start, Operation("add", 0, 3 * values), *activation)


def _branches_operations(layer: Branches, shape: Shape) -> tuple[Operation, ...]:
    """A split reads and writes the input; a shuffle joins and reorders, one pass each."""
    channels, height, width = shape
    after = output_size(layer, height, width)
    values = output_channels(layer, channels) * after[0] * after[1]
    operations: list[Operation] = []
    if layer.split:
        operations.append(Operation("copy", 0, 2 * channels * height * width))
        channels //= len(layer.branches)
    for branch in layer.branches:
        operations.extend(_chain_operations(branch, (channels, height, width)))
    if layer.shuffle:
        operations += [Operation("copy", 0, 2 * values)] * 2
    return tuple(operations)


def _activation_operations(activation: str, elements: int) -> tuple[Operation, ...]:
    match activation:
        case "hardswish":
            return (Operation("hardswish", 0, 2 * elements),)
        case "silu":
            return (Operation("silu", 0, 2 * elements),)
        case _:
            return ()
