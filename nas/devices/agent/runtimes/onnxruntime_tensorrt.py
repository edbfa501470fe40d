"""The TensorRT execution provider of onnxruntime, in fp32; what it lacks goes to CUDA."""

import hashlib
import os
from typing import Callable

from .onnxruntime_gpu import cuda_settings, load_on_gpu, version_with

NAME, PROVIDER = "onnxruntime-tensorrt", "TensorrtExecutionProvider"


def version() -> str:
    """The version of onnxruntime."""
    return version_with(NAME, PROVIDER)


def load(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """A session on the GPU; its engine is built once and kept in `work`.

    Every model has a folder of its own there: the provider names engines by their graph and takes
    the engine of another input size for the same (onnxruntime's issue 32254).
    """
    del threads
    cuda = cuda_settings(version())
    folder = os.path.join(work, hashlib.sha256(model).hexdigest()[:32])
    os.makedirs(folder, exist_ok=True)
    settings = {"trt_engine_cache_enable": "True", "trt_engine_cache_path": folder}
    return load_on_gpu(NAME, model, [(PROVIDER, settings), ("CUDAExecutionProvider", cuda)])
