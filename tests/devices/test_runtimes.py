"""What every runtime keeps to. A new runtime joins the list."""

import onnx
import pytest

from nas.devices.runtimes.onnxruntime_cpu import OnnxRuntimeCpu
from nas.errors import MeasurementError
from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.space import load_space
from nas.space.blocks import OPS, make_block
from nas.space.sample import smallest

RUNTIMES = [OnnxRuntimeCpu(), OnnxRuntimeCpu(threads=2)]

SPATIAL = {"activation": "hardswish", "kernel": 3, "stride": 2}
PARAMS = {
    "stem": SPATIAL,
    "conv": SPATIAL,
    "depthwise_separable": SPATIAL,
    "inverted_residual": {
        **SPATIAL, "hidden": 16, "se": 8, "gate": "hardsigmoid", "residual": False,
    },
    "head": {"activation": "relu"},
    "classifier": {"activation": "relu6", "hidden": 8, "pooling": "mean"},
}  # fmt: skip


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: f"{runtime.name}-{runtime.threads}")
def runtime(request):
    return request.param


def model_of(blocks, runtime):
    return build_graph(blocks, random_weights(0), runtime.target).SerializeToString()


def test_it_says_what_it_is(runtime):
    assert runtime.name and runtime.name == runtime.name.lower()
    assert runtime.version
    assert runtime.threads >= 1
    assert isinstance(runtime.target, GraphTarget)


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_block_runs_by_itself_and_again(runtime, op):
    block = make_block(op, (8, 8), 8, 8, PARAMS[op])
    run = runtime.load(model_of([("block", block)], runtime))
    run()
    run()


def test_a_whole_network_runs(runtime):
    space = load_space("mobilenetv3")
    network = space.network(smallest(space, "small"), 10)
    runtime.load(model_of(network.blocks, runtime))()


@pytest.mark.parametrize("model", [b"", b"not a model", b"\x00" * 100])
def test_what_is_no_model_is_refused(runtime, model):
    with pytest.raises(MeasurementError) as caught:
        runtime.load(model)
    assert caught.value.exit_code == 1
    assert str(caught.value).startswith(f"{runtime.name} refuses the model: ")
    assert "\n" not in str(caught.value)


def test_an_operator_that_it_does_not_know_is_refused(runtime):
    block = make_block("head", (8, 8), 8, 8, PARAMS["head"])
    model = build_graph([("block", block)], random_weights(0), runtime.target)
    model.graph.node[-1].op_type = "Frobnicate"
    with pytest.raises(MeasurementError, match="Frobnicate"):
        runtime.load(model.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)


def test_two_loaded_models_do_not_disturb_each_other(runtime):
    block = make_block("head", (8, 8), 8, 8, PARAMS["head"])
    one = runtime.load(model_of([("block", block)], runtime))
    two = runtime.load(model_of([("block", block)], runtime))
    one(), two(), one()
