"""What every runtime keeps to. A new runtime joins the list."""

import onnx
import pytest

from nas.devices.agent.runtimes import NAMES, RefusedError, open_runtime
from nas.devices.targets import target_of
from nas.export.graph import build_graph, random_weights
from nas.space import load_space
from nas.space.blocks import OPS, make_block
from nas.space.sample import smallest

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


@pytest.fixture(params=[(name, threads) for name in NAMES for threads in (1, 2)], ids=str)
def runtime(request):
    name, threads = request.param
    return Opened(name, threads)


class Opened:
    """A runtime with its number of threads."""

    def __init__(self, name, threads):
        self.name, self.threads = name, threads
        self.module = open_runtime(name)
        self.target = target_of(name, self.module.version())

    def load(self, model):
        return self.module.load(model, self.threads)


def model_of(blocks, runtime):
    return build_graph(blocks, random_weights(0), runtime.target).SerializeToString()


def test_it_says_which_version_it_is(runtime):
    version = runtime.module.version()
    assert version and version[0].isdigit() and version.isprintable()


def test_a_runtime_that_is_none_is_refused():
    with pytest.raises(RefusedError, match="no such runtime: abacus; known: onnxruntime, "):
        open_runtime("abacus")


def test_a_runtime_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nas.devices.agent.runtimes.openvino_cpu", None)
    with pytest.raises(RefusedError, match="openvino cannot be imported on this machine: "):
        open_runtime("openvino")


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
    with pytest.raises(RefusedError) as caught:
        runtime.load(model)
    assert str(caught.value).startswith(f"{runtime.name} refuses the model: ")


def test_an_operator_that_it_does_not_know_is_refused(runtime):
    block = make_block("head", (8, 8), 8, 8, PARAMS["head"])
    model = build_graph([("block", block)], random_weights(0), runtime.target)
    model.graph.node[-1].op_type = "Frobnicate"
    with pytest.raises(RefusedError, match="Frobnicate"):
        runtime.load(model.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)


def test_two_loaded_models_do_not_disturb_each_other(runtime):
    block = make_block("head", (8, 8), 8, 8, PARAMS["head"])
    one = runtime.load(model_of([("block", block)], runtime))
    two = runtime.load(model_of([("block", block)], runtime))
    one(), two(), one()
