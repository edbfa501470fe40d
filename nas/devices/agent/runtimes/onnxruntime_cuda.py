"""The CUDA execution provider of onnxruntime, in fp32."""

from typing import Callable

from .onnxruntime_gpu import cuda_settings, load_on_gpu, version_with

NAME, PROVIDER = "onnxruntime-cuda", "CUDAExecutionProvider"


def version() -> str:
    """The version of onnxruntime."""
    return version_with(NAME, PROVIDER)


def load(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """A session on the GPU; `threads` and `work` are of no use to it."""
    del threads, work
    return load_on_gpu(NAME, model, [(PROVIDER, cuda_settings(version()))])
