"""Memory of blocks and networks: activations that are alive together, and weights.

Both are exact for the ONNX graph as `nas.export.graph` writes it for any runtime (hard-swish as
HardSigmoid and Mul), nodes in onnxruntime's order: that of the file, but of branches, a sum's
shortcut among them, the one that is written last comes first. A tensor is alive from the node that
writes it to the last one that reads it. Element-wise nodes of one input (Relu, Clip, HardSigmoid,
Sigmoid) and Reshape write over it where nobody reads it afterwards; every other node, sums and
products too, writes a tensor of its own, as onnxruntime's do. `tests/export/test_memory.py` holds
this against the graph and against what onnxruntime allocates.
"""

from __future__ import annotations

from typing import NamedTuple

from nas.space.architecture import Network, Placed, is_exit
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
    layer_cost,
    leaves,
    output_channels,
    output_size,
)


def peak_activation_bytes(network: Network, bytes_per_value: int = 4) -> int:
    """Largest sum of tensors alive at once, batch 1: that of the largest block.

    Between two blocks only one tensor is alive, so that blocks do not add up.
    """
    return max(placed_peak_bytes(place, bytes_per_value) for place in network.blocks)


def placed_peak_bytes(placed: Placed, bytes_per_value: int = 4) -> int:
    """The same of a block in its place: what an exit reads is there for the next block, too."""
    position, block = placed
    return block_peak_bytes(block, bytes_per_value, kept=is_exit(position))


def block_peak_bytes(block: Block, bytes_per_value: int = 4, kept: bool = False) -> int:
    """Largest sum of tensors alive at once in a block, its input and output counted, batch 1.

    Args:
        block: By itself.
        bytes_per_value: Of all tensors.
        kept: Whether somebody needs the input afterwards.
    """
    value = _Value(block.in_channels, block.height, block.width)
    return _chain(block.layers, value, 0, kept)[0] * bytes_per_value


def weight_bytes(network: Network, bytes_per_value: int = 4) -> int:
    """Weights and biases of a network, as `block_weight_bytes` counts them."""
    return sum(block_weight_bytes(block, bytes_per_value) for _, block in network.blocks)


def block_weight_bytes(block: Block, bytes_per_value: int = 4) -> int:
    """Weights and biases with batch norm folded in, all in the same precision."""
    total = 0
    for layer in leaves(block.layers):
        total += layer_cost(layer, 1, 1).params
        if isinstance(layer, Conv) and layer.norm:
            total -= layer.out_channels  # batch norm's scale goes into the weights
    return total * bytes_per_value


class _Value(NamedTuple):
    """Shape of a tensor."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width


def _chain(layers: tuple[Layer, ...], value: _Value, beside: int, kept: bool) -> tuple[int, _Value]:
    """Values alive at the worst moment of a chain of layers, and what it ends in.

    Args:
        layers: In turn.
        value: What the first one reads.
        beside: Values alive all the while, without `value`.
        kept: Whether somebody needs `value` afterwards.
    """
    peak = beside + value.size
    for layer in layers:
        found, after = _layer(layer, value, beside, kept)
        peak = max(peak, found)
        beside += value.size if kept else 0
        value, kept = after, False
    return peak, value


def _layer(layer: Layer, value: _Value, beside: int, kept: bool) -> tuple[int, _Value]:
    """The same of one layer."""
    channels = output_channels(layer, value.channels)
    after = _Value(channels, *output_size(layer, value.height, value.width))
    rest = beside + (value.size if kept else 0)
    match layer:
        case Conv() | Linear():
            peak = beside + value.size + after.size
            return max(peak, rest + _activation_size(layer.activation, after.size)), after
        case SqueezeExcite():
            inner = _activation_size(layer.activation, layer.squeeze)
            written = max(layer.channels + max(layer.squeeze, value.size), inner)
            return beside + value.size + written, after
        case MaxPool() | GlobalPool():
            return beside + value.size + after.size, after
        case Residual():
            return _residual(layer, value, beside, kept), after
        case Branches():
            ends = _split(layer, value, rest) if layer.split else _all(layer, value, beside, kept)
            # Joined, then turned for the shuffle: two tensors of the output's size.
            return max(ends, rest + 2 * after.size), after


def _residual(layer: Residual, value: _Value, beside: int, kept: bool) -> int:
    if not layer.shortcut:
        peak, body = _chain(layer.body, value, beside, True)
        return max(peak, _sum(layer, beside, value.size, body.size))
    first, start = _chain(layer.shortcut, value, beside, True)
    second, body = _chain(layer.body, value, beside + start.size, kept)
    rest = beside + (value.size if kept else 0)
    return max(first, second, _sum(layer, rest, start.size, body.size))


def _sum(layer: Residual, rest: int, start: int, body: int) -> int:
    """Both terms and the sum; an activation may need more than one tensor of that size."""
    return rest + max(start + 2 * body, _activation_size(layer.activation, body))


def _split(layer: Branches, value: _Value, rest: int) -> int:
    """Each branch has a copy of its part of the input."""
    part = value._replace(channels=value.channels // len(layer.branches))
    peak, waiting = rest + 2 * value.size, value.size
    for branch in reversed(layer.branches):
        waiting -= part.size
        found, end = _chain(branch, part, rest + waiting, False)
        peak, waiting = max(peak, found), waiting + end.size
    return peak


def _all(layer: Branches, value: _Value, beside: int, kept: bool) -> int:
    """Every branch reads the input itself, which is there until the last one has."""
    peak, left = 0, len(layer.branches)
    for branch in reversed(layer.branches):
        left -= 1
        found, end = _chain(branch, value, beside, kept or left > 0)
        peak, beside = max(peak, found), beside + end.size
    return peak


def _activation_size(activation: str, size: int) -> int:
    """Hard-swish and SiLU: what the gate read, what it wrote, and the product; others in place."""
    return 3 * size if activation in ("hardswish", "silu") else size
