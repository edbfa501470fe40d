"""Teachers from ONNX files: ours and others', with their own size, range and batch."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from nas.accuracy.device import resize
from nas.accuracy.teacher import OnnxTeacher, model_teacher, teacher_size
from nas.data import load_dataset, scan
from nas.data.augment import to_batch
from nas.errors import ModelFileError
from nas.export.graph import GraphTarget
from nas.export.onnx_file import write_onnx
from nas.export.weights import folded_weights
from nas.models import build_model
from nas.space import load_space
from nas.space import sample as sampling
from tests.search.conftest import TINY


@pytest.fixture(scope="module")
def index():
    return scan(None, 0)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(None, 0, resolutions=(16,))


@pytest.fixture(scope="module")
def model():
    space = load_space(TINY)
    return build_model(space.network(sampling.baseline(space, "small", 1.0, 16), 10), 1).eval()


@pytest.fixture
def images(dataset):
    return to_batch(dataset.train.at(16)[:5], dataset.mean, dataset.std)


def test_our_own_file_teaches_what_the_model_does_by_its_own_normalisation(
    dataset, model, images, tmp_path
):
    how = {"resolution": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    metadata = {
        "nas.preprocessing": json.dumps(how), "nas.labels": json.dumps(list(dataset.classes)),
    }  # fmt: skip
    path = tmp_path / "ours.onnx"
    write_onnx(path, model.network, folded_weights(model), GraphTarget(), metadata)
    taught = OnnxTeacher(path, dataset)(images)
    plain = to_batch(dataset.train.at(16)[:5], how["mean"], how["std"])
    with torch.no_grad():
        expected = model(plain).softmax(dim=1)
    assert torch.allclose(taught, expected, atol=1e-4)
    assert torch.equal(model_teacher(model)(plain), expected)


def test_a_segment_is_no_teacher(dataset, model, tmp_path):
    path = tmp_path / "model.1.onnx"
    metadata = {"nas.exit": json.dumps({"segment": 1, "of": 3, "threshold": 0.5})}
    write_onnx(path, model.network, folded_weights(model), GraphTarget(), metadata)
    with pytest.raises(ModelFileError) as caught:
        OnnxTeacher(path, dataset)
    assert str(caught.value) == (
        f"the teacher {path} does not fit: its file; got 'one of 3 segments'; "
        "allowed: a whole model in one file; try: another --teacher"
    )


def test_a_teacher_sees_the_images_at_its_own_size(dataset, images, tmp_path):
    path = means(tmp_path, [2, 3, 24, 24], classes=10)
    taught = OnnxTeacher(path, dataset)(images)
    assert taught.shape == (5, 10), "five images through a file that takes two at a time"
    expected = resize(images, 24).mean((2, 3)).repeat(1, 4)[:, :10].softmax(dim=1)
    assert torch.allclose(taught, expected, atol=1e-5)


def test_a_teacher_of_any_size_is_tried_at_the_size_of_training(dataset, images, tmp_path):
    """Which photos are not: a network of ours sees them smaller than they are."""
    photos = replace(dataset, source_size=3000)
    path = means(tmp_path, ["N", 3, "H", "W"], 10, crop=2, pool=16)
    assert OnnxTeacher(path, photos)(images[:2]).shape == (2, 10)


def test_probabilities_are_not_made_probabilities_again(dataset, images, tmp_path):
    logits = OnnxTeacher(means(tmp_path, ["N", 3, "H", "W"], 10), dataset)(images)
    shares = OnnxTeacher(means(tmp_path, ["N", 3, "H", "W"], 10, then="Softmax"), dataset)(images)
    assert torch.allclose(logits, shares, atol=1e-6)
    assert torch.allclose(shares.sum(1), torch.ones(5))


def test_what_does_not_fit_is_one_clear_error(dataset, tmp_path):
    def refused(path):
        with pytest.raises(ModelFileError) as caught:
            OnnxTeacher(path, dataset)
        return str(caught.value).replace(str(path), "FILE")

    assert refused(means(tmp_path, ["N", 3, 16, 16], 7)) == (
        "the teacher FILE does not fit: its output; got 'float32 [2, 7] for 2 images'; allowed: "
        "float32 [2, 10], for the 10 classes of digits; try: another --teacher"
    )
    assert refused(means(tmp_path, ["N", 1, 16, 16], 10)) == (
        "the teacher FILE does not fit: its input; got \"tensor(float) ['N', 1, 16, 16]\"; "
        "allowed: float N x 3 x R x R; try: another --teacher"
    )
    assert refused(means(tmp_path, ["N", 3, 16, 16], 10, then="Log")) == (
        "the teacher FILE does not fit: its output; got 'numbers that are not finite (NaN or "
        "infinite)'; allowed: logits or probabilities; try: another --teacher"
    )
    path = means(tmp_path, ["N", 3, 16, 16], 10, labels=list("abcdefghij"))
    assert "its classes; got 'a, b, c, d, e, f, g, h, i, j'; allowed: those of digits" in refused(
        path
    )
    broken = tmp_path / "broken.onnx"
    broken.write_text("nothing")
    assert refused(broken).startswith("the teacher FILE cannot be read as an ONNX model: ")
    wrong_shape = means(tmp_path, ["N", 3, "H", "W"], 10, crop=1000)
    assert 'does not fit: it; got "an error: ' in refused(wrong_shape)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"nas.labels": "cat, dog"}, "nas.labels; got 'cat, dog'; allowed: JSON, an array"),
        ({"nas.preprocessing": "[1]"}, "nas.preprocessing; got '[1]'; allowed: JSON, an object"),
        ({"nas.exit": "1"}, "nas.exit; got '1'; allowed: JSON, an object"),
    ],
)
def test_metadata_that_are_not_ours_are_named(dataset, model, tmp_path, metadata, message):
    path = tmp_path / "model.onnx"
    write_onnx(path, model.network, folded_weights(model), GraphTarget(), metadata)
    with pytest.raises(ModelFileError) as caught:
        OnnxTeacher(path, dataset)
    assert f"does not fit: its metadata's {message}; try: another" in str(caught.value)


def test_a_file_without_inputs_is_no_teacher(tmp_path, index):
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["output"], value=value)],
        "constant",
        [],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "constant.onnx"
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    with pytest.raises(ModelFileError, match="its input; got 'none'; allowed: float N x 3 x R"):
        teacher_size(path, index)


def test_other_class_names_of_the_data_are_refused(dataset, tmp_path):
    path = means(tmp_path, ["N", 3, 16, 16], 10, labels=list(dataset.classes))
    assert OnnxTeacher(path, dataset)
    with pytest.raises(ModelFileError, match="its classes"):
        OnnxTeacher(path, replace(dataset, classes=tuple(reversed(dataset.classes))))


def test_classes_are_compared_before_anything_is_decoded(index, tmp_path):
    path = means(tmp_path, ["N", 3, 16, 16], 10, labels=list(index.classes))
    assert teacher_size(path, index) == 16
    with pytest.raises(ModelFileError, match="its classes"):
        teacher_size(path, replace(index, classes=tuple(reversed(index.classes))))


def means(folder, shape, classes, then=None, labels=None, crop=None, pool=None):
    """A network without weights: the means of the channels, as often as there are classes."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Concat", ["flat"] * 4, ["many"], axis=1),
        helper.make_node("Slice", ["many", "from", "to", "axis"], ["logits"]),
    ]
    if pool:
        nodes[0] = helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=[pool] * 2)
    if crop:
        nodes[1] = helper.make_node("Reshape", ["pooled", "crop"], ["flat"])
    if then:
        nodes.append(helper.make_node(then, ["logits"], ["output"]))
    constants = {"from": [0], "to": [classes], "axis": [1], "crop": [crop or 1, 3]}
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array(value, np.int64), name)
            for name, value in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=8)
    if labels:
        helper.set_model_props(content, {"nas.labels": json.dumps(labels)})
    path = folder / f"means-{classes}-{then}-{bool(labels)}-{crop}-{shape[1]}.onnx"
    onnx.save(content, path)
    return path
