"""Hardware-aware neural architecture search for edge devices.

    import nas

    result = nas.find_models(device="jetson-nano", budget="20ms")
    print(result.recommended.file, result.recommended.accuracy)

Names are loaded when they are used: importing the package loads neither torch nor Ray nor plotly.
No name is a folder's: once `nas/search` is loaded, `nas.search` is that module.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# onnxruntime 1.29 and newer send what models they run to their makers, unless they are told not to
# before they are loaded (https://github.com/microsoft/onnxruntime/pull/27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from nas.api import Model, Result, Trained, find_models, open_run, train_model
    from nas.errors import InputError, NasError
    from nas.latency.batch import BatchPredictor
    from nas.latency.predict import Prediction, Predictor
    from nas.latency.table import LatencyTable, load_table
    from nas.search.samplers.domain import ExhaustedError, ParameterDomain
    from nas.search.samplers.front import FrontSampler
    from nas.space import Architecture, SearchSpace, load_space
    from nas.space.sample import sample

_HOMES = {
    "Architecture": "nas.space",
    "BatchPredictor": "nas.latency.batch",
    "ExhaustedError": "nas.search.samplers.domain",
    "FrontSampler": "nas.search.samplers.front",
    "InputError": "nas.errors",
    "LatencyTable": "nas.latency.table",
    "Model": "nas.api",
    "NasError": "nas.errors",
    "ParameterDomain": "nas.search.samplers.domain",
    "Prediction": "nas.latency.predict",
    "Predictor": "nas.latency.predict",
    "Result": "nas.api",
    "SearchSpace": "nas.space",
    "Trained": "nas.api",
    "find_models": "nas.api",
    "load_space": "nas.space",
    "load_table": "nas.latency.table",
    "open_run": "nas.api",
    "sample": "nas.space.sample",
    "train_model": "nas.api",
}

__all__ = [
    "Architecture",
    "BatchPredictor",
    "ExhaustedError",
    "FrontSampler",
    "InputError",
    "LatencyTable",
    "Model",
    "NasError",
    "ParameterDomain",
    "Prediction",
    "Predictor",
    "Result",
    "SearchSpace",
    "Trained",
    "find_models",
    "load_space",
    "load_table",
    "open_run",
    "sample",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
