import numpy as np
import pytest

from nas.export.graph import GraphTarget, random_weights
from nas.export.onnx_file import add_metadata, write_onnx
from nas.export.size import file_bytes
from nas.space import load_space
from nas.space import sample as sampling

METADATA = {"nas.labels": "x" * 700, "nas.architecture": "y" * 1500}


@pytest.mark.parametrize("name", ["mobilenetv3", "mobilenetv2", "nas-bench-macro"])
@pytest.mark.parametrize("hardswish", [True, False])
def test_a_file_is_a_little_smaller_than_foretold(tmp_path, name, hardswish):
    space, rng = load_space(name), np.random.default_rng(0)
    for plan in space.plans:
        ends = sampling.smallest(space, plan), sampling.largest(space, plan)
        for architecture in (*ends, sampling.sample(space, plan, rng)):
            network = space.network(architecture, 10)
            path = tmp_path / "model.onnx"
            write_onnx(path, network, random_weights(0), GraphTarget(hardswish=hardswish))
            add_metadata(path, METADATA)
            size = path.stat().st_size
            told = file_bytes(network, sum(len(k) + len(v) + 16 for k, v in METADATA.items()))
            assert size <= told <= size + 2000 + 700 * len(network.blocks)
