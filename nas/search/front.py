"""The result: which finalists are on the front, which one is recommended, and the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.export.onnx_file import add_metadata
from nas.files import disk_errors, write_json
from nas.latency.predict import Predictor
from nas.pareto import non_dominated
from nas.search.finalists import Workshop, read_facts, test_score, validation_score
from nas.search.run_folder import RunFolder
from nas.search.trials import prediction_json
from nas.space.architecture import Architecture
from nas.space.memory import peak_activation_bytes

WITHIN = 0.005
RESIZE = "bilinear"


def model_entry(
    workshop: Workshop, predictor: Predictor, device: str, architecture: Architecture
) -> dict[str, Any]:
    """Everything about one model but its test accuracy and its place on the front."""
    network = predictor.space.network(architecture, predictor.classes)
    how = "top-1 of the exported file run by onnxruntime on the CPU, fp32"
    file = f"models/{architecture.id}.onnx"
    return {
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "validation_accuracy": validation_score(workshop, architecture).to_json(
            measured=how, file=file
        ),
        "latency_ms": {device: prediction_json(predictor.architecture(architecture))},
        "params": network.cost.params,
        "macs": network.cost.macs,
        "size_bytes": workshop.file(architecture).stat().st_size,
        "peak_memory_bytes": peak_activation_bytes(network),
        "files": {"onnx": file, "json": f"models/{architecture.id}.json"},
        "parity": read_facts(workshop, architecture)["parity"],
    }


def mark_dominated(entries: Sequence[dict[str, Any]], device: str) -> None:
    """Set `dominated` from validation accuracy and predicted latency."""
    costs = np.array([_costs(entry, device) for entry in entries]).reshape(-1, 2)
    for entry, on_front in zip(entries, non_dominated(costs), strict=True):
        entry["dominated"] = not bool(on_front)


def _costs(entry: dict[str, Any], device: str) -> tuple[float, float]:
    return 1 - entry["validation_accuracy"]["value"], entry["latency_ms"][device]["predicted"]


def recommend(entries: Sequence[dict[str, Any]], device: str) -> str:
    """The fastest model of the front within 0.5 points of the best validation accuracy."""
    front = [entry for entry in entries if not entry["dominated"]]
    best = max(entry["validation_accuracy"]["value"] for entry in front)
    good = [e for e in front if e["validation_accuracy"]["value"] >= best - WITHIN - 1e-12]
    return str(min(good, key=lambda entry: _costs(entry, device)[1])["id"])


def add_test_accuracy(
    workshop: Workshop, entry: dict[str, Any], architecture: Architecture
) -> None:
    """Score the test images, which nothing was selected by."""
    accuracy = entry["validation_accuracy"]
    entry["accuracy"] = test_score(workshop, architecture).to_json(
        measured=accuracy["measured"], file=accuracy["file"]
    )


def publish_model(
    run: RunFolder, workshop: Workshop, entry: dict[str, Any], architecture: Architecture
) -> None:
    """Put a finalist's file into `models/`, with all that is needed to use it in its metadata."""
    dataset = workshop.dataset
    target = run.path / entry["files"]["onnx"]
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workshop.file(architecture), workshop.folder / "publish.onnx")
    temporary = workshop.folder / "publish.onnx"
    add_metadata(temporary, onnx_metadata(dataset, architecture, entry))
    with disk_errors(target):
        temporary.replace(target)
    entry["size_bytes"] = target.stat().st_size
    write_json(run.path / entry["files"]["json"], entry)


def onnx_metadata(
    dataset: Any, architecture: Architecture, entry: dict[str, Any] | None
) -> dict[str, str]:
    """Preprocessing, labels, architecture and accuracy as JSON texts."""
    preprocessing = {
        "color": "RGB",
        "layout": "NCHW",
        "resolution": architecture.resolution,
        "resize": RESIZE,
        "scale": "1/255",
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    metadata = {
        "nas.preprocessing": json.dumps(preprocessing),
        "nas.labels": json.dumps(list(dataset.classes)),
        "nas.architecture": json.dumps(architecture.to_json()),
    }
    if entry is not None:
        scores = {name: entry[name] for name in ("validation_accuracy", "accuracy")}
        metadata["nas.accuracy"] = json.dumps(scores)
    return metadata
