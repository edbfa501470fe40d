"""What onnxruntime's providers on the GPU share: input and output stay there, calls wait for it."""

from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import onnxruntime

from . import RefusedError

SEED = 0
WAITS_SINCE = (1, 11)
"""In 1.10 `synchronize_outputs` can crash (onnxruntime's issue 10300), and `run` waits anyway."""
TF32_SINCE = (1, 18)
"""Older versions refuse the option."""

Providers = List[Tuple[str, Dict[str, Any]]]


def version_with(name: str, provider: str) -> str:
    """The version of onnxruntime, where it was built with a provider.

    Raises:
        RefusedError: It was not.
    """
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise RefusedError(
            "{} needs an onnxruntime with {}; installed: {} with {}; try: pip install "
            "onnxruntime-gpu in its place, on a Jetson NVIDIA's own wheel".format(
                name, provider, onnxruntime.__version__, ", ".join(available)
            )
        )
    return str(onnxruntime.__version__)


def is_since(version: str, wanted: Tuple[int, int]) -> bool:
    """Whether onnxruntime is as new as that."""
    return tuple(int(part) for part in version.split(".")[:2]) >= wanted


def cuda_settings(version: str) -> Dict[str, str]:
    """Of the CUDA provider in fp32.

    TF32, the default from Ampere on, has ten bits of mantissa: not what a table calls fp32.
    """
    return {"use_tf32": "0"} if is_since(version, TF32_SINCE) else {}


def load_on_gpu(name: str, model: bytes, providers: Providers) -> Callable[[], object]:
    """A session on the first of the providers, fed with the same random input at every call."""
    version = version_with(name, providers[0][0])
    session = _open(name, model, providers)
    first = session.get_inputs()[0]
    image = np.random.RandomState(SEED).standard_normal(first.shape).astype(np.float32)
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(image, "cuda", 0)
    binding.bind_ortvalue_input(first.name, value)
    binding.bind_output(session.get_outputs()[0].name, "cuda")
    waits = is_since(version, WAITS_SINCE)

    def run() -> None:
        session.run_with_iobinding(binding)
        if waits:
            binding.synchronize_outputs()

    try:
        run()
    except Exception as cause:  # as below
        raise RefusedError(f"{name} refuses the model: {cause}") from cause
    return run


def _open(name: str, model: bytes, providers: Providers) -> Any:
    """A session; onnxruntime would go over to the CPU without an error."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    elsewhere = (
        f"{name} refuses the model: {providers[0][0]} did not start (its libraries or the GPU are "
        "missing) or lacks an operator, and onnxruntime would use the CPU"
    )
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as cause:  # onnxruntime's exceptions share no base class
        if "CPU EP" in str(cause):
            raise RefusedError(elsewhere) from cause
        raise RefusedError(f"{name} refuses the model: {cause}") from cause
    if session.get_providers()[0] != providers[0][0]:
        raise RefusedError(elsewhere)
    session.disable_fallback()
    return session
