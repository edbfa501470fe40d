"""From trials to models: choose finalists, fine-tune, export, check, score, and write the front."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from nas.accuracy.device import deterministic
from nas.accuracy.finetune import FinetuneSettings, finetune
from nas.accuracy.score import Score
from nas.accuracy.supernet_evaluator import logits_of, recalibrate
from nas.data import Dataset, ImageSplit
from nas.export.graph import GraphTarget
from nas.export.onnx_file import check_parity, run_onnx, write_onnx
from nas.export.weights import folded_weights
from nas.files import atomic_path, write_json
from nas.models import Supernet
from nas.models.build import Model
from nas.pareto import non_dominated, select
from nas.search.goals import Front, Goals
from nas.search.study import TrialRecord
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture


def choose_finalists(records: Sequence[TrialRecord], most: int, goals: Goals) -> list[TrialRecord]:
    """Trials that become models: of several fronts in turn the next of each.

    Returns:
        At most `most` trials within the limits, those that cost least by the first objective first.
    """
    ranked = [_ranked(records, most, front) for front in goals.fronts]
    turns = (record for turn in zip_longest(*ranked) for record in turn if record is not None)
    chosen = list({record.id: record for record in turns}.values())[:most]
    return sorted(chosen, key=lambda record: goals.values(record.costs)[0])


def _ranked(records: Sequence[TrialRecord], most: int, front: Front) -> list[TrialRecord]:
    """The front by what each adds to its hypervolume, then trials where it is thinnest.

    Fine-tuning moves accuracies, and large networks gain more by it: places that are left go to the
    most accurate trial in the widest gap of the costs chosen so far, the dear end included.
    """
    inside = [record for record in records if front.strain(record.costs) <= 1]
    if not inside:
        return []
    costs = trial_costs(inside, front)
    found = np.flatnonzero(non_dominated(costs))
    chosen = [inside[found[i]] for i in select(costs[found], most, reference_point(costs))]
    on_front = {inside[i].id for i in found}
    left = [record for record in inside if record.id not in on_front]

    def cost(record: TrialRecord) -> float:
        return front.values(record.costs)[0]

    while left and len(chosen) < most:
        next_one = _fill_widest_gap(chosen, left, cost)
        chosen.append(next_one)
        left.remove(next_one)
    return chosen


def _fill_widest_gap(
    chosen: list[TrialRecord], left: list[TrialRecord], cost: Callable[[TrialRecord], float]
) -> TrialRecord:
    """The most accurate of `left` between the two neighbours that are furthest apart (ratio)."""
    dearest = max(cost(record) for record in [*chosen, *left])
    edges = sorted({cost(record) for record in chosen} | {dearest})
    gaps = sorted(pairwise(edges), key=lambda gap: gap[1] / gap[0], reverse=True)
    for low, high in gaps:
        inside = [record for record in left if low < cost(record) <= high]
        if inside:
            return max(inside, key=lambda record: (record.accuracy, -cost(record)))
    return max(left, key=lambda record: record.accuracy)


def trial_costs(records: Sequence[TrialRecord], front: Front) -> np.ndarray:
    """Error and objectives of trials, all minimised, shape `N x M`; NaN beyond the limits."""
    return front.table([r.accuracy for r in records], [r.costs for r in records])


def reference_point(costs: np.ndarray) -> np.ndarray:
    """A little beyond the worst of each objective; rows with NaN do not count."""
    known = costs[~np.isnan(costs).any(axis=1)]
    worst = known.max(axis=0)
    return np.asarray(worst + 0.1 * np.maximum(worst - known.min(axis=0), 1e-9))


@dataclass(frozen=True)
class Workshop:
    """What is needed to make a finished model of an architecture.

    Attributes:
        supernet: Trained weights.
        dataset: Its data.
        settings: Of the fine-tuning.
        target: What the device's runtime accepts.
        folder: For intermediate results, so that a stopped run continues.
        seed: Of the run.
        threads: Images run beside each other when files are scored.
    """

    supernet: Supernet
    dataset: Dataset
    settings: FinetuneSettings
    target: GraphTarget
    folder: Path
    seed: int
    threads: int

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
    steps = workshop.settings.steps
    total = len(architectures) * (steps + 1)
    with deterministic():
        teacher: Model | None = None
        for index, architecture in enumerate(architectures):

            def on_step(step: int, base: int = index * (steps + 1)) -> None:
                watcher.progress("finalists", base + step, total)

            on_step(0)
            if not workshop.facts_file(architecture).exists():
                teacher = teacher or make_teacher(workshop)
                _make_model(workshop, architecture, teacher, on_step)
    watcher.progress("finalists", total, total)


def make_teacher(workshop: Workshop) -> Model:
    """The supernet's largest network, ready to be asked."""
    supernet = workshop.supernet
    largest = sampling.largest(supernet.space, supernet.plan)
    teacher = supernet.subnet(largest)
    recalibrate(teacher, workshop.dataset, workshop.settings.recalibration_images)
    return teacher


def _make_model(
    workshop: Workshop,
    architecture: Architecture,
    teacher: Model,
    on_step: Callable[[int], None],
) -> None:
    """One model, from the supernet's weights to a checked file and its validation score."""
    dataset = workshop.dataset
    model = workshop.supernet.subnet(architecture)
    # The seed depends on the architecture, not on which others are fine-tuned before it.
    seed = (workshop.seed + int(architecture.id, 16)) % 2**31
    finetune(model, teacher, dataset, workshop.settings, seed, on_step)
    model = model.cpu()
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
    score = score_logits(logits["validation"], dataset.validation)
    write_json(
        workshop.facts_file(architecture),
        {"correct": score.correct, "images": score.images, "parity": parity},
    )


def file_logits(workshop: Workshop, architecture: Architecture, split: ImageSplit) -> np.ndarray:
    """The exported file's logits of a split, `N x classes`."""
    dataset = workshop.dataset
    pixels = split.at(architecture.resolution)
    file = workshop.file(architecture)
    return run_onnx(file, pixels, dataset.mean, dataset.std, workshop.threads)


def score_logits(logits: np.ndarray, split: ImageSplit) -> Score:
    """Top-1 of logits."""
    return Score(int((logits.argmax(axis=1) == split.labels).sum()), len(logits))


def validation_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's validation score."""
    facts = read_facts(workshop, architecture)
    return Score(facts["correct"], facts["images"])


def test_score(workshop: Workshop, architecture: Architecture) -> Score:
    """The exported file's test score; looked at once, when everything is decided."""
    logits = np.load(workshop.test_logits_file(architecture), allow_pickle=False)
    return score_logits(logits, workshop.dataset.test)


def read_facts(workshop: Workshop, architecture: Architecture) -> dict[str, Any]:
    """What `_make_model` wrote."""
    return dict(json.loads(workshop.facts_file(architecture).read_text(encoding="utf-8")))
