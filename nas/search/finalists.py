"""From architectures to models: train, export, check and score them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas.accuracy.exits import leaving_places, predicted_classes
from nas.accuracy.score import Metric, Score, count_score
from nas.accuracy.scoring import logits_of
from nas.data import Dataset, ImageSplit
from nas.export.graph import GraphTarget
from nas.export.onnx_file import add_metadata, check_parity, run_onnx, write_onnx
from nas.export.weights import folded_weights
from nas.files import atomic_path, write_json
from nas.latency.predict import Prediction
from nas.models.build import Model
from nas.search.exits import TunedExits, tune_exits
from nas.search.watch import Watcher
from nas.space.architecture import Architecture, Network


class ModelTrainer(Protocol):
    """Trains one architecture at a time."""

    @property
    def dataset(self) -> Dataset:
        """The images."""
        ...

    def train(
        self, architecture: Architecture, steps: int, on_step: Callable[[int], None]
    ) -> Model:
        """A network of its own, in evaluation mode; the same whatever was trained before."""
        ...


@dataclass(frozen=True)
class Workshop:
    """What is needed to make a finished model of an architecture.

    Attributes:
        trainer: From the supernet's weights, or from scratch.
        steps: For how many optimiser steps.
        target: What the device's runtime accepts.
        folder: For intermediate results, so that a stopped run continues.
        threads: Images run beside each other when files are scored.
        metric: What is scored.
        until_exits: Latency of an inference that leaves at each exit and at the end, which
            thresholds are chosen by; without it they are by multiply-adds.
    """

    trainer: ModelTrainer
    steps: int
    target: GraphTarget
    folder: Path
    threads: int
    metric: Metric = "accuracy"
    until_exits: Callable[[Network], Sequence[Prediction]] | None = None

    @property
    def dataset(self) -> Dataset:
        """The images."""
        return self.trainer.dataset

    def file(self, architecture: Architecture) -> Path:
        """The exported model; with exits its segments are named after it."""
        return self.folder / f"{architecture.id}.onnx"

    def files(self, architecture: Architecture) -> list[Path]:
        """All files of a finished model, in the order in which they run."""
        return [self.folder / name for name in read_facts(self, architecture)["files"]]

    def facts_file(self, architecture: Architecture) -> Path:
        """Its scores; written last."""
        return self.folder / f"{architecture.id}.json"

    def test_logits_file(self, architecture: Architecture) -> Path:
        """The file's logits of the test images, not compared with labels yet."""
        return self.folder / f"{architecture.id}.test.npy"


def make_models(
    workshop: Workshop, architectures: Sequence[Architecture], watcher: Watcher
) -> None:
    """Train, export and check every architecture that is not done yet."""
    steps = workshop.steps
    total = len(architectures) * (steps + 1)
    for index, architecture in enumerate(architectures):

        def on_step(step: int, base: int = index * (steps + 1)) -> None:
            watcher.progress("finalists", base + step, total)

        on_step(0)
        if not workshop.facts_file(architecture).exists():
            _make_model(workshop, architecture, on_step)
    watcher.progress("finalists", total, total)


def _make_model(
    workshop: Workshop, architecture: Architecture, on_step: Callable[[int], None]
) -> None:
    """One model, from its training to a checked file and its validation score."""
    dataset = workshop.dataset
    model = workshop.trainer.train(architecture, workshop.steps, on_step).cpu()
    file = workshop.file(architecture)
    files = write_onnx(file, model.network, folded_weights(model), workshop.target)
    logits, parity = check_files(files, model, dataset, workshop.threads)
    held = io.BytesIO()  # numpy itself does not say why a file cannot be written whole
    np.save(held, logits["test"], allow_pickle=False)
    with atomic_path(workshop.test_logits_file(architecture)) as temporary:
        temporary.write_bytes(held.getvalue())
    exits = _exits(workshop, model.network, logits["validation"]) if len(files) > 1 else None
    thresholds = exits.thresholds if exits else ()
    score = score_logits(logits["validation"], dataset.validation, workshop.metric, thresholds)
    facts = {
        "files": [file.name for file in files],
        "correct": score.correct,
        "images": score.images,
        "per_class": score.per_class,
        "parity": parity,
    }
    if exits:
        facts["exits"] = exits.to_json()
        for file, told in zip(files, exits.metadata(), strict=True):
            add_metadata(file, told)
    write_json(workshop.facts_file(architecture), facts)


def _exits(workshop: Workshop, network: Network, logits: np.ndarray) -> TunedExits:
    until: Sequence[float] = network.macs_until_exits
    if workshop.until_exits is not None:
        until = [prediction.predicted_ms for prediction in workshop.until_exits(network)]
    return tune_exits(logits, workshop.dataset.validation, until, workshop.metric)


def check_files(
    files: Sequence[Path],
    model: Model,
    dataset: Dataset,
    threads: int,
    on_images: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """Compare exported files with torch on every validation and test image.

    Args:
        files: Of one model, to be run by onnxruntime.
        model: What it was made of, on the processor.
        dataset: The images.
        threads: Images run beside each other.
        on_images: Called with the number done.

    Returns:
        The files' logits, of every exit and then of the end, `E x N x classes`, and what was
        compared, both by the name of the split.

    Raises:
        ExportError: The file computes something else.
    """
    logits: dict[str, np.ndarray] = {}
    parity = {}
    for split in (dataset.validation, dataset.test):
        before = sum(found.shape[1] for found in logits.values())
        pixels = split.at(model.network.resolution)
        ours = logits_of(model, dataset, split, len(split.labels)).numpy()
        logits[split.name] = run_onnx(
            files,
            pixels,
            dataset.mean,
            dataset.std,
            threads,
            partial(_later, on_images, before),
        )
        parity[split.name] = asdict(check_parity(files[0], ours, logits[split.name]))
    return logits, parity


def _later(on_images: Callable[[int], None], before: int, done: int) -> None:
    on_images(before + done)


def score_logits(
    logits: np.ndarray,
    split: ImageSplit,
    metric: Metric = "accuracy",
    thresholds: Sequence[float] = (),
) -> Score:
    """The score of logits, `E x N x classes`, where each image leaves."""
    places = leaving_places(logits, thresholds)
    return count_score(predicted_classes(logits, places), split.labels, metric)


def validation_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's validation score."""
    facts = read_facts(workshop, architecture)
    per_class = tuple((correct, images) for correct, images in facts.get("per_class", ()))
    return Score(facts["correct"], facts["images"], per_class)


def test_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's test score; looked at once, when everything is decided."""
    logits = np.load(workshop.test_logits_file(architecture), allow_pickle=False)
    exits = read_facts(workshop, architecture).get("exits", {})
    thresholds = exits.get("thresholds", ())
    return score_logits(logits, workshop.dataset.test, workshop.metric, thresholds)


def read_facts(workshop: Workshop, architecture: Architecture) -> dict[str, Any]:
    """What `_make_model` wrote."""
    return dict(json.loads(workshop.facts_file(architecture).read_text(encoding="utf-8")))
