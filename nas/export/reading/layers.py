"""From nodes to layers: what exporters write in several nodes becomes one step again.

Covers torch's two exporters, files written by `nas export`, and the usual ways to write the same by
hand: batch norm folded or not, HardSwish and HardSigmoid as one operator or as `Clip(x + 3, 0, 6) /
6`, means as pooling or reduction, linear layers as Gemm or MatMul and Add.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

from onnx import TensorProto

from nas.export.reading.file import Constant
from nas.export.reading.flow import Flow, Step
from nas.latency.roofline import Operation, layer_operations
from nas.space.layers import (
    Activation,
    Conv,
    Gate,
    GlobalPool,
    Linear,
    MaxPool,
    SqueezeExcite,
    layer_cost,
    output_size,
)

ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": "relu",
    "relu6": "relu6",
    "hardswish": "hardswish",
    "silu": "silu",
}
GATES: Mapping[str, Gate] = {"hardsigmoid": "hardsigmoid", "Sigmoid": "sigmoid"}
UNCOUNTED = {
    "Attention", "ConvInteger", "ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM",
    "Loop", "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan",
}  # fmt: skip
"""Operators that multiply and add, but whose MACs are not worked out here."""


def find_layers(flow: Flow) -> None:
    """Replace the nodes of each layer by one step that has the layer."""
    for rule in RULES:
        for step in flow:
            rule(flow, step)


def _clip(flow: Flow, step: Step) -> None:
    low, high = (_limit(step, name, index) for name, index in (("min", 1), ("max", 2)))
    if step.op == "Clip" and _near(low, 0) and _near(high, 6):
        step.op = "relu6"


def _hardsigmoid(flow: Flow, step: Step) -> None:
    if step.op == "HardSigmoid":
        alpha, beta = step.attributes.get("alpha", 0.2), step.attributes.get("beta", 0.5)
        if _near(alpha, 1 / 6) and _near(beta, 0.5):
            step.op = "hardsigmoid"
        return
    shifted = _shifted(flow, step)
    sixth = flow.only_user(step.output) if shifted else None
    if shifted is not None and sixth is not None and _is_sixth(sixth):
        _merge(flow, [shifted, step, sixth], "hardsigmoid")


def _hardswish(flow: Flow, step: Step) -> None:
    """`x * hardsigmoid(x)`, or `x * relu6(x + 3) / 6`."""
    if step.op == "HardSwish":
        step.op = "hardswish"
    if step.op == "hardsigmoid":
        product = flow.only_user(step.output)
        if product is not None and _multiplies(product, step.inputs[0], step.output):
            _merge(flow, [step, product], "hardswish")
        return
    shifted = _shifted(flow, step)
    product = flow.only_user(step.output) if shifted else None
    if shifted is None or product is None:
        return
    sixth = flow.only_user(product.output)
    if (
        sixth is not None
        and _multiplies(product, shifted.inputs[0], step.output)
        and _is_sixth(sixth)
    ):
        _merge(flow, [shifted, step, product, sixth], "hardswish")


def _silu(flow: Flow, step: Step) -> None:
    """`x * sigmoid(x)`."""
    product = flow.only_user(step.output) if step.op == "Sigmoid" else None
    if product is not None and _multiplies(product, step.inputs[0], step.output):
        _merge(flow, [step, product], "silu")


def _max_pool(flow: Flow, step: Step) -> None:
    """Square windows, padded to the usual output size."""
    window, strides = (step.attributes.get(name, [1]) for name in ("kernel_shape", "strides"))
    shape = flow.shape(step.inputs[0]) if step.inputs else ()
    if step.op != "MaxPool" or len(shape) != 4 or len(step.outputs) != 1:
        return
    if (
        len({*window}) != 1
        or len({*strides}) != 1
        or {*step.attributes.get("dilations", [1])} != {1}
    ):
        return
    layer = MaxPool("", shape[1], window[0], strides[0])
    usual = (1, shape[1], *output_size(layer, *shape[2:]))
    if window[0] % 2 and flow.shape(step.output) == usual:
        operations = layer_operations(layer, *shape[2:])
        flow.replace([step], dataclasses.replace(step, layer=layer, operations=operations))


def _global_pool(flow: Flow, step: Step) -> None:
    shape = flow.shape(step.inputs[0]) if step.inputs else ()
    if len(shape) != 4 or not _averages_all(flow, step, shape):
        return
    channels = shape[1]
    pool = dataclasses.replace(step, op="pool", layer=GlobalPool("", channels))
    steps = [step]
    flat = flow.only_user(step.output)
    while flat is not None and _flattens(flow, flat, channels):
        steps.append(flat)
        flat = flow.only_user(flat.output)
    pool.outputs = steps[-1].outputs[:1]
    pool.operations = layer_operations(GlobalPool("", channels), shape[2], shape[3])
    flow.replace(steps, pool)


def _linear(flow: Flow, step: Step) -> None:
    """Gemm, or MatMul and the addition of a bias."""
    weight, shape = step.constants.get(1), flow.shape(step.inputs[0]) if step.inputs else ()
    if step.op not in ("Gemm", "MatMul") or len(step.inputs) != 1:
        return
    if weight is None or weight.dims is None or len(weight.dims) != 2 or len(shape) != 2:
        return
    outputs, inputs = weight.dims if step.attributes.get("transB") else weight.dims[::-1]
    if step.attributes.get("transA") or shape != (1, inputs) or weight.type != TensorProto.FLOAT:
        return
    bias = flow.only_user(step.output) if step.op == "MatMul" else None
    steps = [step, bias] if bias is not None and _adds(bias, outputs) else [step]
    _put_layer(flow, steps, Linear("", shape[1], outputs, "none"), (1, 1))


def _convolution(flow: Flow, step: Step) -> None:
    """Conv with the batch norm or bias that comes after it."""
    layer = _conv_layer(flow, step) if step.op == "Conv" else None
    if layer is None:
        return
    steps = [step]
    while (after := flow.only_user(steps[-1].output)) is not None:
        norm = after.op == "BatchNormalization" and len(after.inputs) == 1
        if not norm and not _adds(after, layer.out_channels):
            break
        steps.append(after)
    height, width = flow.shape(step.inputs[0])[2:]
    _put_layer(flow, steps, layer, (height, width))


def _activate(flow: Flow, step: Step) -> None:
    """Give a layer, or a sum of two values, the activation after it."""
    after = flow.only_user(step.output)
    activation = ACTIVATIONS.get(after.op) if after is not None else None
    if after is None or activation is None:
        return
    if isinstance(step.layer, Conv | Linear):
        layer = dataclasses.replace(step.layer, activation=activation)
        shape = flow.shape(step.inputs[0])
        _put_layer(flow, [step, after], layer, (shape[2:] or (1, 1)))
    elif step.op == "Add" and len(step.inputs) == 2 and activation not in ("hardswish", "silu"):
        both = f"Add and {after.op}"
        flow.replace([step, after], dataclasses.replace(step, op=both, outputs=after.outputs))


def _squeeze_excite(flow: Flow, step: Step) -> None:
    """Pooling, two layers and a gate whose product with the input is taken."""
    chain, value = [step], step.output
    if not isinstance(step.layer, GlobalPool):
        return
    while (after := flow.only_user(value)) is not None and after.op != "Mul":
        if not (_is_gate(after) or _is_inner(after) or after.op in ("Reshape", "Unsqueeze")):
            return
        chain.append(after)
        value = after.output
    source = step.inputs[0]
    if after is None or not _multiplies(after, source, value):
        return
    inner = [s.layer for s in chain if isinstance(s.layer, Conv | Linear)]
    gates = [s.op for s in chain if _is_gate(s)]
    if len(inner) != 2 or len(gates) != 1 or inner[1].activation != "none":
        return
    squeeze = inner[0].out_channels if isinstance(inner[0], Conv) else inner[0].out_features
    gate = GATES.get(gates[0], "hardsigmoid")
    layer = SqueezeExcite("", step.layer.channels, squeeze, gate, inner[0].activation)
    steps, shape = [*chain, after], flow.shape(source)
    _put_layer(flow, steps, layer, (shape[2], shape[3]))
    made = flow.steps[after.output]
    made.op = "squeeze-and-excite"
    if gates[0] not in GATES:
        made.op, made.layer = f"squeeze-and-excite, {gates[0]} gate", None


def _count(flow: Flow, step: Step) -> None:
    """MACs and roofline operations of the steps that are no layer."""
    if step.layer is not None or step.operations:
        return
    shapes = [flow.shape(value) for value in (*step.inputs, step.output)]
    elements = sum(map(math.prod, shapes)) if all(shapes) else 0
    if step.op in ("MaxPool", "AveragePool") and elements:
        step.operations = (Operation("pool", 0, elements),)
    elif step.op.startswith("Add") and len(step.inputs) == 2 and elements:
        step.operations = (Operation("add", 0, elements),)
    elif step.op in ("Conv", "Gemm", "MatMul"):
        step.macs = _product_macs(flow, step)
    elif step.op in UNCOUNTED or "." in step.op:
        step.macs = None


RULES: tuple[Callable[[Flow, Step], None], ...] = (
    _clip,
    _hardsigmoid,
    _hardswish,
    _silu,
    _max_pool,
    _global_pool,
    _linear,
    _convolution,
    _activate,
    _squeeze_excite,
    _count,
)


def _merge(flow: Flow, steps: list[Step], op: str) -> None:
    first, last = steps[0], steps[-1]
    flow.replace(steps, Step(op, last.name, first.inputs, last.outputs))


def _put_layer(
    flow: Flow, steps: list[Step], layer: Conv | Linear | SqueezeExcite, size: tuple[int, ...]
) -> None:
    height, width = size
    made = dataclasses.replace(
        steps[0],
        outputs=steps[-1].outputs,
        layer=layer,
        macs=layer_cost(layer, height, width).macs,
        operations=layer_operations(layer, height, width),
    )
    flow.replace(steps, made)


def _conv_layer(flow: Flow, step: Step) -> Conv | None:
    """The layer of a Conv, if it is square, not dilated and padded to the usual output size."""
    weight, shape = step.constants.get(1), flow.shape(step.inputs[0]) if step.inputs else ()
    if weight is None or weight.dims is None or weight.type != TensorProto.FLOAT:
        return None
    if len(step.inputs) != 1 or len(shape) != 4 or len(weight.dims) != 4 or min(weight.dims) < 1:
        return None
    strides = set(step.attributes.get("strides", [1]))
    kernel, groups = weight.dims[2], step.attributes.get("group", 1)
    square = weight.dims[3] == kernel and len(strides) == 1 and min(strides) > 0
    if not square or set(step.attributes.get("dilations", [1])) != {1}:
        return None
    if weight.dims[1] * groups != shape[1] or weight.dims[0] % groups:
        return None  # the checker lets it pass; no runtime will
    layer = Conv("", shape[1], weight.dims[0], kernel, strides.pop(), groups, "none")
    usual = (1, layer.out_channels, *output_size(layer, *shape[2:]))
    return layer if flow.shape(step.output) == usual else None


def _averages_all(flow: Flow, step: Step, shape: tuple[int, ...]) -> bool:
    """Whether a step is the mean over height and width."""
    if step.op == "ReduceMean":
        listed = step.attributes.get("axes")
        constant = step.constants.get(1)
        if listed is None and constant is not None and constant.values is not None:
            listed = constant.values.reshape(-1).tolist()
        return sorted(int(axis) % 4 for axis in listed or ()) == [2, 3]
    if step.op == "AveragePool":
        whole = tuple(step.attributes.get("kernel_shape", ())) == shape[2:]
        return whole and not any(step.attributes.get("pads", ()))
    return step.op == "GlobalAveragePool"


def _flattens(flow: Flow, step: Step, channels: int) -> bool:
    flat = flow.shape(step.output) == (1, channels)
    return flat and step.op in ("Flatten", "Reshape", "Squeeze")


def _product_macs(flow: Flow, step: Step) -> int | None:
    """Multiply-adds of a Conv, Gemm or MatMul that is no layer: outputs times what each sums."""
    outputs, inputs = flow.shape(step.output), [flow.shape(value) for value in step.inputs]
    weight = step.constants.get(1)
    if not outputs or not all(inputs):
        return None
    if step.op == "Conv":
        dims = weight.dims if weight is not None else inputs[1] if len(inputs) > 1 else None
        return math.prod(outputs) * math.prod(dims[1:]) if dims else None
    left = step.constants.get(0)
    dims = left.dims if left is not None else inputs[0]
    axis = 0 if step.attributes.get("transA") else -1
    return math.prod(outputs) * dims[axis] if dims else None


def _limit(step: Step, name: str, index: int) -> float | None:
    """A limit of Clip: an attribute before opset 11, an input since."""
    if name in step.attributes:
        return float(step.attributes[name])
    return _number(step.constants.get(index))


def _number(constant: Constant | None) -> float | None:
    if constant is None or constant.values is None or constant.values.size != 1:
        return None
    return float(constant.values.reshape(-1)[0])


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and math.isclose(value, wanted, rel_tol=1e-3, abs_tol=1e-6)


def _shifted(flow: Flow, step: Step) -> Step | None:
    """The `x + 3` before a relu6, where nothing else reads it."""
    if step.op != "relu6":
        return None
    before = flow.steps.get(step.inputs[0])
    if before is None or before.op != "Add" or flow.only_user(before.output) is not step:
        return None
    numbers = [_number(constant) for constant in before.constants.values()]
    return before if len(numbers) == 1 and _near(numbers[0], 3) else None


def _is_sixth(step: Step) -> bool:
    """`x / 6` or `x * (1 / 6)`."""
    if step.op == "Div":
        return _near(_number(step.constants.get(1)), 6)
    numbers = [_number(constant) for constant in step.constants.values()]
    return step.op == "Mul" and len(numbers) == 1 and _near(numbers[0], 1 / 6)


def _multiplies(step: Step, a: str, b: str) -> bool:
    return step.op == "Mul" and sorted(step.inputs) == sorted((a, b))


def _adds(step: Step, channels: int) -> bool:
    """Whether a step adds one constant for each channel."""
    constants = list(step.constants.values())
    if step.op != "Add" or len(step.inputs) != 1 or len(constants) != 1:
        return False
    return constants[0].dims is not None and math.prod(constants[0].dims) == channels


def _is_gate(step: Step) -> bool:
    return step.op in ("hardsigmoid", "HardSigmoid", "Sigmoid")


def _is_inner(step: Step) -> bool:
    layer = step.layer
    if isinstance(layer, Conv):
        return layer.kernel == layer.groups == 1
    return isinstance(layer, Linear)
