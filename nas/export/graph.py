"""The ONNX graph of a chain of blocks, written node by node with batch norm folded in.

Bench models and exported models come from this one builder, so what is measured is what is
shipped. Graphs are static: batch 1, fixed size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nas.space.architecture import Network, Placed
from nas.space.layers import (
    Branches,
    Conv,
    GlobalPool,
    Layer,
    Linear,
    MaxPool,
    Residual,
    SqueezeExcite,
    output_channels,
    output_size,
)

INPUT, OUTPUT = "image", "logits"
FEATURES, ENTERING = "features", "features_before"
"""What a file of a network with exits gives beside its logits, and the next one takes."""

Shape = tuple[int, int, int]
"""Channels, height and width."""
Weights = Callable[[str, Layer], Sequence[np.ndarray]]
"""Weight and bias arrays (float32) of a layer, given its place such as `stage2.block1` and itself:
Conv `[O x I/g x k x k, O]` with batch norm folded in, if any, Linear `[O x I, O]`, SqueezeExcite
both convolutions in turn."""


@dataclass(frozen=True)
class GraphTarget:
    """What a runtime accepts.

    Attributes:
        opset: Version of the standard operators.
        ir_version: Version of the file format.
        hardswish: Whether the HardSwish operator may be used; otherwise it is written as
            HardSigmoid and Mul.
    """

    opset: int = 17
    ir_version: int = 8
    hardswish: bool = True


@dataclass
class _Graph:
    """Nodes and initialisers as they are added.

    Attributes:
        value: Name of the last output.
        place: Of the block that is being added.
    """

    weights: Weights
    target: GraphTarget
    value: str = INPUT
    place: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initialisers: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        full = f"{self.place}/{name}"
        self.nodes.append(helper.make_node(op, inputs, [full], name=full, **attributes))
        self.value = full
        return full

    def split(self, shares: list[int], name: str) -> list[str]:
        """The last output in parts, by channels."""
        full = f"{self.place}/{name}"
        parts = [f"{full}.{index}" for index in range(1, len(shares) + 1)]
        sizes = self.constant(np.array(shares, np.int64), f"{name}.sizes")
        self.nodes.append(helper.make_node("Split", [self.value, sizes], parts, name=full, axis=1))
        return parts

    def reshape(self, shape: tuple[int, ...], name: str) -> None:
        """The last output in another shape."""
        wanted = self.constant(np.array(shape, np.int64), f"{name}.shape")
        self.node("Reshape", [self.value, wanted], name)

    def constant(self, array: np.ndarray, name: str) -> str:
        full = f"{self.place}/{name}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), full))
        return full


def build_graph(
    blocks: Sequence[Placed],
    weights: Weights,
    target: GraphTarget,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """An ONNX model that runs `blocks` in turn on a `1 x C x H x W` float32 input."""
    graph = _Graph(weights, target)
    _add_chain(graph, blocks)
    graph.nodes[-1].output[0] = OUTPUT
    return _model(graph, _entering(INPUT, blocks[0]), [_leaving(OUTPUT, blocks[-1])], metadata)


def build_segments(
    network: Network,
    weights: Weights,
    target: GraphTarget,
    metadata: dict[str, str] | None = None,
) -> list[onnx.ModelProto]:
    """An ONNX model for each segment of a network; one without exits has one.

    The first takes the image, the others the features that the one before gave beside its logits.
    """
    *before, last = network.segments
    models, start = [], INPUT
    for segment in before:
        graph = _Graph(weights, target, value=start)
        _add_chain(graph, segment.trunk)
        graph.nodes[-1].output[0] = graph.value = FEATURES
        _add_chain(graph, [segment.exit])
        graph.nodes[-1].output[0] = OUTPUT
        leaving = [_leaving(OUTPUT, segment.exit), _leaving(FEATURES, segment.trunk[-1])]
        models.append(_model(graph, _entering(start, segment.trunk[0]), leaving, metadata))
        start = ENTERING
    graph = _Graph(weights, target, value=start)
    chain = [*last.trunk, last.exit]
    _add_chain(graph, chain)
    graph.nodes[-1].output[0] = OUTPUT
    entering, leaving = _entering(start, chain[0]), [_leaving(OUTPUT, chain[-1])]
    return [*models, _model(graph, entering, leaving, metadata)]


def _add_chain(graph: _Graph, blocks: Sequence[Placed]) -> None:
    for place, block in blocks:
        graph.place = place
        shape = block.in_channels, block.height, block.width
        _add_layers(graph, block.layers, graph.value, shape)


def _entering(name: str, first: Placed) -> onnx.ValueInfoProto:
    block = first[1]
    shape = [1, block.in_channels, block.height, block.width]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _leaving(name: str, last: Placed) -> onnx.ValueInfoProto:
    block = last[1]
    size = [] if block.op == "classifier" else list(block.output_size)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, block.out_channels, *size])


def _model(
    graph: _Graph,
    entering: onnx.ValueInfoProto,
    leaving: Sequence[onnx.ValueInfoProto],
    metadata: dict[str, str] | None,
) -> onnx.ModelProto:
    target = graph.target
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [entering], leaving, graph.initialisers),
        opset_imports=[helper.make_opsetid("", target.opset)],
        ir_version=target.ir_version,
        producer_name="nas",
    )
    helper.set_model_props(model, metadata or {})
    return model


def _add_layers(graph: _Graph, layers: Sequence[Layer], start: str, shape: Shape) -> str:
    """A chain of layers on the value `start`; the name of its output."""
    graph.value = start
    for layer in layers:
        _add_layer(graph, layer, shape)
        shape = _output_shape(layer, shape)
    return graph.value


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    channels, height, width = shape
    return output_channels(layer, channels), *output_size(layer, height, width)


def _add_layer(graph: _Graph, layer: Layer, shape: Shape) -> None:
    match layer:
        case Conv():
            weight, bias = graph.weights(graph.place, layer)
            pad = layer.kernel // 2
            _conv(graph, layer.name, weight, bias, layer.stride, pad, layer.groups)
            _activate(graph, layer.name, layer.activation)
        case SqueezeExcite():
            _squeeze_excite(graph, layer)
        case GlobalPool():
            graph.node("GlobalAveragePool", [graph.value], layer.name)
            graph.node("Flatten", [graph.value], f"{layer.name}.flat", axis=1)
        case Linear():
            weight, bias = graph.weights(graph.place, layer)
            name = layer.name
            inputs = [
                graph.constant(weight, f"{name}.weight"),
                graph.constant(bias, f"{name}.bias"),
            ]
            graph.node("Gemm", [graph.value, *inputs], name, transB=1)
            _activate(graph, name, layer.activation)
        case MaxPool():
            window = {"kernel_shape": [layer.kernel] * 2, "pads": [layer.kernel // 2] * 4}
            graph.node("MaxPool", [graph.value], layer.name, strides=[layer.stride] * 2, **window)
        case Residual():
            start = graph.value
            body = _add_layers(graph, layer.body, start, shape)
            graph.node("Add", [body, _add_layers(graph, layer.shortcut, start, shape)], "add")
            _activate(graph, "add", layer.activation)
        case Branches():
            _branches(graph, layer, shape)


def _branches(graph: _Graph, layer: Branches, shape: Shape) -> None:
    number, name = len(layer.branches), layer.name
    starts = [graph.value] * number
    joined, height, width = _output_shape(layer, shape)
    if layer.split:
        shape = shape[0] // number, *shape[1:]
        starts = graph.split([shape[0]] * number, f"{name}.split")
    pairs = zip(layer.branches, starts, strict=True)
    graph.node("Concat", [_add_layers(graph, *pair, shape) for pair in pairs], name, axis=1)
    if layer.shuffle:
        graph.reshape((1, number, joined // number, height, width), f"{name}.fold")
        graph.node("Transpose", [graph.value], f"{name}.shuffle", perm=[0, 2, 1, 3, 4])
        graph.reshape((1, joined, height, width), f"{name}.unfold")


def _conv(
    graph: _Graph,
    name: str,
    weight: np.ndarray,
    bias: np.ndarray,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
) -> None:
    inputs = [graph.constant(weight, f"{name}.weight"), graph.constant(bias, f"{name}.bias")]
    graph.node(
        "Conv",
        [graph.value, *inputs],
        name,
        kernel_shape=list(weight.shape[2:]),
        strides=[stride, stride],
        pads=[pad] * 4,
        group=groups,
    )


def _squeeze_excite(graph: _Graph, layer: SqueezeExcite) -> None:
    start, name = graph.value, layer.name
    reduce_weight, reduce_bias, expand_weight, expand_bias = graph.weights(graph.place, layer)
    graph.node("GlobalAveragePool", [start], f"{name}.pool")
    _conv(graph, f"{name}.reduce", reduce_weight, reduce_bias)
    _activate(graph, f"{name}.reduce", layer.activation)
    _conv(graph, f"{name}.expand", expand_weight, expand_bias)
    if layer.gate == "sigmoid":
        graph.node("Sigmoid", [graph.value], f"{name}.gate")
    else:
        graph.node("HardSigmoid", [graph.value], f"{name}.gate", alpha=1 / 6, beta=0.5)
    graph.node("Mul", [start, graph.value], name)


def _activate(graph: _Graph, name: str, activation: str) -> None:
    start = graph.value
    if activation == "relu":
        graph.node("Relu", [start], f"{name}.relu")
    elif activation == "relu6":
        low = graph.constant(np.float32(0), f"{name}.low")
        high = graph.constant(np.float32(6), f"{name}.high")
        graph.node("Clip", [start, low, high], f"{name}.relu6")
    elif activation == "hardswish" and graph.target.hardswish and graph.target.opset >= 14:
        graph.node("HardSwish", [start], f"{name}.hardswish")
    elif activation == "hardswish":
        graph.node("HardSigmoid", [start], f"{name}.hardsigmoid", alpha=1 / 6, beta=0.5)
        graph.node("Mul", [start, graph.value], f"{name}.hardswish")
    elif activation == "silu":
        graph.node("Sigmoid", [start], f"{name}.sigmoid")
        graph.node("Mul", [start, graph.value], f"{name}.silu")


POOL = 4093
"""A prime number of values: rows of a matrix differ, and yet a file of them packs small."""


def random_weights(seed: int) -> Weights:
    """Weights for bench models: scaled so that activations stay in a normal range.

    Every tensor is cut from one pool of random numbers, which costs a copy instead of a draw.
    """
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(POOL, dtype=np.float32)

    def draw(scale: float, *shape: int) -> np.ndarray:
        size, start = int(np.prod(shape)), int(rng.integers(POOL))
        values = np.resize(np.roll(pool, -start), size)
        return np.asarray(values.reshape(shape) * np.float32(scale))

    def linear(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        fan_in = int(np.prod(shape[1:]))
        return draw(np.sqrt(2 / fan_in), *shape), draw(0.1, shape[0])

    def weights(place: str, layer: Layer) -> Sequence[np.ndarray]:
        match layer:
            case Conv():
                inner, kernel = layer.in_channels // layer.groups, layer.kernel
                return linear(layer.out_channels, inner, kernel, kernel)
            case Linear():
                return linear(layer.out_features, layer.in_features)
            case SqueezeExcite():
                c, s = layer.channels, layer.squeeze
                return (*linear(s, c, 1, 1), *linear(c, s, 1, 1))
        return ()

    return weights
