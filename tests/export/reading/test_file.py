"""Files that are not what they say: one line each, and nothing is read that need not be."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.errors import ModelFileError
from nas.export.reading import file, read_onnx


def stem(image=("n", 3, 8, 8), **changes):
    """One convolution of a `1 x 3 x 8 x 8` image."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)]
    graph = helper.make_graph(
        changes.get("nodes", nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [weight],
    )
    opset = [helper.make_opsetid("", changes.get("opset", 17))]
    return helper.make_model(graph, opset_imports=opset, ir_version=changes.get("ir", 8))


@pytest.fixture
def refused(tmp_path):
    """Reads a model or bytes that are refused; returns the one line without the path."""

    def run(content):
        path = tmp_path / "model.onnx"
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path.write_bytes(data)
        with pytest.raises(ModelFileError) as caught:
            read_onnx(path)
        assert caught.value.exit_code == 2
        text = str(caught.value)
        assert "\n" not in text
        return text.replace(str(path), "FILE")

    return run


@pytest.mark.parametrize("content", [b"\xff" * 100, b'{"json": true}', b"PK\x03\x04 a zip"])
def test_other_files_are_refused(refused, content):
    assert refused(content) == (
        "FILE is not an ONNX model, or it is cut off; try: export the model again"
    )


def test_empty_files_are_refused(refused):
    assert refused(b"") == (
        "FILE is not an ONNX model: it has no graph; try: export the model again"
    )


def test_cut_off_files_are_refused(refused):
    whole = stem().SerializeToString()
    for length in range(1, len(whole), 7):
        assert "FILE" in refused(whole[:length])


def test_what_is_no_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"is not a file; try: the path of a \.onnx file"):
        read_onnx(tmp_path)
    with pytest.raises(ModelFileError, match="is not a file"):
        read_onnx(tmp_path / "missing.onnx")


def test_a_file_of_3_gb_is_not_read(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as sparse:
        sparse.truncate(3 << 30)
    with pytest.raises(ModelFileError) as caught:
        read_onnx(path)
    assert str(caught.value) == (
        f"{path} is too large to be read; got '3072 MiB'; allowed: at most 512 MiB; try: save the "
        "model with its weights as external data; only sizes are needed"
    )


def test_weights_that_claim_to_be_huge_are_not_made(tmp_path):
    """2^40 numbers in no bytes, of a size that does not fit the image, and of one that does."""
    made = stem()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.dims[:] = [1 << 20, 1 << 20, 1, 1]
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    found = read_onnx(path)
    assert (found.blocks, [left.op for left in found.leftovers]) == ((), ["Conv"])
    weight.dims[:] = [1 << 20, 3, 1 << 10, 1 << 10]
    made.graph.node[0].attribute[0].ints[:] = [512] * 4
    path.write_bytes(made.SerializeToString())
    assert read_onnx(path).macs > 0


@pytest.mark.parametrize("dims", [[-4, 3, 3, 3], [0, 3, 3, 3]])
def test_weights_without_a_size_make_no_block(tmp_path, dims):
    made = stem()
    made.graph.initializer[0].dims[:] = dims
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    found = read_onnx(path)
    assert (found.blocks, [left.op for left in found.leftovers]) == ((), ["Conv"])


def test_cycles_are_refused(refused):
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    assert "FILE is not a valid ONNX model: Nodes in a graph must be topologically sorted" in (
        refused(stem(nodes=nodes))
    )


def test_functions_are_refused(refused):
    made = stem()
    made.functions.append(
        helper.make_function(
            "own", "twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
            [helper.make_opsetid("", 17)],
        )
    )  # fmt: skip
    assert refused(made) == (
        "FILE calls functions of its own, which are not read; got 'twice'; try: inline them with "
        "onnx.inliner.inline_local_functions, then save the model"
    )


def test_very_many_nodes_are_refused(refused, monkeypatch):
    monkeypatch.setattr(file, "MOST_NODES", 1)
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    assert refused(stem(nodes=nodes)) == (
        "FILE has too many nodes; got 2; allowed: at most 1; try: a model for an edge device"
    )


@pytest.mark.parametrize(
    "place", ["/etc/passwd", "../weights", "a/../../weights", "C:\\weights", "..\\weights"]
)
@pytest.mark.parametrize("inside", ["initialiser", "attribute", "subgraph"])
def test_external_data_outside_the_folder_is_refused(refused, place, inside):
    made = stem()
    tensor = made.graph.initializer[0]
    if inside != "initialiser":
        constant = helper.make_node("Constant", [], ["c"], value=tensor)
        if inside == "subgraph":
            output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [4, 3, 3, 3])
            branch = helper.make_graph([constant], "branch", [], [output])
            constant = helper.make_node(
                "If", ["q"], ["c"], then_branch=branch, else_branch=branch
            )  # fmt: skip
        made.graph.node.insert(0, constant)
        held = made.graph.node[0].attribute[0]
        tensor = held.t if inside == "attribute" else held.g.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    assert refused(made) == (
        f"FILE names external data outside its folder; got {place!r}; "
        "allowed: a file beside the model or below it"
    )


