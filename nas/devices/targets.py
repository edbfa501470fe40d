"""What holds for a runtime: the ONNX that it accepts, its precision, where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nas.export.graph import GraphTarget

Precision = Literal["fp32", "fp16"]

BOARDS = GraphTarget(opset=13, ir_version=7, hardswish=False)
"""What JetPack 4.6 runs: TensorRT 8.2, and onnxruntime 1.10 (the last one for Python 3.6)."""
OPSET_17_SINCE = (1, 12)
"""onnxruntime's first version with opset 17 (its own table of compatibility)."""


ON_GPU = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
"""Where a number of threads means nothing."""
THROUGH_TENSORRT = ("onnxruntime-tensorrt", "tensorrt")


def precision_of(runtime: str) -> Precision:
    """In which a runtime computes here: it is part of what is measured, so of every key."""
    return "fp16" if runtime == "tensorrt" else "fp32"


def threads_of(runtime: str, threads: int) -> int | None:
    """What a table says of the number of threads: nothing for a GPU."""
    return None if runtime in ON_GPU else threads


def hardware_of(runtime: str, machine: Mapping[str, Any]) -> str:
    """What a table is of: the board or processor, and the graphics card where it computes."""
    processor, gpu = str(machine.get("processor", "an unknown processor")), machine.get("gpu")
    return f"{processor}, {gpu}" if gpu and runtime in ON_GPU else processor


def mode_of(conditions: Mapping[str, Any]) -> str | None:
    """The power mode, and on a Jetson whether its clocks are fixed."""
    mode, clocks = conditions.get("power_mode"), conditions.get("jetson_clocks")
    return f"{mode}, jetson_clocks {clocks}" if mode and clocks else mode


def in_mode(hardware: str, mode: str | None) -> str:
    """Hardware with its power mode, in words; two that differ are two devices."""
    return f"{hardware} in power mode {mode}" if mode else hardware


def measured_on(runtime: str, machine: Mapping[str, Any], conditions: Mapping[str, Any]) -> str:
    """What an agent's answer is of, to be compared with `in_mode` of a table."""
    return in_mode(hardware_of(runtime, machine), mode_of(conditions))


def target_of(runtime: str, version: str | None) -> GraphTarget:
    """The newest form that a version of a runtime surely reads; the oldest where it is unknown."""
    if runtime == "openvino":
        return GraphTarget()
    if runtime in THROUGH_TENSORRT:
        return BOARDS
    numbers = tuple(int(part) for part in (version or "0").split(".")[:2] if part.isdigit())
    return GraphTarget() if numbers >= OPSET_17_SINCE else BOARDS
