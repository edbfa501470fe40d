"""The result: which finalists are on the front, which one is recommended, and the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from nas.accuracy.score import METRIC_WORDS
from nas.export.onnx_file import add_metadata
from nas.files import disk_errors, write_json
from nas.pareto import non_dominated
from nas.search.costing import Costing, with_shares
from nas.search.finalists import Workshop, read_facts, test_score, validation_score
from nas.search.folders import file_entries, onnx_files
from nas.search.goals import Front, Goals
from nas.search.run_folder import RunFolder
from nas.space.architecture import Architecture

WITHIN = 0.005
RESIZE = "bilinear"
OTHER_METADATA_BYTES = 8192
"""Of metadata without the names of classes: the architecture, the scores, the preprocessing."""


def model_entry(workshop: Workshop, costing: Costing, architecture: Architecture) -> dict[str, Any]:
    """Everything about one model but its test accuracy and its place on the front."""
    what = METRIC_WORDS[workshop.metric]
    how = f"{what} of the exported file run by onnxruntime on the CPU, fp32"
    facts, files = read_facts(workshop, architecture), workshop.files(architecture)
    names = [f"models/{file.name}" for file in files]
    costs, exits = costing.costs(architecture), facts.get("exits")
    if exits:
        costs["latency_ms"] = {
            device: with_shares(latency, exits["shares"])
            for device, latency in costs["latency_ms"].items()
        }
    return {
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "classes": len(workshop.dataset.classes),
        "validation_accuracy": validation_score(workshop, architecture).to_json(
            measured=how, file=names[0]
        ),
        **costs,
        "size_bytes": sum(file.stat().st_size for file in files),
        "files": {**file_entries(names), "json": f"models/{architecture.id}.json"},
        **({"exits": exits} if exits else {}),
        "parity": facts["parity"],
    }


def mark_fronts(entries: Sequence[dict[str, Any]], goals: Goals) -> list[dict[str, Any]]:
    """Which models are on each front, and which one of them is recommended.

    Sets `dominated` of those that are on none.

    Returns:
        For each front its `device` (`None` where all count), `models` and `recommended`, ids; of
        no front that has no model within its limits.
    """
    accuracies = [entry["validation_accuracy"]["value"] for entry in entries]
    fronts = []
    for entry in entries:
        entry["dominated"] = True
    for front in goals.fronts:
        mask = non_dominated(front.table(accuracies, entries))
        members = [entry for entry, on_front in zip(entries, mask, strict=True) if on_front]
        for entry in members:
            entry["dominated"] = False
        if members:
            ids = [entry["id"] for entry in members]
            best = recommend(members, front)
            fronts.append({"device": front.device, "models": ids, "recommended": best})
    return fronts


def recommend(members: Sequence[dict[str, Any]], front: Front) -> str:
    """The model that costs least within 0.5 points of the best validation accuracy.

    Args:
        members: Of the front.
        front: With several objectives the one counts that takes the largest share of its limit,
            or of the dearest model where it has none.
    """
    best = max(entry["validation_accuracy"]["value"] for entry in members)
    good = [e for e in members if e["validation_accuracy"]["value"] >= best - WITHIN - 1e-12]
    scales = [goal.limit or max(goal.value(entry) for entry in members) for goal in front.minimised]

    def share(entry: dict[str, Any]) -> float:
        return max(v / scale for v, scale in zip(front.values(entry), scales, strict=True))

    return str(min(good, key=share)["id"])


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
    """Put a finalist's files into `models/`, their metadata with all that is needed to use them."""
    temporary, size = workshop.folder / "publish.onnx", 0
    for source, name in zip(workshop.files(architecture), onnx_files(entry), strict=True):
        target = run.path / name
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, temporary)
        add_metadata(temporary, onnx_metadata(workshop.dataset, architecture, entry))
        with disk_errors(target):
            temporary.replace(target)
        size += target.stat().st_size
    entry["size_bytes"] = size
    write_json(run.path / entry["files"]["json"], entry)


def metadata_bytes(classes: Sequence[str]) -> int:
    """Upper bound of the size of the texts in a file, for these names of classes."""
    return OTHER_METADATA_BYTES + len(json.dumps(list(classes)))


def data_metadata(dataset: Any, resolution: int) -> dict[str, str]:
    """How images become a file's input, and what its outputs mean, as JSON texts."""
    preprocessing = {
        "color": "RGB",
        "layout": "NCHW",
        "resolution": resolution,
        "resize": RESIZE,
        "scale": "1/255",
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    return {
        "nas.preprocessing": json.dumps(preprocessing),
        "nas.labels": json.dumps(list(dataset.classes)),
    }


def onnx_metadata(
    dataset: Any, architecture: Architecture, entry: dict[str, Any] | None
) -> dict[str, str]:
    """Preprocessing, labels, architecture and accuracy as JSON texts."""
    metadata = {
        **data_metadata(dataset, architecture.resolution),
        "nas.architecture": json.dumps(architecture.to_json()),
    }
    if entry is not None:
        scores = {name: entry[name] for name in ("validation_accuracy", "accuracy")}
        metadata["nas.accuracy"] = json.dumps(scores)
    return metadata
