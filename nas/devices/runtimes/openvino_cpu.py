"""OpenVINO on the processor of this machine; `pip install 'nas[openvino]'`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from nas.errors import MeasurementError
from nas.export.graph import GraphTarget

SEED = 0


@dataclass(frozen=True)
class OpenVinoCpu:
    """The CPU plug-in with one stream, in fp32: its own default may be bfloat16."""

    threads: int = 1
    name: str = "openvino"
    target: GraphTarget = field(default_factory=GraphTarget)

    @property
    def version(self) -> str:
        """OpenVINO's own version."""
        return version("openvino")

    @cached_property
    def _core(self) -> Any:
        import openvino

        core = openvino.Core()
        core.set_property(
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": self.threads,
                "NUM_STREAMS": 1,
            },
        )
        return core

    def load(self, model: bytes) -> Callable[[], object]:
        """A compiled model, fed with the same random input at every call."""
        try:
            compiled = self._core.compile_model(self._core.read_model(model), "CPU")
        except Exception as cause:  # OpenVINO raises plain RuntimeErrors, among others
            raise MeasurementError(f"openvino refuses the model: {cause}") from cause
        request = compiled.create_infer_request()
        shape = tuple(compiled.input(0).shape)
        image = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
        # A tensor that is set once is not copied at every call.
        request.set_input_tensor(_tensor(image))
        return lambda: request.infer()


def _tensor(image: np.ndarray) -> Any:
    import openvino

    return openvino.Tensor(image, shared_memory=False)
