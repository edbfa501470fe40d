"""Networks with published latencies, as chains of operations: 1,000 classes, batch 1.

Written from the papers: ResNet (arXiv:1512.03385, table 1), SqueezeNet (arXiv:1602.07360, table 1;
1.1 from its authors' release notes), MNASNet-B1 (arXiv:1807.11626), MobileNetV1 (arXiv:1704.04861,
table 1), V2 (arXiv:1801.04381, table 2), V3 (arXiv:1905.02244, tables 1 and 2).

    python benchmarks/latency/published_networks.py    # parameters and MACs of each
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from nas.latency.roofline import Operation, layer_operations
from nas.space.layers import (
    Activation,
    Conv,
    GlobalPool,
    Linear,
    SqueezeExcite,
    layer_cost,
    output_size,
)


@dataclass(frozen=True)
class PublishedNetwork:
    """One network: what it computes, and its parameters."""

    name: str
    family: str
    operations: tuple[Operation, ...]
    params: int

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers."""
        return sum(operation.macs for operation in self.operations)


@dataclass
class Builder:
    """A network under construction; `channels` and `size` are those of the last output."""

    size: int
    channels: int = 3
    params: int = 0
    operations: list[Operation] = field(default_factory=list)

    def conv(
        self,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation = "relu",
    ) -> None:
        layer = Conv("", self.channels, out, kernel, stride, groups, activation)
        self._append(layer)
        self.channels, self.size = out, output_size(layer, self.size, self.size)[0]

    def depthwise(self, kernel: int, stride: int, activation: Activation = "relu") -> None:
        self.conv(self.channels, kernel, stride, self.channels, activation)

    def squeeze_excite(self, squeeze: int) -> None:
        self._append(SqueezeExcite("", self.channels, squeeze, "hardsigmoid"))

    def linear(self, out: int, activation: Activation = "none") -> None:
        self._append(Linear("", self.channels, out, activation))
        self.channels = out

    def global_pool(self) -> None:
        self._append(GlobalPool("", self.channels))
        self.size = 1

    def max_pool(self, size: int) -> None:
        """3 x 3 max pooling with stride 2 to `size` x `size`; no layer of any search space."""
        elements = self.channels * (self.size**2 + size**2)
        self.operations.append(Operation("pool", 0, elements))
        self.size = size

    def add(self) -> None:
        self.operations.append(Operation("add", 0, 3 * self.channels * self.size**2))

    def biased(self) -> None:
        """The last convolution has a bias and no batch norm."""
        self.params -= self.channels

    def _append(self, layer: Conv | SqueezeExcite | GlobalPool | Linear) -> None:
        self.operations.extend(layer_operations(layer, self.size, self.size))
        self.params += layer_cost(layer, self.size, self.size).params


def _downsample(net: Builder, out: int, stride: int) -> None:
    """The projection of a residual block's input; leaves the builder at that input."""
    channels, size = net.channels, net.size
    net.conv(out, 1, stride, activation="none")
    net.channels, net.size = channels, size


def _basic(net: Builder, width: int, stride: int) -> None:
    if stride > 1:
        _downsample(net, width, stride)
    net.conv(width, 3, stride)
    net.conv(width, 3, activation="none")
    net.add()


def _bottleneck(net: Builder, width: int, stride: int) -> None:
    """The stride is in the 3 x 3 convolution, as in every library that published latencies."""
    if net.channels != 4 * width:
        _downsample(net, 4 * width, stride)
    net.conv(width)
    net.conv(width, 3, stride)
    net.conv(4 * width, activation="none")
    net.add()


