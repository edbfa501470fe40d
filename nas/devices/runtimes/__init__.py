"""Inference runtimes that can be measured, one file each, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
