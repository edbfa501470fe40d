"""Opening an ONNX file with care: its writer is not trusted, and its weights are not needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from nas.errors import ModelFileError

LARGEST_FILE = 1 << 29
MOST_NODES = 100_000
LARGEST_SIDE = 1 << 13
MOST_VALUES = 64
"""Constants up to this many numbers are read: limits, axes, shapes. Of weights only the sizes."""


@dataclass(frozen=True)
class Constant:
    """A value that is known before the model runs.

    Attributes:
        dims: Its size, `None` where it is not known.
        type: A `TensorProto.DataType`; 0 where it is not known.
        values: The numbers, where they are few.
    """

    dims: tuple[int, ...] | None
    type: int
    values: np.ndarray | None = None


@dataclass(frozen=True)
class ModelFile:
    """A checked model whose sizes are inferred, without its weights.

    Attributes:
        model: The graph; weights have become inputs.
        constants: Every weight and constant of the graph by name.
        image: Name of the one input.
        size: Height and width of the input, pixels.
        notes: What was assumed.
    """

    model: onnx.ModelProto
    constants: Mapping[str, Constant]
    image: str
    size: tuple[int, int]
    notes: tuple[str, ...]


def load_model(path: Path) -> ModelFile:
    """Read, check and infer the sizes of a model with one image input.

    Raises:
        ModelFileError: Anything that the file is not.
    """
    model = _parse(path)
    _check_names(model, path)
    _check_places(model, path)
    constants = _take_weights(model)
    image = _image_input(model, constants, path)
    notes = _fix_batch(image, path)
    dims = [d.dim_value for d in image.type.tensor_type.shape.dim]
    return ModelFile(_infer(model, path), constants, image.name, (dims[2], dims[3]), notes)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise ModelFileError(f"{path} is not a file", do="the path of a .onnx file")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelFileError(
                f"{path} is too large to be read",
                got=f"{size / 2**20:.0f} MiB",
                allowed=f"at most {LARGEST_FILE >> 20} MiB",
                do="save the model with its weights as external data; only sizes are needed",
            )
        model: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as cause:
        raise ModelFileError(f"{path} cannot be read: {cause.strerror}") from cause
    except DecodeError as cause:
        raise ModelFileError(
            f"{path} is not an ONNX model, or it is cut off", do="export the model again"
        ) from cause
    if not model.ir_version or not model.graph.node:
        raise ModelFileError(
            f"{path} is not an ONNX model: it has no graph", do="export the model again"
        )
    if len(model.graph.node) > MOST_NODES:
        raise ModelFileError(
            f"{path} has too many nodes",
            got=len(model.graph.node),
            allowed=f"at most {MOST_NODES}",
            do="a model for an edge device",
        )
    if model.functions:
        raise ModelFileError(
            f"{path} calls functions of its own, which are not read",
            got=model.functions[0].name or "one without a name",
            do="inline them with onnx.inliner.inline_local_functions, then save the model",
        )
    return model


def _check_names(model: onnx.ModelProto, path: Path) -> None:
    """Names that are not UTF-8 come as bytes, which nothing after this expects."""
    graph = model.graph
    names: list[object] = [text for n in graph.node for text in (n.name, n.op_type, n.domain)]
    names += [name for node in graph.node for name in (*node.input, *node.output)]
    names += [a.name for node in graph.node for a in node.attribute]
    names += [value.name for value in (*graph.initializer, *graph.input, *graph.output)]
    names += [d.dim_param for v in graph.input for d in v.type.tensor_type.shape.dim]
    names += [entry.value for tensor in _tensors(graph) for entry in tensor.external_data]
    if not all(isinstance(name, str) for name in names):
        raise ModelFileError(
            f"{path} is not a valid ONNX model: a name is not UTF-8", do="export the model again"
        )


def _check_places(model: onnx.ModelProto, path: Path) -> None:
    """External data is not read, but a file that points out of its folder is not trusted at all."""
    for tensor in _tensors(model.graph):
        for entry in tensor.external_data:
            place = PurePosixPath(entry.value.replace("\\", "/"))
            outside = place.is_absolute() or ".." in place.parts or ":" in entry.value
            if entry.key == "location" and outside:
                raise ModelFileError(
                    f"{path} names external data outside its folder",
                    got=entry.value[:200] or "an empty place",
                    allowed="a file beside the model or below it",
                )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _take_weights(model: onnx.ModelProto) -> dict[str, Constant]:
    """Turn all but small constants into inputs: checks and inference need their sizes only."""
    graph = model.graph
    constants = {tensor.name: read_constant(tensor) for tensor in graph.initializer}
    small = [t for t in graph.initializer if constants[t.name].values is not None]
    named = {value.name for value in graph.input}
    for tensor in graph.initializer:
        constant = constants[tensor.name]
        if constant.values is None and tensor.name not in named:
            value = helper.make_tensor_value_info(tensor.name, constant.type, constant.dims)
            graph.input.append(value)
    kept = [onnx.TensorProto.FromString(t.SerializeToString()) for t in small]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return constants


def read_constant(tensor: onnx.TensorProto) -> Constant:
    """Size and type of a tensor, and its numbers where they are few and in the file itself."""
    dims = tuple(tensor.dims)
    inside = tensor.data_location != TensorProto.EXTERNAL
    if not inside or min(dims, default=0) < 0 or math.prod(dims) > MOST_VALUES:
        return Constant(dims, tensor.data_type)
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):  # the checker says what is wrong
        return Constant(dims, tensor.data_type)
    return Constant(dims, tensor.data_type, values)


def _image_input(
    model: onnx.ModelProto, constants: Mapping[str, Constant], path: Path
) -> onnx.ValueInfoProto:
    values: list[onnx.ValueInfoProto] = list(model.graph.input)
    inputs = [value for value in values if value.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        found = [f"{v.name} {_dims_text(v)}" for v in inputs[:4]]
        raise ModelFileError(
            f"{path}: a model has one image input of four sizes",
            got=", ".join(found) or "none",
            allowed="1 x channels x height x width",
            do="export the part of the model that takes the image",
        )
    return inputs[0]


def _fix_batch(image: onnx.ValueInfoProto, path: Path) -> tuple[str, ...]:
    """Make a symbolic batch 1; what else is symbolic or not 1 is refused."""
    batch, *rest = image.type.tensor_type.shape.dim
    if batch.HasField("dim_value") and batch.dim_value != 1:
        raise ModelFileError(
            f"{path}: latency tables are of batch 1",
            got=f"{image.name} {_dims_text(image)}",
            do="export the model for one image at a time",
        )
    if not all(d.dim_value > 0 for d in rest):
        raise ModelFileError(
            f"{path}: the size of the image is not fixed",
            got=f"{image.name} {_dims_text(image)}",
            do="export the model with a fixed height and width",
        )
    if max(d.dim_value for d in rest) > LARGEST_SIDE:
        raise ModelFileError(
            f"{path}: the image is too large",
            got=f"{image.name} {_dims_text(image)}",
            allowed=f"sides and channels up to {LARGEST_SIDE}",
            do="export the model with a smaller input",
        )
    if batch.HasField("dim_value"):
        return ()
    name = batch.dim_param or "?"
    batch.dim_value = 1
    return (f"the batch of the input, {name!r} in the file, was taken as 1",)


def _dims_text(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "x".join(
        str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims
    )


def _infer(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Check the model, forget the sizes that it claims, and infer them."""
    try:
        onnx.checker.check_model(model)
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        TypeError,
    ) as cause:
        first = str(cause).strip().splitlines()[0][:300]
        raise ModelFileError(
            f"{path} is not a valid ONNX model: {first}", do="export the model again"
        ) from cause
