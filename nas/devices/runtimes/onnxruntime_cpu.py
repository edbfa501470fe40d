"""onnxruntime on the processor of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnxruntime

from nas.errors import MeasurementError
from nas.export.graph import GraphTarget

SEED = 0


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """The CPU execution provider with a fixed number of threads, models run in sequence."""

    threads: int = 1
    name: str = "onnxruntime"
    version: str = onnxruntime.__version__
    target: GraphTarget = field(default_factory=GraphTarget)

    def load(self, model: bytes) -> Callable[[], object]:
        """A session on the model, fed with the same random input at every call."""
        session = cpu_session(model, self.threads)
        inputs = session.get_inputs()[0]
        rng = np.random.default_rng(SEED)
        feed = {inputs.name: rng.standard_normal(inputs.shape, dtype=np.float32)}
        return lambda: session.run(None, feed)


def cpu_session(model: bytes | str, threads: int) -> onnxruntime.InferenceSession:
    """A session with `threads` threads and nothing else running in parallel.

    Raises:
        MeasurementError: onnxruntime cannot load the model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions share no base class
        raise MeasurementError(f"onnxruntime refuses the model: {cause}") from cause
