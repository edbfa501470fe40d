"""Files of networks with exits: one for each segment, and together what torch computes."""

import numpy as np
import onnx
import pytest
import torch

from nas.export.graph import ENTERING, FEATURES, INPUT, OUTPUT, GraphTarget
from nas.export.onnx_file import add_metadata, files_of, run_onnx, write_onnx
from nas.export.size import file_bytes
from nas.export.weights import folded_weights
from nas.space import load_space
from nas.space.sample import largest, sample, smallest
from tests.export.test_graph import NANO, lively_model

SPACE = load_space("mobilenetv3-exits")
NORMAL = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


@pytest.fixture(params=["largest", "smallest", 3, 5])
def network(request):
    ends = {"largest": largest, "smallest": smallest}
    if request.param in ends:
        return SPACE.network(ends[request.param](SPACE, "small"), 10)
    return SPACE.network(sample(SPACE, "small", np.random.default_rng(request.param)), 10)


@pytest.mark.parametrize("target", [GraphTarget(), NANO], ids=["default", "nano"])
def test_files_compute_what_torch_computes(network, target, tmp_path):
    model = lively_model(network, 1)
    files = write_onnx(tmp_path / "model.onnx", network, folded_weights(model), target)
    assert files == files_of(tmp_path / "model.onnx", len(network.segments))
    assert sorted(tmp_path.glob("*.onnx")) == sorted(files)
    size = network.resolution
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3)).astype(np.uint8)
    found = run_onnx(files, pixels, *NORMAL)
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = model.every_logits(images).numpy()
        assert torch.equal(model(images), model.every_logits(images)[-1])
    assert found.shape == expected.shape == (len(network.segments), 3, 10)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_files_fit_together(tmp_path):
    network = SPACE.network(largest(SPACE, "small"), 10)
    model = lively_model(network, 1)
    files = write_onnx(tmp_path / "m.onnx", network, folded_weights(model), GraphTarget())
    assert [file.name for file in files] == ["m.1.onnx", "m.2.onnx", "m.3.onnx"]
    graphs = [onnx.load(file).graph for file in files]
    assert [[i.name for i in g.input] for g in graphs] == [[INPUT], [ENTERING], [ENTERING]]
    assert [[o.name for o in g.output] for g in graphs] == [
        [OUTPUT, FEATURES], [OUTPUT, FEATURES], [OUTPUT]
    ]  # fmt: skip
    for before, after in zip(graphs, graphs[1:], strict=False):
        assert shape_of(before.output[1]) == shape_of(after.input[0])


def shape_of(value):
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def test_files_are_together_a_little_smaller_than_foretold(network, tmp_path):
    metadata = {"nas.labels": "x" * 700}
    model = lively_model(network, 1)
    files = write_onnx(tmp_path / "m.onnx", network, folded_weights(model), GraphTarget())
    for file in files:
        add_metadata(file, metadata)
    size = sum(file.stat().st_size for file in files)
    told = file_bytes(network, sum(len(k) + len(v) + 16 for k, v in metadata.items()))
    assert size <= told <= size + 2000 * len(files) + 700 * len(network.blocks)
