"""The ask/tell loop: architectures are proposed, scored, and stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.samplers import BaseSampler
from optuna.study import Study

from nas.accuracy.score import Evaluator
from nas.search.candidates import Start, repair
from nas.search.costing import Costing
from nas.search.samplers.domain import ExhaustedError
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.repairing import RepairingSampler, make_proposer
from nas.search.samplers.space_domain import SpaceDomain, distributions
from nas.search.settings import SearchSettings
from nas.search.study import TrialRecord, changing, open_study, trial_records, write_trial
from nas.search.watch import Watcher
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.sample import Genome


@dataclass(frozen=True)
class Hunt:
    """What the trials of a run need to know.

    Attributes:
        settings: Of the run.
        costing: Costs, objectives and limits.
        start: An architecture within the limits, and the fastest ones.
        evaluator: Accuracy.
    """

    settings: SearchSettings
    costing: Costing
    start: Start
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
    study = open_study(journal, sampler, [goal.name for goal in hunt.costing.goals.minimised])
    taken.update(record.id for record in trial_records(study))
    while len(taken) < settings.trials:
        watcher.progress("search", len(taken), settings.trials)
        refused[0] = 0
        try:
            taken.add(_one_trial(hunt, study, journal, refused))
        except ExhaustedError:
            watcher.say(
                f"The search ends after {len(taken)} architectures: no further one within the "
                "limits was found"
            )
            break
    watcher.progress("search", len(taken), len(taken))
    return trial_records(study)


def _one_trial(hunt: Hunt, study: Study, journal: Path, refused: list[int]) -> str:
    """Ask, score, tell; returns the architecture's id."""
    costing = hunt.costing
    space, plan = costing.space, costing.plan
    try:
        with changing(journal):
            trial = study.ask(distributions(space, plan))
    except ExhaustedError:
        with changing(journal):
            _fail_running(study)
        raise
    architecture = sampling.from_genome(space, plan, trial.params)
    costs = costing.costs(architecture)
    score = hunt.evaluator.evaluate(architecture)
    attributes = {
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "images": score.images,
        **costs,
        "refused": refused[0],
        "origin": _origin(hunt, architecture),
    }
    with changing(journal):
        write_trial(study, trial, attributes)
        study.tell(trial, [score.value, *costing.goals.values(costs)])
    return architecture.id


def _fail_running(study: Study) -> None:
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def baselines(hunt: Hunt) -> list[tuple[float, Architecture]]:
    """The width-scaled hand-made networks that meet the limits, widest first."""
    space, plan = hunt.costing.space, hunt.costing.plan
    scaled = [(w, sampling.baseline(space, plan, w)) for w in sorted(space.file.width)[::-1]]
    return [(w, a) for w, a in scaled if hunt.costing.strain(a) <= 1]


def _origin(hunt: Hunt, architecture: Architecture) -> str:
    for width, baseline in baselines(hunt):
        if baseline.id == architecture.id:
            return f"baseline width {width:g}"
    if architecture.id in [found.fastest.id for found in hunt.start.ranges.values()]:
        return "fastest"
    if architecture.id == hunt.start.inside.id:
        return "furthest within the limits"
    return hunt.settings.sampler


def _sampler(hunt: Hunt, taken: set[str], refused: list[int]) -> BaseSampler:
    """Starts with the baselines and the fastest architectures, then proposes."""
    settings, start = hunt.settings, hunt.start
    fastest = [found.fastest for found in start.ranges.values()]
    ends = {a.id: a for a in (start.inside, *fastest) if hunt.costing.strain(a) <= 1}
    first = [architecture for _, architecture in baselines(hunt)] + list(ends.values())
    if settings.sampler == "front":
        return FrontSampler(_domain(hunt.costing, first), seed=settings.seed, log_error=True)
    return _repairing(hunt, first[: settings.trials], taken, refused)


def _domain(costing: Costing, first: list[Architecture]) -> SpaceDomain:
    """Architectures within the limits, by their objectives after the error."""
    fronts = costing.goals.columns()
    return SpaceDomain(costing.space, costing.plan, costing.classes, costing.batch(), first, fronts)


def _repairing(
    hunt: Hunt, first: list[Architecture], taken: set[str], refused: list[int]
) -> RepairingSampler:
    costing, settings = hunt.costing, hunt.settings
    space, plan, strain = costing.space, costing.plan, costing.strain
    initial = [sampling.to_genome(space, architecture) for architecture in first]

    def fix(genome: Genome, rng: np.random.Generator) -> Genome | None:
        start = sampling.from_genome(space, plan, genome)
        if strain(start) > 1:
            refused[0] += 1
        found = repair(space, strain, start, hunt.start.inside, taken, rng)
        if found is None:
            return None
        return genome if found.id == start.id else sampling.to_genome(space, found)

    propose = make_proposer(settings.sampler, settings.trials, settings.seed)
    return RepairingSampler(space, plan, propose, fix, initial, settings.seed)
