"""The primitive layers that every block is made of.

A block is lowered to these once, and everything else is derived from that: parameters and MACs
(here), the torch module (`nas.models`), the ONNX graph (`nas.export`) and the roofline estimate
(`nas.latency`). A new family of blocks therefore needs one lowering function in `blocks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["none", "relu", "relu6", "hardswish"]
Gate = Literal["hardsigmoid"]


@dataclass(frozen=True)
class Conv:
    """Convolution without bias, batch norm, activation; padded to keep the size at stride 1."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    groups: int
    activation: Activation


@dataclass(frozen=True)
class SqueezeExcite:
    """Global mean, 1 x 1 convolution with ReLU, 1 x 1 convolution, gate, product (biases)."""

    name: str
    channels: int
    squeeze: int
    gate: Gate


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
    """`input + body(input)`; the body keeps the shape."""

    name: str
    body: tuple[Layer, ...]


Layer = Conv | SqueezeExcite | GlobalPool | Linear | Residual


@dataclass(frozen=True)
class Cost:
    """What a layer costs: parameters as torch counts them, and multiply-adds.

    `macs` counts convolutions and linear layers (one per product, biases and batch norm free).
    """

    params: int
    macs: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)


def output_size(layer: Layer, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's output."""
    if isinstance(layer, Conv):
        return -(-height // layer.stride), -(-width // layer.stride)
    if isinstance(layer, GlobalPool):
        return 1, 1
    return height, width


def layer_cost(layer: Layer, height: int, width: int) -> Cost:
    """Parameters and MACs of one layer whose input is `height` x `width`."""
    match layer:
        case Conv():
            weights = layer.out_channels * layer.in_channels // layer.groups * layer.kernel**2
            out_height, out_width = output_size(layer, height, width)
            return Cost(weights + 2 * layer.out_channels, weights * out_height * out_width)
        case SqueezeExcite():
            weights = 2 * layer.channels * layer.squeeze
            return Cost(weights + layer.squeeze + layer.channels, weights)
        case GlobalPool():
            return Cost(0, 0)
        case Linear():
            weights = layer.in_features * layer.out_features
            return Cost(weights + layer.out_features, weights)
        case Residual():
            return layers_cost(layer.body, height, width)


def layers_cost(layers: tuple[Layer, ...], height: int, width: int) -> Cost:
    """Parameters and MACs of a chain of layers whose input is `height` x `width`."""
    total = Cost(0, 0)
    for layer in layers:
        total += layer_cost(layer, height, width)
        height, width = output_size(layer, height, width)
    return total
