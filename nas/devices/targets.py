"""Which ONNX a runtime accepts."""

from __future__ import annotations

from nas.export.graph import GraphTarget

BOARDS = GraphTarget(opset=13, ir_version=7, hardswish=False)
"""What JetPack 4.6 runs: TensorRT 8.2, and onnxruntime 1.10 (the last one for Python 3.6)."""
OPSET_17_SINCE = (1, 12)
"""onnxruntime's first version with opset 17 (its own table of compatibility)."""


def target_of(runtime: str, version: str | None) -> GraphTarget:
    """The newest form that a version of a runtime surely reads; the oldest where it is unknown."""
    if runtime == "openvino":
        return GraphTarget()
    numbers = tuple(int(part) for part in (version or "0").split(".")[:2] if part.isdigit())
    return GraphTarget() if numbers >= OPSET_17_SINCE else BOARDS
