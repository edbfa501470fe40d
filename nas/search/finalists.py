"""From architectures to models: fine-tune, export, check and score them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.accuracy.finetune import Finetuner
from nas.accuracy.score import Metric, Score, count_score
from nas.accuracy.scoring import logits_of
from nas.data import Dataset, ImageSplit
from nas.export.graph import GraphTarget
from nas.export.onnx_file import check_parity, run_onnx, write_onnx
from nas.export.weights import folded_weights
from nas.files import atomic_path, write_json
from nas.search.watch import Watcher
from nas.space.architecture import Architecture


@dataclass(frozen=True)
class Workshop:
    """What is needed to make a finished model of an architecture.

    Attributes:
        finetuner: Trains from the supernet's weights.
        target: What the device's runtime accepts.
        folder: For intermediate results, so that a stopped run continues.
        threads: Images run beside each other when files are scored.
        metric: What is scored.
    """

    finetuner: Finetuner
    target: GraphTarget
    folder: Path
    threads: int
    metric: Metric = "accuracy"

    @property
    def dataset(self) -> Dataset:
        """The images."""
        return self.finetuner.dataset

    def file(self, architecture: Architecture) -> Path:
        """The exported model."""
        return self.folder / f"{architecture.id}.onnx"

    def facts_file(self, architecture: Architecture) -> Path:
        """Its scores; written last."""
        return self.folder / f"{architecture.id}.json"

    def test_logits_file(self, architecture: Architecture) -> Path:
        """The file's logits of the test images, not compared with labels yet."""
        return self.folder / f"{architecture.id}.test.npy"


def make_models(
    workshop: Workshop, architectures: Sequence[Architecture], watcher: Watcher
) -> None:
    """Fine-tune, export and check every architecture that is not done yet."""
    steps = workshop.finetuner.settings.steps
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
    """One model, from the supernet's weights to a checked file and its validation score."""
    dataset, finetuner = workshop.dataset, workshop.finetuner
    model = finetuner.train(architecture, finetuner.settings.steps, on_step).cpu()
    file = workshop.file(architecture)
    write_onnx(file, model.network, folded_weights(model), workshop.target)
    logits = {}
    parity = {}
    for split in (dataset.validation, dataset.test):
        ours = logits_of(model, dataset, split, len(split.labels)).numpy()
        logits[split.name] = file_logits(workshop, architecture, split)
        parity[split.name] = asdict(check_parity(file, ours, logits[split.name]))
    with atomic_path(workshop.test_logits_file(architecture)) as temporary:
        with temporary.open("wb") as opened:
            np.save(opened, logits["test"], allow_pickle=False)
    score = score_logits(logits["validation"], dataset.validation, workshop.metric)
    write_json(
        workshop.facts_file(architecture),
        {
            "correct": score.correct,
            "images": score.images,
            "per_class": score.per_class,
            "parity": parity,
        },
    )


def file_logits(workshop: Workshop, architecture: Architecture, split: ImageSplit) -> np.ndarray:
    """The exported file's logits of a split, `N x classes`."""
    dataset = workshop.dataset
    pixels = split.at(architecture.resolution)
    file = workshop.file(architecture)
    return run_onnx(file, pixels, dataset.mean, dataset.std, workshop.threads)


def score_logits(logits: np.ndarray, split: ImageSplit, metric: Metric = "accuracy") -> Score:
    """The score of logits, `N x classes`."""
    return count_score(logits.argmax(axis=1), split.labels, metric)


def validation_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's validation score."""
    facts = read_facts(workshop, architecture)
    per_class = tuple((correct, images) for correct, images in facts.get("per_class", ()))
    return Score(facts["correct"], facts["images"], per_class)


def test_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's test score; looked at once, when everything is decided."""
    logits = np.load(workshop.test_logits_file(architecture), allow_pickle=False)
    return score_logits(logits, workshop.dataset.test, workshop.metric)


def read_facts(workshop: Workshop, architecture: Architecture) -> dict[str, Any]:
    """What `_make_model` wrote."""
    return dict(json.loads(workshop.facts_file(architecture).read_text(encoding="utf-8")))
