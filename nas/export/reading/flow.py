"""The computation of a model as steps between values, without what costs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nas.export.reading.file import Constant, read_constant
from nas.latency.roofline import Operation
from nas.space.layers import Layer

Shape = tuple[int, ...]


@dataclass(eq=False)
class Step:
    """One or several nodes that do one thing.

    Attributes:
        op: The ONNX operator, or what was made of several nodes (in lower case).
        name: Of the node, for messages.
        inputs: Values that are computed while the model runs.
        outputs: Values that it computes.
        constants: The inputs that are known before, by their position.
        attributes: Of the node.
        layer: What the step is, if it is a layer that blocks are made of.
        macs: Multiply-adds; `None` where they are not known.
        operations: What a roofline knows it as; empty where it knows nothing.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[int, Constant] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    layer: Layer | None = None
    macs: int | None = 0
    operations: tuple[Operation, ...] = ()

    @property
    def output(self) -> str:
        """The first value that it computes."""
        return self.outputs[0]


@dataclass
class Flow:
    """Steps in an order in which they can run.

    Attributes:
        image: The value that comes from outside.
        results: The values that leave the model.
        shapes: Sizes of values, where they are known.
        steps: By their first output.
    """

    image: str
    results: frozenset[str]
    shapes: Mapping[str, Shape]
    steps: dict[str, Step] = field(default_factory=dict)
    _users: dict[str, list[Step]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Step]:
        """Steps that are there now; they may be replaced meanwhile."""
        for step in list(self.steps.values()):
            if self.steps.get(step.output) is step:
                yield step

    def shape(self, value: str) -> Shape:
        """Size of a value; empty where it is not known."""
        return self.shapes.get(value, ())

    def add(self, step: Step) -> None:
        """Append a step."""
        self.steps[step.output] = step
        for value in step.inputs:
            self._users.setdefault(value, []).append(step)

    def users(self, value: str) -> list[Step]:
        """The steps that read a value."""
        return self._users.get(value, [])

    def only_user(self, value: str) -> Step | None:
        """The step that reads a value, if there is one and nothing else needs the value."""
        users = self.users(value)
        return users[0] if len(users) == 1 and value not in self.results else None

    def replace(self, old: Sequence[Step], new: Step) -> None:
        """Put `new` in the place of the last of `old`, whose output it has."""
        for step in old:
            for value in step.inputs:
                self._users[value].remove(step)
            if step.output != new.output:
                del self.steps[step.output]
        self.steps[new.output] = new
        for value in new.inputs:
            self._users.setdefault(value, []).append(new)


def build_flow(model: onnx.ModelProto, constants: Mapping[str, Constant], image: str) -> Flow:
    """The steps of a checked model whose sizes are inferred.

    Identities and what depends on constants and sizes alone are left out: runtimes work them out
    before the first image.
    """
    values = {v.name: v for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    shapes = {name: shape for name, value in values.items() if (shape := _shape(value))}
    known, same = dict(constants), dict[str, str]()
    results = {output.name for output in model.graph.output}
    steps = []
    for node in model.graph.node:
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "Constant" and _standard(node):
            known[node.output[0]] = _constant(node)
        elif _does_nothing(node, inputs, known):
            same[node.output[0]] = inputs[0]
            if inputs[0] in known:
                known[node.output[0]] = known[inputs[0]]
        elif _is_static(node, inputs, known):
            known |= {name: _known_later(node, values.get(name)) for name in node.output}
        elif any(node.output):
            steps.append(_step(node, inputs, known))
    flow = Flow(image, frozenset(same.get(name, name) for name in results), shapes)
    for step in steps:
        flow.add(step)
    return flow


def _step(node: onnx.NodeProto, inputs: Sequence[str], known: Mapping[str, Constant]) -> Step:
    attributes = {
        a.name: helper.get_attribute_value(a)
        for a in node.attribute
        if a.type in (a.FLOAT, a.INT, a.STRING, a.FLOATS, a.INTS)
    }
    return Step(
        node.op_type if _standard(node) else f"{node.domain}.{node.op_type}",
        node.name or node.output[0],
        tuple(name for name in inputs if name and name not in known),
        tuple(name for name in node.output if name),
        {i: known[name] for i, name in enumerate(inputs) if name in known},
        attributes,
    )


def _standard(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx")


def _constant(node: onnx.NodeProto) -> Constant:
    attribute = node.attribute[0]
    if attribute.name == "value":
        return read_constant(attribute.t)
    try:
        value = helper.get_attribute_value(attribute)
        return read_constant(numpy_helper.from_array(np.asarray(value)))
    except (ValueError, TypeError, KeyError):
        return Constant(None, 0)


def _does_nothing(
    node: onnx.NodeProto, inputs: Sequence[str], known: Mapping[str, Constant]
) -> bool:
    if not _standard(node) or node.op_type not in ("Identity", "Dropout"):
        return False
    training = known.get(inputs[2]) if len(inputs) > 2 and inputs[2] else None
    return training is None or training.values is None or not training.values.any()


def _is_static(node: onnx.NodeProto, inputs: Sequence[str], known: Mapping[str, Constant]) -> bool:
    """Whether its outputs are known before the first image; sizes of values are."""
    if not _standard(node) or any(a.HasField("g") or a.graphs for a in node.attribute):
        return False
    if node.op_type in ("Shape", "Size"):
        return True
    return any(inputs) and all(not name or name in known for name in inputs)


def _known_later(node: onnx.NodeProto, value: onnx.ValueInfoProto | None) -> Constant:
    if value is None:
        return Constant(None, 0)
    # What was quantised is not computed with as the floats that it is read as.
    quantised = node.op_type == "DequantizeLinear"
    return Constant(_shape(value) or None, 0 if quantised else value.type.tensor_type.elem_type)


def _shape(value: onnx.ValueInfoProto) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.dim_value > 0 for d in dims) else ()
