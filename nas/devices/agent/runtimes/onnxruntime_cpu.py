"""The CPU execution provider of onnxruntime, models run in sequence."""

from typing import Callable, Dict

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
    return _open(model, threads, {})


def load_reference(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """The same, but its threads sleep between calls.

    They otherwise wait busily for tens of milliseconds, on a core that the next model needs: it
    then runs as if it had one thread.
    """
    del work
    return _open(model, threads, {"session.force_spinning_stop": "1"})


def _open(model: bytes, threads: int, settings: Dict[str, str]) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions share no base class
        raise RefusedError(f"onnxruntime refuses the model: {cause}") from cause
    first = session.get_inputs()[0]
    image = np.random.RandomState(SEED).standard_normal(first.shape).astype(np.float32)
    feed = {first.name: image}
    return lambda: session.run(None, feed)
