"""The CPU execution provider of onnxruntime, models run in sequence."""

from typing import Callable

import numpy as np
import onnxruntime

from . import RefusedError

SEED = 0


def version() -> str:
    """The runtime's own version."""
    return str(onnxruntime.__version__)


def load(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """A session on the model, fed with the same random input at every call."""
    del work
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions share no base class
        raise RefusedError(f"onnxruntime refuses the model: {cause}") from cause
    first = session.get_inputs()[0]
    image = np.random.RandomState(SEED).standard_normal(first.shape).astype(np.float32)
    feed = {first.name: image}
    return lambda: session.run(None, feed)
