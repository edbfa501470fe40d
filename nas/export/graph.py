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

from nas.space.blocks import Block
from nas.space.layers import Conv, GlobalPool, Layer, Linear, Residual, SqueezeExcite

INPUT, OUTPUT = "image", "logits"

Weights = Callable[[str, Layer], Sequence[np.ndarray]]
"""Weight and bias arrays (float32) of a layer, given its place such as `stage2.block1` and itself:
Conv `[O x I/g x k x k, O]` with batch norm folded in, Linear `[O x I, O]`, SqueezeExcite both
convolutions in turn."""


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
    """Nodes and initialisers as they are added; `value` is the name of the last output."""

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

    def constant(self, array: np.ndarray, name: str) -> str:
        full = f"{self.place}/{name}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), full))
        return full


def build_graph(
    blocks: Sequence[tuple[str, Block]],
    weights: Weights,
    target: GraphTarget,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """An ONNX model that runs `blocks` in turn on a `1 x C x H x W` float32 input."""
    graph = _Graph(weights, target)
    for place, block in blocks:
        graph.place = place
        for layer in block.layers:
            _add_layer(graph, layer)
    graph.nodes[-1].output[0] = OUTPUT
    first, last = blocks[0][1], blocks[-1][1]
    shape = [1, first.in_channels, first.height, first.width]
    out_shape = [1, last.out_channels]
    if last.op != "classifier":
        out_shape += list(last.output_size)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, out_shape)],
            graph.initialisers,
        ),
        opset_imports=[helper.make_opsetid("", target.opset)],
        ir_version=target.ir_version,
        producer_name="nas",
    )
    helper.set_model_props(model, metadata or {})
    return model


def _add_layer(graph: _Graph, layer: Layer) -> None:
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
        case Residual():
            start = graph.value
            for inner in layer.body:
                _add_layer(graph, inner)
            graph.node("Add", [graph.value, start], "add")


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
    _activate(graph, f"{name}.reduce", "relu")
    _conv(graph, f"{name}.expand", expand_weight, expand_bias)
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
