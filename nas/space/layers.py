"""The primitive layers that every block is made of.

A block is lowered to these once, and everything else is derived from that: parameters and MACs
(here), the torch module (`nas.models`), the ONNX graph (`nas.export`) and the roofline estimate
(`nas.latency`). A new family of blocks therefore needs one lowering function in `blocks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Activation = Literal["none", "relu", "relu6", "hardswish", "silu"]
Gate = Literal["hardsigmoid", "sigmoid"]


@dataclass(frozen=True)
class Conv:
    """Convolution without bias, batch norm, activation; padded to keep the size at stride 1.

    Without `norm` it has a bias instead, as in networks from before batch norm.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    activation: Activation
    norm: bool = True


@dataclass(frozen=True)
class SqueezeExcite:
    """Global mean, 1 x 1 convolution, activation, 1 x 1 convolution, gate, product (biases)."""

    name: str
    channels: int
    squeeze: int
    gate: Gate
    activation: Activation = "relu"


@dataclass(frozen=True)
class MaxPool:
    """Largest of each window, padded as a convolution of the same kernel is."""

    name: str
    channels: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class GlobalPool:
    """Mean over height and width; leaves `N x C`."""

    name: str
    channels: int


@dataclass(frozen=True)
class Linear:
    """Fully connected layer with bias and activation."""

    name: str
    in_features: int
    out_features: int
    activation: Activation


@dataclass(frozen=True)
class Residual:
    """`activation(body(input) + shortcut(input))`; an empty shortcut is the input itself."""

    name: str
    body: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()
    activation: Activation = "none"


@dataclass(frozen=True)
class Branches:
    """Two chains of layers side by side, their outputs joined by channels; an empty one copies.

    Attributes:
        branches: The chains, at least two of the same output size.
        split: Each gets its share of the input's channels, in order; otherwise all of the input.
        shuffle: Channels of the branches are interleaved (arXiv:1707.01083, figure 1).
    """

    name: str
    branches: tuple[tuple[Layer, ...], ...]
    split: bool = False
    shuffle: bool = False


Layer = Conv | SqueezeExcite | MaxPool | GlobalPool | Linear | Residual | Branches
Leaf = Conv | SqueezeExcite | MaxPool | GlobalPool | Linear


@dataclass(frozen=True)
class Cost:
    """What a layer costs: parameters as torch counts them, and multiply-adds.

    `macs` counts convolutions and linear layers (one per product, biases and batch norm free).
    """

    params: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)


def leaves(layers: tuple[Layer, ...]) -> Iterator[Leaf]:
    """The layers that have weights or work of their own, those inside others too, in order."""
    for layer in layers:
        match layer:
            case Residual():
                yield from leaves(layer.body)
                yield from leaves(layer.shortcut)
            case Branches():
                for branch in layer.branches:
                    yield from leaves(branch)
            case _:
                yield layer


def output_size(layer: Layer, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's output."""
    match layer:
        case Conv() | MaxPool():
            return -(-height // layer.stride), -(-width // layer.stride)
        case GlobalPool():
            return 1, 1
        case Residual():
            return chain_size(layer.body, height, width)
        case Branches():
            # An empty branch keeps the size, as every other one then does.
            return chain_size(layer.branches[-1], height, width)
        case _:
            return height, width


def chain_size(layers: tuple[Layer, ...], height: int, width: int) -> tuple[int, int]:
    """Height and width of the output of a chain of layers."""
    for layer in layers:
        height, width = output_size(layer, height, width)
    return height, width


def output_channels(layer: Layer, channels: int) -> int:
    """Channels (or features) of the output of a layer whose input has `channels`."""
    match layer:
        case Conv():
            return layer.out_channels
        case Linear():
            return layer.out_features
        case Residual():
            return chain_channels(layer.body, channels)
        case Branches():
            share = channels // len(layer.branches) if layer.split else channels
            return sum(chain_channels(branch, share) for branch in layer.branches)
        case _:
            return channels


def chain_channels(layers: tuple[Layer, ...], channels: int) -> int:
    """Channels of the output of a chain of layers."""
    for layer in layers:
        channels = output_channels(layer, channels)
    return channels


def layer_cost(layer: Layer, height: int, width: int) -> Cost:
    """Parameters and MACs of one layer whose input is `height` x `width`."""
    match layer:
        case Conv():
            weights = layer.out_channels * layer.in_channels // layer.groups * layer.kernel**2
            out_height, out_width = output_size(layer, height, width)
            beside = (2 if layer.norm else 1) * layer.out_channels
            return Cost(weights + beside, weights * out_height * out_width)
        case SqueezeExcite():
            weights = 2 * layer.channels * layer.squeeze
            return Cost(weights + layer.squeeze + layer.channels, weights)
        case GlobalPool() | MaxPool():
            return Cost(0, 0)
        case Linear():
            weights = layer.in_features * layer.out_features
            return Cost(weights + layer.out_features, weights)
        case Residual():
            return _sum_of_costs((layer.body, layer.shortcut), height, width)
        case Branches():
            return _sum_of_costs(layer.branches, height, width)


def layers_cost(layers: tuple[Layer, ...], height: int, width: int) -> Cost:
    """Parameters and MACs of a chain of layers whose input is `height` x `width`."""
    total = Cost(0, 0)
    for layer in layers:
        total += layer_cost(layer, height, width)
        height, width = output_size(layer, height, width)
    return total


def _sum_of_costs(chains: tuple[tuple[Layer, ...], ...], height: int, width: int) -> Cost:
    return sum((layers_cost(chain, height, width) for chain in chains), Cost(0, 0))
