"""What every runtime keeps to. A new runtime joins the list."""

import gc
import signal

import onnx
import onnxruntime
import pytest

from nas.devices.agent.runtimes import NAMES, RefusedError, open_runtime
from nas.devices.agent.timing import Effort, time_runs
from nas.devices.targets import ON_GPU, target_of
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
    "fused_inverted_residual": {**SPATIAL, "activation": "silu", "hidden": 16, "residual": False},
    "residual": {**SPATIAL, "hidden": 8},
    "shuffle_unit": {**SPATIAL, "hidden": 4, "stride": 1},
    "fire": {**SPATIAL, "hidden": 4},
    "head": {"activation": "relu"},
    "classifier": {"activation": "relu6", "hidden": 8, "pooling": "mean"},
}  # fmt: skip


ONCE = Effort(1, 0, 1, 0.0, 1.0, 0.0, 1.0)
CASES = [
    (name, threads) for name in NAMES for threads in (1, 2) if threads == 1 or name not in ON_GPU
]


@pytest.fixture(params=CASES, ids=str)
def runtime(request, tmp_path):
    """Those that need a GPU are skipped where there is none; trtexec is the program of the tests.

    What `tensorrt` proves here is its command line and what it reads, not TensorRT.
    """
    name, threads = request.param
    if name == "tensorrt":
        request.getfixturevalue("trtexec")
    opened = Opened(name, threads, str(tmp_path / "engines"))
    if name in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        try:
            opened.load(model_of([("block", BLOCK)], opened))
        except RefusedError as error:
            if any(reason in str(error) for reason in ("needs an onnxruntime", "did not start")):
                pytest.skip(str(error))
            raise
    return opened


class Opened:
    """A runtime with its number of threads."""

    def __init__(self, name, threads, work):
        self.name, self.threads, self.work = name, threads, work
        self.module = open_runtime(name)

    @property
    def target(self):
        return target_of(self.name, self.module.version())

    def load(self, model):
        """What times the model once."""
        loaded = self.module.load(model, self.threads, self.work)
        return lambda: time_runs(loaded, ONCE)


BLOCK = make_block("head", (8, 8), 8, 8, PARAMS["head"])


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
    assert run().latency_ms > 0
    assert run().runs == 1


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
    model = build_graph([("block", BLOCK)], random_weights(0), runtime.target)
    model.graph.node[-1].op_type = "Frobnicate"
    with pytest.raises(RefusedError, match="Frobnicate"):
        runtime.load(model.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)


def test_ctrl_c_works_when_its_models_are_gone(runtime):
    run = runtime.load(model_of([("block", BLOCK)], runtime))
    run()
    del run
    gc.collect()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_a_reference_is_one_of_its_models(runtime):
    load = getattr(runtime.module, "load_reference", runtime.module.load)
    model = model_of([("block", BLOCK)], runtime)
    assert time_runs(load(model, runtime.threads, runtime.work), ONCE).runs == 1


def test_two_loaded_models_do_not_disturb_each_other(runtime):
    one = runtime.load(model_of([("block", BLOCK)], runtime))
    two = runtime.load(model_of([("block", BLOCK)], runtime))
    one(), two(), one()


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("onnxruntime-cuda", "CUDAExecutionProvider"),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider"),
    ],
)
def test_an_onnxruntime_without_the_provider_is_refused(name, provider, tmp_path):
    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    module = open_runtime(name)
    message = (
        f"{name} needs an onnxruntime with {provider}; installed: {onnxruntime.__version__} with "
        f"{', '.join(onnxruntime.get_available_providers())}; try: pip install onnxruntime-gpu in "
        "its place, on a Jetson NVIDIA's own wheel"
    )
    for call in (module.version, lambda: module.load(b"", 1, str(tmp_path / "engines"))):
        with pytest.raises(RefusedError) as caught:
            call()
        assert str(caught.value) == message
    assert not (tmp_path / "engines").exists()