def _resnet(
    block: Callable[[Builder, int, int], None], depths: tuple[int, ...], net: Builder
) -> None:
    net.conv(64, 7, 2)
    net.max_pool(-(-net.size // 2))
    for stage, depth in enumerate(depths):
        for index in range(depth):
            block(net, 64 * 2**stage, 2 if stage and not index else 1)
    net.global_pool()
    net.linear(1000)


def _fire(net: Builder, squeeze: int, expand: int) -> None:
    """Both expansions read the squeezed input; joining their outputs costs nothing."""
    net.conv(squeeze)
    net.biased()
    for kernel in (1, 3):
        net.conv(expand, kernel)
        net.biased()
        net.channels = squeeze
    net.channels = 2 * expand


# (squeeze, expand) of each fire module; an int is the size after a max pooling.
SQUEEZENET_1_0 = (
    *(54, (16, 64), (16, 64), (32, 128), 27, (32, 128), (48, 192), (48, 192), (64, 256)),
    *(13, (64, 256)),
)
SQUEEZENET_1_1 = (
    *(55, (16, 64), (16, 64), 27, (32, 128), (32, 128), 13, (48, 192), (48, 192)),
    *((64, 256), (64, 256)),
)


def _squeezenet(
    stem: tuple[int, int], size: int, plan: tuple[int | tuple[int, int], ...], net: Builder
) -> None:
    """The stem has no padding: its input is given as the part that the output covers."""
    if net.size != 224:
        raise ValueError(f"SqueezeNet's sizes are written down for 224 px, not {net.size}")
    net.size = 2 * size
    net.conv(stem[0], stem[1], 2)
    net.biased()
    for step in plan:
        if isinstance(step, int):
            net.max_pool(step)
        else:
            _fire(net, *step)
    net.conv(1000)
    net.biased()
    net.global_pool()


def _inverted(
    net: Builder,
    hidden: int,
    out: int,
    kernel: int,
    stride: int,
    squeeze: int = 0,
    activation: Activation = "relu",
) -> None:
    residual = stride == 1 and out == net.channels
    if hidden != net.channels:
        net.conv(hidden, activation=activation)
    net.depthwise(kernel, stride, activation)
    if squeeze:
        net.squeeze_excite(squeeze)
    net.conv(out, activation="none")
    if residual:
        net.add()


def _multiple_of_8(value: float, drop: float = 0.9) -> int:
    """Nearest multiple of 8, not below `drop` of the value (the papers' rounding)."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded if rounded >= drop * value else rounded + 8


def _mobilenet_v1(net: Builder) -> None:
    net.conv(32, 3, 2)
    widths = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    for index, out in enumerate(widths):
        net.depthwise(3, 2 if index in (1, 3, 5, 11) else 1)
        net.conv(out)
    net.global_pool()
    net.linear(1000)


# expansion, channels out, repeats, stride (table 2 of the paper)
MOBILENET_V2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)


def _mobilenet_v2(net: Builder) -> None:
    net.conv(32, 3, 2)
    for expansion, out, repeats, first_stride in MOBILENET_V2:
        for index in range(repeats):
            stride = 1 if index else first_stride
            _inverted(net, expansion * net.channels, out, 3, stride)
    net.conv(1280)
    net.global_pool()
    net.linear(1000)


# kernel, hidden channels, channels out, squeeze-and-excite, HardSwish, stride (tables 1 and 2)
MOBILENET_V3_LARGE = (
    *((3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2)),
    *((5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2)),
    *((3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)),
    *((3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2)),
    *((5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
)
MOBILENET_V3_SMALL = (
    *((3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2)),
    *((5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1)),
    *((5, 144, 48, 1, 1, 1), (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1)),
    (5, 576, 96, 1, 1, 1),
)


def _mobilenet_v3(plan: tuple[tuple[int, ...], ...], features: int, net: Builder) -> None:
    net.conv(16, 3, 2, activation="hardswish")
    for kernel, hidden, out, excite, hardswish, stride in plan:
        squeeze = _multiple_of_8(hidden // 4) if excite else 0
        _inverted(net, hidden, out, kernel, stride, squeeze, "hardswish" if hardswish else "relu")
    net.conv(plan[-1][1], activation="hardswish")
    net.global_pool()
    net.linear(features, "hardswish")
    net.linear(1000)


# kernel, stride, expansion, channels out, repeats (figure 7 of the paper, variant B1)
MNASNET = (
    *((3, 2, 3, 24, 3), (5, 2, 3, 40, 3), (5, 2, 6, 80, 3)),
    *((3, 1, 6, 96, 2), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)


def _mnasnet(multiplier: float, net: Builder) -> None:
    net.conv(_multiple_of_8(32 * multiplier), 3, 2)
    net.depthwise(3, 1)
    net.conv(_multiple_of_8(16 * multiplier), activation="none")
    for kernel, first_stride, expansion, width, repeats in MNASNET:
        for index in range(repeats):
            stride = 1 if index else first_stride
            out = _multiple_of_8(width * multiplier)
            _inverted(net, expansion * net.channels, out, kernel, stride)
    net.conv(1280)
    net.global_pool()
    net.linear(1000)


BUILDERS: dict[str, tuple[str, Callable[[Builder], None]]] = {
    "resnet18": ("resnet", partial(_resnet, _basic, (2, 2, 2, 2))),
    "resnet34": ("resnet", partial(_resnet, _basic, (3, 4, 6, 3))),
    "resnet50": ("resnet", partial(_resnet, _bottleneck, (3, 4, 6, 3))),
    "resnet101": ("resnet", partial(_resnet, _bottleneck, (3, 4, 23, 3))),
    "resnet152": ("resnet", partial(_resnet, _bottleneck, (3, 8, 36, 3))),
    "squeezenet1_0": ("squeezenet", partial(_squeezenet, (96, 7), 109, SQUEEZENET_1_0)),
    "squeezenet1_1": ("squeezenet", partial(_squeezenet, (64, 3), 111, SQUEEZENET_1_1)),
    "mnasnet0_5": ("mnasnet", partial(_mnasnet, 0.5)),
    "mnasnet0_75": ("mnasnet", partial(_mnasnet, 0.75)),
    "mnasnet1_0": ("mnasnet", partial(_mnasnet, 1.0)),
    "mnasnet1_3": ("mnasnet", partial(_mnasnet, 1.3)),
    "mobilenet_v1": ("mobilenetv1", _mobilenet_v1),
    "mobilenet_v2": ("mobilenetv2", _mobilenet_v2),
    "mobilenet_v3_large": ("mobilenetv3", partial(_mobilenet_v3, MOBILENET_V3_LARGE, 1280)),
    "mobilenet_v3_small": ("mobilenetv3", partial(_mobilenet_v3, MOBILENET_V3_SMALL, 1024)),
}


def published_network(name: str, input_size: int = 224) -> PublishedNetwork:
    """The network that a latency was published for."""
    family, build = BUILDERS[name]
    net = Builder(input_size)
    build(net)
    return PublishedNetwork(name, family, tuple(net.operations), net.params)


if __name__ == "__main__":
    for name in BUILDERS:
        network = published_network(name)
        print(f"{name:20} {network.params:>11,} params {network.macs:>15,} MACs")
