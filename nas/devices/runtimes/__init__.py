"""Inference runtimes that can be measured, one file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

from nas.errors import OptionError
from nas.export.graph import GraphTarget


class Runtime(Protocol):
    """A way to run ONNX models on a device.

    Attributes:
        name: As it stands in `device.yaml`.
        version: The runtime's own version.
        threads: How many threads one inference uses.
        target: Which ONNX it accepts.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102
    @property
    def target(self) -> GraphTarget: ...  # noqa: D102

    def load(self, model: bytes) -> Callable[[], object]:
        """Prepare a serialised model; each call of the result is one complete inference.

        Raises:
            MeasurementError: The runtime refuses the model.
        """
        ...


RUNTIMES = ("onnxruntime", "openvino")


def open_runtime(name: str, threads: int) -> Runtime:
    """A runtime of this machine by the name that stands in `device.yaml`.

    Raises:
        OptionError: There is none of that name here, or it is not installed.
    """
    if name == "onnxruntime":
        from nas.devices.runtimes.onnxruntime_cpu import OnnxRuntimeCpu

        return OnnxRuntimeCpu(threads)
    if name == "openvino":
        from nas.devices.runtimes.openvino_cpu import OpenVinoCpu

        if find_spec("openvino") is None:
            raise OptionError("openvino is not installed", do="pip install 'nas[openvino]'")
        return OpenVinoCpu(threads)
    raise OptionError("no such runtime can be measured here", got=name, allowed=", ".join(RUNTIMES))