def test_external_data_in_the_folder_is_not_needed(tmp_path):
    made = stem()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights/model.data")
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    [block] = read_onnx(path).blocks
    assert block.op == "stem"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((8, 3, 8, 8), "FILE: latency tables are of batch 1; got 'x 8x3x8x8'; "
         "try: export the model for one image at a time"),
        ((0, 3, 8, 8), "FILE: latency tables are of batch 1; got 'x 0x3x8x8'; "
         "try: export the model for one image at a time"),
        ((1, 3, "h", "w"), "FILE: the size of the image is not fixed; got 'x 1x3xhxw'; "
         "try: export the model with a fixed height and width"),
        ((1, 3, 10**9, 8), "FILE: the image is too large; got 'x 1x3x1000000000x8'; "
         "allowed: sides and channels up to 8192; try: export the model with a smaller input"),
        ((1, 3, None, 8), "FILE: the size of the image is not fixed; got 'x 1x3x?x8'; "
         "try: export the model with a fixed height and width"),
        ((1, 24), "FILE: a model has one image input of four sizes; got 'x 1x24'; "
         "allowed: 1 x channels x height x width; "
         "try: export the part of the model that takes the image"),
    ],
)  # fmt: skip
def test_inputs_that_are_no_image(refused, image, message):
    assert refused(stem(image)) == message


def test_two_images_are_refused(refused):
    made = stem()
    made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 3, 8, 8)))
    assert "one image input of four sizes; got 'x nx3x8x8, z 1x3x8x8'" in refused(made)


def test_weights_among_the_inputs_are_no_images(tmp_path):
    """As files of before IR 4 list them."""
    made = stem((1, 3, 8, 8), ir=3, opset=8)
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, (4, 3, 3, 3)))
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    assert [block.op for block in read_onnx(path).blocks] == ["stem"]


def test_unknown_operators_are_refused(refused):
    nodes = [helper.make_node("Convolve", ["x", "w"], ["y"])]
    assert "FILE is not a valid ONNX model: No Op registered for Convolve" in (
        refused(stem(nodes=nodes))
    )


def test_sizes_that_the_file_claims_are_not_believed(tmp_path):
    made = stem((1, 3, 8, 8))
    made.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 800))
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    [placed] = read_onnx(path).placed
    assert placed.shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    "attribute",
    [
        {"group": 0}, {"group": -3}, {"group": 2}, {"strides": [0, 0]}, {"strides": [-1, -1]},
        {"dilations": [0, 0]}, {"kernel_shape": [-3, 3]}, {"pads": [2**62] * 4},
    ],
)  # fmt: skip
def test_attributes_without_a_meaning_make_no_block(tmp_path, attribute):
    """Refused where inference sees it, left over where it does not."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], **{"pads": [1] * 4, **attribute})]
    path = tmp_path / "model.onnx"
    path.write_bytes(stem(nodes=nodes).SerializeToString())
    try:
        found = read_onnx(path)
    except ModelFileError as error:
        assert "is not a valid ONNX model" in str(error)
    else:
        assert found.blocks == () and len(found.leftovers) == 1


@pytest.mark.parametrize("name", [b"tensor", b"node-1", b"image", b"batch"])
def test_names_that_are_no_text(refused, name):
    made = stem(("batch", 3, 8, 8))
    made.graph.initializer[0].name = made.graph.node[0].input[1] = "tensor"
    made.graph.node[0].name = "node-1"
    made.graph.input[0].name = made.graph.node[0].input[0] = "image"
    content = made.SerializeToString()
    assert name in content
    assert refused(content.replace(name, b"\xff" * len(name))) == (
        "FILE is not a valid ONNX model: a name is not UTF-8; try: export the model again"
    )
