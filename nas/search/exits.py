"""What is said of a model with exits: thresholds, where images leave, what that costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.accuracy.exits import choose_thresholds, expected_cost, leaving_places, leaving_shares
from nas.accuracy.score import Evaluator, Metric, count_score
from nas.data import ImageSplit
from nas.files import write_json
from nas.search.costing import Costing
from nas.search.run_folder import RunFolder
from nas.search.watch import Watcher
from nas.search.work import middle_baseline
from nas.space import sample as sampling
from nas.space.architecture import EXIT, Architecture, stage_of
from nas.space.space import SearchSpace


@dataclass(frozen=True)
class TunedExits:
    """Thresholds that cost no validation accuracy, and what they come to.

    Attributes:
        thresholds: Of each exit: the least probability with which an image leaves there.
        shares: Of the validation images that leave at each exit and at the end.
        accuracies: Of each exit and of the end by itself, on all validation images.
        costs: Of an inference that leaves there.
    """

    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    accuracies: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def expected(self) -> float:
        """The mean cost of an inference."""
        return expected_cost(self.costs, self.shares)

    def to_json(self) -> dict[str, Any]:
        """Without the costs, whose unit is the caller's."""
        return {
            "thresholds": list(self.thresholds),
            "shares": list(self.shares),
            "validation_accuracies": list(self.accuracies),
        }

    def metadata(self) -> list[dict[str, str]]:
        """For each file: which segment it is, and with which probability inference ends there."""
        segments = len(self.shares)
        return [
            {"nas.exit": json.dumps({"segment": number, "of": segments, "threshold": threshold})}
            for number, threshold in enumerate((*self.thresholds, 0.0), 1)
        ]


def tune_exits(
    logits: np.ndarray, split: ImageSplit, costs: Sequence[float], metric: Metric = "accuracy"
) -> TunedExits:
    """Choose thresholds on validation images.

    Args:
        logits: Of every exit and then of the end, `E x N x classes`.
        split: The images.
        costs: Of an inference that leaves there, rising.
        metric: What must not fall.
    """
    thresholds = choose_thresholds(logits, split.labels, costs, metric)
    shares = leaving_shares(leaving_places(logits, thresholds), len(thresholds))
    each = [count_score(found.argmax(axis=1), split.labels, metric).value for found in logits]
    return TunedExits(thresholds, shares, tuple(each), tuple(costs))


def find_staying(
    run: RunFolder, costing: Costing, evaluator: Evaluator, watcher: Watcher
) -> dict[int, float]:
    """Share of the images that reach the exit of a stage and go on, by its number.

    It is that of the hand-made network at a middle width with all of its exits, and what proposals
    count with: exits of other networks are taken to be as sure. Kept in the run's folder.

    Args:
        run: Of the search.
        costing: Of its space.
        evaluator: Scores that network.
        watcher: Hears that it is being scored.
    """
    space, plan = costing.space, costing.plan
    if not space.may_exit:
        return {}
    if run.staying.exists():
        known = json.loads(run.staying.read_text(encoding="utf-8"))
        return {int(stage): float(share) for stage, share in known.items()}
    watcher.progress("exits", 0, 1)
    architecture = with_all_exits(space, middle_baseline(space, plan))
    shares = evaluator.evaluate(architecture).shares
    network = space.network(architecture, costing.classes)
    found, left = {}, 1.0
    for segment, share in zip(network.segments[:-1], shares, strict=False):
        found[stage_of(segment.exit[0])] = 1 - share / left if left else 1.0
        left -= share
    watcher.progress("exits", 1, 1)
    write_json(run.staying, {str(stage): share for stage, share in found.items()})
    return found


def with_all_exits(space: SearchSpace, architecture: Architecture) -> Architecture:
    """The same network with every exit that it may have."""
    genome = sampling.to_genome(space, architecture)
    exits = {d.name: 1 for d in space.choice_dimensions if d.name.endswith(f".{EXIT}")}
    return sampling.from_genome(space, architecture.plan, {**genome, **exits})
