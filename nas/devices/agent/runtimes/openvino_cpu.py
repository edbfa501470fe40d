"""The CPU plug-in of OpenVINO with one stream, in fp32: its own default may be bfloat16."""

from typing import Any, Callable, List

import numpy as np
import openvino

from . import RefusedError

SEED = 0


def version() -> str:
    """The runtime's own version, without the build."""
    return str(openvino.get_version()).partition("-")[0]


def load(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """A compiled model, fed with the same random input at every call.

    What was compiled is kept in `work`: the next rounds load it in half the time.
    """
    settings = {
        "CACHE_DIR": work,
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    core = _core()
    try:
        compiled = core.compile_model(core.read_model(model), "CPU", settings)
    except Exception as cause:  # OpenVINO raises plain RuntimeErrors, among others
        raise RefusedError(f"openvino refuses the model: {cause}") from cause
    request = compiled.create_infer_request()
    shape = tuple(compiled.input(0).shape)
    image = np.random.RandomState(SEED).standard_normal(shape).astype(np.float32)
    request.set_input_tensor(openvino.Tensor(image))
    return lambda: request.infer()


def _core() -> Any:
    """One for the process, as OpenVINO recommends.

    With the last one its CPU plug-in is unloaded, after which Ctrl-C ends in a crash (2026.4.1).
    """
    if not _CORES:
        _CORES.append(openvino.Core())
    return _CORES[0]


_CORES: List[Any] = []
