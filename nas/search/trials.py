"""The ask/tell loop: architectures are proposed, scored, and stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.samplers import BaseSampler
from optuna.study import Study

from nas.accuracy.score import Evaluator
from nas.latency.batch import BatchPredictor
from nas.latency.predict import Prediction, Predictor
from nas.search.candidates import Range, repair
from nas.search.samplers.domain import ExhaustedError, Mask
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.repairing import RepairingSampler, make_proposer
from nas.search.samplers.space_domain import SpaceDomain, distributions
from nas.search.settings import SearchSettings
from nas.search.study import TrialRecord, changing, open_study, trial_records, write_trial
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.choices import ChoiceRows, Rows
from nas.space.gather import Values
from nas.space.sample import Genome


@dataclass(frozen=True)
class Hunt:
    """What the trials of a run need to know.

    Attributes:
        settings: Of the run.
        predictor: Latency on the device.
        range: Fastest and slowest architecture.
        evaluator: Accuracy.
    """

    settings: SearchSettings
    predictor: Predictor
    range: Range
    evaluator: Evaluator


def run_trials(hunt: Hunt, journal: Path, watcher: Watcher) -> list[TrialRecord]:
    """Score architectures until `settings.trials` distinct ones are in the study.

    Returns:
        All trials, those of earlier runs of the same study included.
    """
    settings = hunt.settings
    taken: set[str] = set()
    refused: list[int] = [0]
    sampler = _sampler(hunt, taken, refused)
    study = open_study(journal, sampler, settings.device)
    taken.update(record.id for record in trial_records(study))
    while len(taken) < settings.trials:
        watcher.progress("search", len(taken), settings.trials)
        refused[0] = 0
        try:
            taken.add(_one_trial(hunt, study, journal, refused))
        except ExhaustedError:
            watcher.say(
                f"The search ends after {len(taken)} architectures: no further one within the "
                "budget was found"
            )
            break
    watcher.progress("search", len(taken), len(taken))
    return trial_records(study)


def _one_trial(hunt: Hunt, study: Study, journal: Path, refused: list[int]) -> str:
    """Ask, score, tell; returns the architecture's id."""
    space, plan = hunt.predictor.space, hunt.predictor.plan
    try:
        with changing(journal):
            trial = study.ask(distributions(space, plan))
    except ExhaustedError:
        with changing(journal):
            _fail_running(study)
        raise
    architecture = sampling.from_genome(space, plan, trial.params)
    prediction = hunt.predictor.architecture(architecture)
    score = hunt.evaluator.evaluate(architecture)
    cost = space.network(architecture, hunt.predictor.classes).cost
    attributes = {
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "images": score.images,
        "latency_ms": {hunt.settings.device: prediction_json(prediction)},
        "params": cost.params,
        "macs": cost.macs,
        "refused": refused[0],
        "origin": _origin(hunt, architecture),
    }
    with changing(journal):
        write_trial(study, trial, attributes)
        study.tell(trial, [score.value, prediction.predicted_ms])
    return architecture.id


def _fail_running(study: Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def prediction_json(prediction: Prediction) -> dict[str, float | str]:
    """For trials and `front.json`."""
    return {
        "predicted": prediction.predicted_ms,
        "lower": prediction.lower_ms,
        "upper": prediction.upper_ms,
        "provenance": prediction.provenance,
    }


def baselines(hunt: Hunt) -> list[tuple[float, Architecture]]:
    """The width-scaled hand-made networks that meet the budget, widest first."""
    space, plan = hunt.predictor.space, hunt.predictor.plan
    scaled = [(w, sampling.baseline(space, plan, w)) for w in sorted(space.file.width)[::-1]]
    budget_ms = hunt.settings.budget_ms
    return [(w, a) for w, a in scaled if hunt.predictor.architecture(a).upper_ms <= budget_ms]


def _origin(hunt: Hunt, architecture: Architecture) -> str:
    for width, baseline in baselines(hunt):
        if baseline.id == architecture.id:
            return f"baseline width {width:g}"
    if architecture.id == hunt.range.fastest.id:
        return "fastest"
    return hunt.settings.sampler


def _sampler(hunt: Hunt, taken: set[str], refused: list[int]) -> BaseSampler:
    """Starts with the baselines and the fastest architecture, then proposes."""
    settings = hunt.settings
    first = [architecture for _, architecture in baselines(hunt)] + [hunt.range.fastest]
    if settings.sampler == "front":
        return FrontSampler(_domain(hunt, first), seed=settings.seed, log_error=True)
    return _repairing(hunt, first[: settings.trials], taken, refused)


def _domain(hunt: Hunt, first: list[Architecture]) -> SpaceDomain:
    """Architectures whose upper bound is within the budget, by their predicted latency."""
    predictor, budget_ms = BatchPredictor(hunt.predictor), hunt.settings.budget_ms
    rows = ChoiceRows(hunt.predictor.space, hunt.predictor.plan)

    def costs(canonical: Rows) -> tuple[Values, Mask]:
        found = predictor.predict(rows.pack(canonical))
        return found.predicted_ms[:, None], found.upper_ms <= budget_ms

    return SpaceDomain(rows.space, rows.plan, hunt.predictor.classes, costs, first)


def _repairing(
    hunt: Hunt, first: list[Architecture], taken: set[str], refused: list[int]
) -> RepairingSampler:
    space, plan, settings = hunt.predictor.space, hunt.predictor.plan, hunt.settings
    initial = [sampling.to_genome(space, architecture) for architecture in first]

    def fix(genome: Genome, rng: np.random.Generator) -> Genome | None:
        start = sampling.from_genome(space, plan, genome)
        if hunt.predictor.architecture(start).upper_ms > settings.budget_ms:
            refused[0] += 1
        found = repair(hunt.predictor, settings.budget_ms, start, hunt.range.fastest, taken, rng)
        if found is None:
            return None
        return genome if found.id == start.id else sampling.to_genome(space, found)

    propose = make_proposer(settings.sampler, settings.trials, settings.seed)
    return RepairingSampler(space, plan, propose, fix, initial, settings.seed)
