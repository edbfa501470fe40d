"""`nas predict --onnx`: models that were not built here."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.latency.table import LatencyTable, load_table, write_table


@pytest.fixture
def exported(nas, tiny, tmp_path):
    """A model of the tiny space from `nas export`, and its architecture's file."""
    arch, file = tmp_path / "arch.json", tmp_path / "model.onnx"
    arch.write_text(nas("sample", "--space", tiny, "--seed", 3, "--json").out)
    assert nas("export", "--space", tiny, "--arch", arch, "--out", file).code == 0
    return arch, file


def with_pool(file, kernel=2):
    """The same model with a pooling before it, and an image that is twice as large."""
    model = onnx.load(file)
    image = model.graph.input[0]
    for dim in image.type.tensor_type.shape.dim[2:]:
        dim.dim_value *= kernel
    image.name = "large"
    pool = helper.make_node(
        "MaxPool", ["large"], ["image"], "/early/pool",
        kernel_shape=[kernel] * 2, strides=[kernel] * 2,
    )  # fmt: skip
    model.graph.node.insert(0, pool)
    onnx.save(model, file)


def foreign(file, channels=12):
    """One convolution that is no block of any table."""
    weight = np.ones((channels, 3, 5, 5), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], "/odd", pads=[2] * 4)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 10, 10))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, channels, 10, 10))],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), file)


def test_an_exported_model_gets_the_numbers_of_its_architecture(nas, table, tiny, exported):
    arch, file = exported
    command = ("predict", "--device", table, "--space", tiny, "--json")
    [expected] = nas(*command, "--arch", arch).json()
    [found] = nas(*command, "--onnx", file).json()
    assert found.pop("id") == str(file)
    assert found.pop("architecture") == expected.pop("id")
    assert expected.pop("classes") == 10
    assert {name: found[name] for name in expected} == expected
    assert found["basis"] == "certificate of tiny small"
    assert (found["calibrated"], found["complete"], found["unmatched"]) == (True, True, [])
    assert found["macs"] == found["covered_macs"] > 0


def test_an_exported_model_for_an_estimated_table(nas, tiny, exported):
    arch, file = exported
    [expected] = nas(
        "predict", "--device", "jetson-nano", "--space", tiny, "--arch", arch, "--json"
    ).json()
    [found] = nas("predict", "--device", "jetson-nano", "--onnx", file, "--json").json()
    assert found["upper_ms"] == expected["upper_ms"]
    assert found["basis"] == "estimate of all its blocks"
    line = nas("predict", "--device", "jetson-nano", "--onnx", file).out
    assert line.startswith(f"{file}  ") and line.count("\n") == 1
    assert "estimated table of jetson-nano-tensorrt: estimate of all its blocks" in line


def test_without_its_space_there_is_no_bound(nas, table, exported):
    [found] = nas("predict", "--device", table, "--onnx", exported[1], "--json").json()
    assert (found["upper_ms"], found["calibrated"], found["complete"]) == (None, True, True)
    line = nas("predict", "--device", table, "--onnx", exported[1]).out
    assert line.endswith(": calibration of tiny small, outside its certificate\n")
    assert "[" not in line


def test_what_is_not_covered_is_said(nas, table, tiny, exported):
    with_pool(exported[1])
    command = ("predict", "--device", table, "--space", tiny, "--onnx", exported[1])
    answer = nas(*command)
    first, *lines = answer.out.splitlines()
    assert answer.code == 0
    assert " ms and what is not covered  measured table of tiny-onnxruntime: " in first
    assert lines[0].startswith("  covers ")
    assert lines[0].endswith(" % of the MACs; not covered:")
    assert any(line.startswith("    /early/pool  MaxPool  1x3x") for line in lines)
    [found] = nas(*command, "--json").json()
    [pool] = [part for part in found["unmatched"] if part["what"] == "MaxPool"]
    assert (pool["node"], pool["macs"], pool["counted_ms"]) == ("/early/pool", 0, None)
    assert (found["complete"], found["upper_ms"]) == (False, None)


def test_estimates_by_layers_are_said(nas, exported):
    with_pool(exported[1])
    lines = nas("predict", "--device", "jetson-nano", "--onnx", exported[1]).out.splitlines()
    assert lines[0].endswith("estimate, in part layer by layer, outside the certificate")
    assert "not covered" not in lines[0]
    assert lines[1] == "  in no block, estimated by layers:"
    assert lines[2].startswith("    /early/pool  MaxPool  1x3x")


def test_a_missing_block_names_the_command(nas, table, tiny, exported):
    whole = load_table(str(table))
    kept = {key: row for key, row in whole.rows.items() if key.block.op != "head"}
    assert len(kept) < len(whole.rows)
    device = whole.device.model_copy(update={"rows": len(kept)})
    write_table(LatencyTable(device, kept, table))
    answer = nas("predict", "--device", table, "--space", tiny, "--onnx", exported[1])
    assert answer.code == 0, answer.err
    assert "the table has no such block" in answer.out
    [hint] = [line for line in answer.out.splitlines() if line.startswith("  try: ")]
    assert hint.startswith("  try: nas profile --device ")
    assert f"--space {tiny} --plan small" in hint


def test_a_model_of_which_nothing_is_known(refused, table, tmp_path):
    foreign(tmp_path / "odd.onnx")
    assert refused("predict", "--device", table, "--onnx", tmp_path / "odd.onnx") == (
        "the table of tiny-onnxruntime answers no part of this model; got 'stem "
        '10x10x3->12 {"activation":"none","kernel":5,"stride":1}\'; try: nas spaces lists the '
        "spaces whose blocks nas profile can measure"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an ONNX model: it has no graph; try: export the model again"),
        (b"not a model", "is not an ONNX model, or it is cut off; try: export the model again"),
        (None, "is not a file; try: the path of a .onnx file"),
    ],
)
def test_files_that_are_no_models(refused, tmp_path, content, message):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    found = refused("predict", "--device", "jetson-nano", "--onnx", path)
    assert found == f"{path} {message}"


def test_options_that_do_not_go_with_a_file(refused, tmp_path):
    command = ("predict", "--device", "jetson-nano", "--onnx", tmp_path / "m.onnx")
    assert refused(*command, "--classes", "5") == (
        "the file says how many classes it has; try: leave --classes out"
    )
    assert "not allowed with argument" in refused(*command, "--reference", "a/b")


def test_the_answer_is_json_for_programs(nas, exported):
    answer = nas("predict", "--device", "jetson-nano", "--onnx", exported[1], "--json")
    [found] = json.loads(answer.out)
    assert list(found) == [
        "id", "device", "predicted_ms", "lower_ms", "upper_ms", "provenance", "interpolated",
        "peak_memory_bytes", "weight_bytes", "energy_sum_of_blocks_mj", "basis", "calibrated",
        "complete", "architecture", "blocks", "macs", "covered_macs", "unmatched", "notes",
    ]  # fmt: skip
    assert Path(found["id"]) == exported[1]
