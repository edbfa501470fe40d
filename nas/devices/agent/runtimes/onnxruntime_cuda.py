"""The CUDA execution provider of onnxruntime, in fp32."""

from typing import Callable

from .onnxruntime_gpu import is_since, load_on_gpu, version_with

NAME, PROVIDER = "onnxruntime-cuda", "CUDAExecutionProvider"
TF32_SINCE = (1, 18)
"""Older versions refuse the option."""


def version() -> str:
    """The version of onnxruntime."""
    return version_with(NAME, PROVIDER)


def load(model: bytes, threads: int, work: str) -> Callable[[], object]:
    """A session on the GPU; `threads` and `work` are of no use to it."""
    del threads, work
    # TF32, the default from Ampere on, has ten bits of mantissa: not what a table calls fp32.
    settings = {"use_tf32": "0"} if is_since(version(), TF32_SINCE) else {}
    return load_on_gpu(NAME, model, [(PROVIDER, settings)])
