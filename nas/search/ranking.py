"""Whether a finished run's supernet ranks architectures as training from scratch does."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.accuracy.device import training_device, use_threads
from nas.accuracy.memory import memory_errors
from nas.accuracy.ranks import kendall, kendall_difference
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import Score
from nas.accuracy.scoring import score_model
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.errors import RunFolderError
from nas.files import write_json
from nas.models import Supernet
from nas.search.candidates import random_architectures
from nas.search.preparation import Inputs, gather_inputs
from nas.search.ranked import FEWEST
from nas.search.resolved import check_same, check_same_supernet, supernet_job
from nas.search.run_folder import RunFolder, check_finished
from nas.search.settings import SearchSettings
from nas.search.supernets import have_supernet
from nas.search.watch import Watcher
from nas.search.work import Work
from nas.space.architecture import Architecture
from nas.units import plural

STAGE = "ranking"


def check_ranking(
    run: RunFolder, number: int, epochs: int, watcher: Watcher
) -> dict[str, Any] | None:
    """Train random architectures from scratch, and compare their ranks with the supernet's.

    What is trained is kept in the run's folder `ranking`, so that a stopped check goes on.

    Args:
        run: A finished run.
        number: Of architectures within its limits, at least `FEWEST`.
        epochs: Of each training.
        watcher: Hears about the progress.

    Returns:
        Content of `ranking.json`, which is written; `None` where too few are within the limits.

    Raises:
        RunFolderError: The run is not finished, or its space, table or data changed since.
        InputError: What it was made of is gone.
        MemoryFullError: The device has too little memory.
    """
    check_finished(run)
    with run.locked():
        found = _result_of(run, run.ranking)
        # Architectures that were trained for as many epochs are not trained again.
        same = found is not None and found["epochs"] == epochs
        known = found if same else _result_of(run, run.ranking_after(epochs))
        if known is not None and len(known["models"]) >= number:
            _put(run, known, found, watcher)
            return known
        content = run.read_run()
        settings = SearchSettings.model_validate(content["settings"])
        inputs = gather_inputs(run, settings, _ProgressOnly(watcher))
        check_same(run, content, inputs)
        drawn = random_architectures(inputs.costing, inputs.start, number, settings.seed)
        if len(drawn) < number:
            watcher.say(f"Only {len(drawn)} architectures within the limits were found to rank.")
        if len(drawn) < FEWEST:
            watcher.say(f"Ranks are not checked: that takes {FEWEST} or more.")
            return None
        use_threads(inputs.threads)
        scorer = _scorer(run, inputs, Work(**content["work"]), epochs, watcher)
        done = {model["id"]: model for model in known["models"]} if known else {}
        folder = run.path / STAGE / f"{epochs}-epochs"
        with memory_errors(training_device()):
            models = scorer.models(drawn, folder, done, watcher)
        result = {"schema": 1, "epochs": epochs, **_result(models, settings.seed)}
        _put(run, result, found, watcher)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # unless a stopped check for other epochs is kept there
        return result


class _ProgressOnly:
    """What was said when the run began is not said again."""

    def __init__(self, watcher: Watcher) -> None:
        self.progress = watcher.progress

    def say(self, text: str) -> None:
        pass


def _put(
    run: RunFolder, result: dict[str, Any], before: dict[str, Any] | None, watcher: Watcher
) -> None:
    """Write a result; one of trainings of other epochs, whose place it takes, is kept beside it."""
    if before is not None and before["epochs"] != result["epochs"]:
        place = run.ranking_after(before["epochs"])
        write_json(place, before)
        epochs = plural(before["epochs"], "epoch")
        watcher.say(f"The ranking after {epochs} of training is kept: {place}")
    if before != result:
        write_json(run.ranking, result)


def _result_of(run: RunFolder, path: Path) -> dict[str, Any] | None:
    """The result that is there, if it can be read."""
    try:
        return run.read_ranking(path)
    except RunFolderError:
        return None


def _scorer(run: RunFolder, inputs: Inputs, work: Work, epochs: int, watcher: Watcher) -> _Scorer:
    settings, dataset = inputs.settings, inputs.dataset
    supernet = Supernet(inputs.space, inputs.plan, len(dataset.classes), settings.seed)
    supernet = supernet.to(training_device())
    job = supernet_job(inputs, supernet, work)
    check_same_supernet(run, job, settings.supernet)
    have_supernet(job, settings.supernet, watcher)
    images, metric = len(dataset.validation.labels), settings.metric
    return _Scorer(
        SupernetEvaluator(
            supernet, dataset, work.recalibration_images, work.validation_images, None, metric
        ),
        TrainingEvaluator(
            inputs.space, dataset, Recipe(epochs, metric=metric), settings.seed, images, watcher.say
        ),
    )


@dataclass(frozen=True)
class _Scorer:
    """Scores as in the search, and after training from scratch."""

    supernet: SupernetEvaluator
    training: TrainingEvaluator

    def models(
        self,
        drawn: list[Architecture],
        folder: Path,
        done: dict[str, dict[str, Any]],
        watcher: Watcher,
    ) -> list[dict[str, Any]]:
        """Both scores of each; `done` ones, and those kept in the folder, are not trained again."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {a.id: folder / f"{a.id}.json" for a in drawn}
        found = {name: done.get(name) or _read(path) for name, path in kept.items()}
        left = [a for a in drawn if found[a.id] is None]
        steps = self.training.recipe.steps(len(self.training.dataset.train.labels))
        total, before = len(drawn) * steps, (len(drawn) - len(left)) * steps
        watcher.progress(STAGE, before, total)
        for index, architecture in enumerate(left):

            def on_step(step: int, base: int = before + index * steps) -> None:
                watcher.progress(STAGE, base + step, total)

            model = self._model(architecture, on_step)
            write_json(kept[architecture.id], model)
            found[architecture.id] = model
        return [model for model in found.values() if model is not None]

    def _model(self, architecture: Architecture, on_step: Callable[[int], None]) -> dict[str, Any]:
        dataset, space = self.training.dataset, self.training.space
        model = self.training.train(architecture, on_step=on_step)
        split = dataset.validation
        trained = score_model(model, dataset, split, len(split.labels), self.supernet.metric)
        return {
            "id": architecture.id,
            "architecture": architecture.to_json(),
            "macs": space.network(architecture, len(dataset.classes)).cost.macs,
            "supernet": _told(self.supernet.evaluate(architecture)),
            "trained": _told(trained),
        }


def _read(path: Path) -> dict[str, Any] | None:
    """What was trained before; a file that a crash damaged is as none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _told(score: Score) -> dict[str, Any]:
    told = {"value": score.value, "interval": list(score.interval), "images": score.images}
    return told if score.loss is None else {**told, "loss": score.loss}


def _result(models: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Rank correlations with the trained accuracies: of the supernet, and of counting MACs.

    The supernet ranks by the loss, as the search does; models that were trained and kept before
    searches did have none.
    """
    trained = [model["trained"]["value"] for model in models]
    scores = [model["supernet"] for model in models]
    by_loss = all("loss" in score for score in scores)
    supernet = [-score["loss"] if by_loss else score["value"] for score in scores]
    macs = [float(model["macs"]) for model in models]
    return {
        "kendall_tau": asdict(kendall(supernet, trained, seed)),
        "kendall_tau_macs": asdict(kendall(macs, trained, seed)),
        "difference": asdict(kendall_difference(supernet, macs, trained, seed)),
        "models": models,
    }
