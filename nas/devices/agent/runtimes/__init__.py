"""Inference runtimes that can be measured, one file each, behind one protocol.

A runtime is a module with `version() -> str` and `load(model: bytes, threads: int, work: str)`,
which makes a model ready: each call of the result is one complete inference, or the result is a
`SelfTimed`. `work` is a folder that lasts as long as the whole measurement, for what is built only
once. Where a model that stays loaded slows others, `load_reference`, with the same arguments, makes
one ready that does not. What the runtime does not accept is a `RefusedError`. A new one joins the
table below and the conformance suite.
"""

import importlib
import os
from typing import Any

MODULES = {
    "onnxruntime": "onnxruntime_cpu",
    "onnxruntime-cuda": "onnxruntime_cuda",
    "onnxruntime-tensorrt": "onnxruntime_tensorrt",
    "openvino": "openvino_cpu",
    "tensorrt": "trtexec",
}
NAMES = tuple(MODULES)
QUIET = ("ORT_DISABLE_TELEMETRY", "1")
"""Since version 1.29 onnxruntime reports each session over the network and keeps a file for that
in the user's cache folder: on a board that is measured, neither is wanted."""


class RefusedError(Exception):
    """The runtime is not installed, or does not accept a model."""


def open_runtime(name: str) -> Any:
    """The module of a runtime.

    Raises:
        RefusedError: There is none of that name, or it is not installed.
    """
    if name not in MODULES:
        raise RefusedError("no such runtime: {}; known: {}".format(name, ", ".join(NAMES)))
    os.environ.setdefault(*QUIET)
    try:
        return importlib.import_module("." + MODULES[name], __name__)
    except ImportError as cause:
        raise RefusedError(f"{name} cannot be imported on this machine: {cause}") from cause
