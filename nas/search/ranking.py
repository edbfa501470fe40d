"""Whether the supernet ranks architectures as training from scratch does (`--check-ranking`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.accuracy.ranks import kendall
from nas.accuracy.score import Score
from nas.accuracy.scoring import score_model
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.files import write_json
from nas.search.candidates import repair
from nas.search.proposals import Hunt
from nas.search.run_folder import RunFolder
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture

STAGE = "ranking"


@dataclass(frozen=True)
class RankingCheck:
    """What is compared, and where it is kept.

    Attributes:
        run: The folder; what is trained is kept in its `work`, the result in `ranking.json`.
        hunt: Settings and limits.
        supernet: Scores as in the search.
        training: Trains from random weights.
    """

    run: RunFolder
    hunt: Hunt
    supernet: SupernetEvaluator
    training: TrainingEvaluator

    @property
    def steps(self) -> int:
        """Optimiser steps of each training."""
        return self.training.recipe.steps(len(self.training.dataset.train.labels))

    def make(self, watcher: Watcher) -> dict[str, Any]:
        """Train the architectures that are not trained yet, and write the result.

        Returns:
            Content of `ranking.json`.

        Raises:
            MemoryFullError: The device has too little memory.
        """
        settings = self.hunt.settings
        drawn = random_architectures(self.hunt, settings.check_ranking)
        total = len(drawn) * self.steps
        models = []
        for index, architecture in enumerate(drawn):

            def on_step(step: int, base: int = index * self.steps) -> None:
                watcher.progress(STAGE, base + step, total)

            on_step(0)
            models.append(self._model(architecture, on_step))
        watcher.progress(STAGE, total, total)
        content = {"schema": 1, "epochs": settings.check_epochs, **_result(models, settings.seed)}
        write_json(self.run.ranking, content)
        return content

    def _model(self, architecture: Architecture, on_step: Callable[[int], None]) -> dict[str, Any]:
        """Both scores of an architecture, trained unless it was."""
        kept = self.run.work / "ranking" / f"{architecture.id}.json"
        if kept.exists():
            return dict(json.loads(kept.read_text(encoding="utf-8")))
        dataset, space = self.training.dataset, self.training.space
        model = self.training.train(architecture, on_step=on_step)
        split = dataset.validation
        trained = score_model(model, dataset, split, len(split.labels), self.supernet.metric)
        found = {
            "id": architecture.id,
            "architecture": architecture.to_json(),
            "macs": space.network(architecture, len(dataset.classes)).cost.macs,
            "supernet": _told(self.supernet.evaluate(architecture)),
            "trained": _told(trained),
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, found)
        return found


def _told(score: Score) -> dict[str, Any]:
    return {"value": score.value, "interval": list(score.interval), "images": score.images}


def _result(models: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Rank correlations with the trained accuracies: of the supernet, and of counting MACs."""
    trained = [model["trained"]["value"] for model in models]
    supernet = [model["supernet"]["value"] for model in models]
    macs = [float(model["macs"]) for model in models]
    return {
        "kendall_tau": asdict(kendall(supernet, trained, seed)),
        "kendall_tau_macs": asdict(kendall(macs, trained, seed)),
        "models": models,
    }


def random_architectures(hunt: Hunt, number: int) -> list[Architecture]:
    """Distinct ones within the limits, drawn by the seed; fewer where no more are found."""
    costing = hunt.costing
    space, plan = costing.space, costing.plan
    rng = np.random.default_rng([hunt.settings.seed, number])
    found: dict[str, Architecture] = {}
    while len(found) < number:
        start = sampling.sample(space, plan, rng)
        another = repair(space, costing.strain, start, hunt.start.inside, found, rng)
        if another is None:
            break
        found[another.id] = another
    return list(found.values())
