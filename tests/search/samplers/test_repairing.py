"""The sampler as a sampler of Optuna: feasible, never the same twice, and resumable anywhere."""

import warnings

import numpy as np
import optuna
import pytest

from nas.search.candidates import latency_range, repair
from nas.search.samplers.domain import ExhaustedError
from nas.search.samplers.repairing import (
    RepairingSampler,
    make_proposer,
    quiet_optuna,
)
from nas.search.samplers.space_domain import distributions
from nas.search.study import open_study
from nas.space import sample as sampling

BUDGET_MS = 0.25


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


@pytest.fixture
def make_sampler(space, predictor):
    """Samplers over the tiny space; `taken` is what the study holds already."""
    fastest = latency_range(predictor).fastest

    def make(taken, name="nsga2", trials=30, seed=0, initial=(), budget_ms=BUDGET_MS):
        def strain(architecture):
            return predictor.architecture(architecture).upper_ms / budget_ms

        def fix(genome, rng):
            start = sampling.from_genome(space, "small", genome)
            found = repair(space, strain, start, fastest, taken, rng)
            return None if found is None else sampling.to_genome(space, found)

        propose = make_proposer(name, trials, seed)
        return RepairingSampler(space, "small", propose, fix, initial, seed)

    return make


def in_memory(sampler):
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def scored(space, predictor, study, taken, trials):
    """Ask and tell; accuracy is replaced by something that conflicts with latency."""
    ids = []
    while len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))) < trials:
        trial = study.ask(distributions(space, "small"))
        architecture = sampling.from_genome(space, "small", trial.params)
        latency_ms = predictor.architecture(architecture).predicted_ms
        taken.add(architecture.id)
        ids.append(architecture.id)
        study.tell(trial, [space.network(architecture, 10).cost.params, latency_ms])
    return ids


def test_what_runs_already_counts_where_several_are_asked_for_at_once(space, make_sampler):
    first = [sampling.to_genome(space, sampling.baseline(space, "small", w)) for w in (0.5, 1.0)]
    taken = set()
    study = in_memory(make_sampler(taken, "random", initial=first, budget_ms=100.0))
    found = []
    for _ in range(4):
        trial = study.ask(distributions(space, "small"))
        found.append(sampling.from_genome(space, "small", trial.params).id)
        taken.add(found[-1])
    assert found[:2] == [sampling.from_genome(space, "small", genome).id for genome in first]
    assert len(set(found)) == 4


@pytest.mark.parametrize("name", ["nsga2", "random"])
def test_proposals_are_distinct_and_within_the_budget(space, predictor, make_sampler, name):
    taken = set()
    study = in_memory(make_sampler(taken, name))
    ids = scored(space, predictor, study, taken, 30)
    assert len(set(ids)) == 30
    for trial in study.trials:
        architecture = sampling.from_genome(space, "small", trial.params)
        assert predictor.architecture(architecture).upper_ms <= BUDGET_MS
        assert architecture.id in ids, "the trial stores the repaired choices"


@pytest.mark.parametrize("name", ["nsga2", "random"])
def test_the_same_seed_proposes_the_same_and_another_one_something_else(
    space, predictor, make_sampler, name
):
    runs = []
    for seed in (1, 1, 2):
        taken = set()
        study = in_memory(make_sampler(taken, name, seed=seed))
        runs.append(scored(space, predictor, study, taken, 25))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("name", ["nsga2", "random"])
@pytest.mark.parametrize("stopped_after", [0, 7, 9, 17])
def test_a_study_is_continued_by_a_new_process_as_if_it_had_not_stopped(
    space, predictor, make_sampler, tmp_path, name, stopped_after
):
    whole = set()
    undisturbed = scored(space, predictor, in_memory(make_sampler(whole, name)), whole, 20)
    first, journal = set(), tmp_path / "study.journal"
    study = open_study(journal, make_sampler(first, name), ["latency_ms tiny"])
    ids = scored(space, predictor, study, first, stopped_after)
    study.ask(distributions(space, "small"))  # the trial that was under way when it was killed
    del study
    second = set(ids)
    study = open_study(journal, make_sampler(second, name), ["latency_ms tiny"])
    ids += scored(space, predictor, study, second, 20)
    assert ids == undisturbed
    assert [t.state.name for t in study.trials].count("FAIL") == 1


def test_nothing_depends_on_trial_numbers(space, predictor, make_sampler):
    whole = set()
    undisturbed = scored(space, predictor, in_memory(make_sampler(whole)), whole, 20)
    taken = set()
    study = in_memory(make_sampler(taken))
    ids = scored(space, predictor, study, taken, 3)
    for _ in range(4):
        study.tell(study.ask(distributions(space, "small")), state=optuna.trial.TrialState.FAIL)
    ids += scored(space, predictor, study, taken, 20)
    assert ids == undisturbed


def test_the_first_trials_are_the_given_ones(space, predictor, make_sampler):
    taken = set()
    genomes = [
        sampling.to_genome(space, sampling.smallest(space, "small")),
        sampling.to_genome(space, sampling.baseline(space, "small", 0.5, 16)),
    ]
    expected = [sampling.from_genome(space, "small", genome).id for genome in genomes]
    study = in_memory(make_sampler(taken, initial=genomes))
    assert scored(space, predictor, study, taken, 5)[:2] == expected


def test_a_given_one_that_is_too_slow_is_repaired(space, predictor, make_sampler):
    taken = set()
    slowest = latency_range(predictor).slowest
    study = in_memory(make_sampler(taken, initial=[sampling.to_genome(space, slowest)]))
    [found] = scored(space, predictor, study, taken, 1)
    assert found != slowest.id


def test_an_exhausted_space_is_said(space, predictor, make_sampler):
    fastest_ms = latency_range(predictor).fastest_ms
    taken = set()
    study = in_memory(make_sampler(taken, budget_ms=fastest_ms))
    assert scored(space, predictor, study, taken, 1) == [latency_range(predictor).fastest.id]
    with pytest.raises(ExhaustedError):
        study.ask(distributions(space, "small"))


def test_nsga2_learns_from_what_was_scored(space, predictor, make_sampler):
    """Its later trials are better than random ones by the objective that it is shown."""
    means = {}
    for name in ("nsga2", "random"):
        values = []
        for seed in range(2):
            taken = set()
            study = in_memory(make_sampler(taken, name, trials=40, seed=seed, budget_ms=1.0))
            scored(space, predictor, study, taken, 40)
            values += [t.values[0] / t.values[1] for t in study.trials[20:]]
        means[name] = np.mean(values)
    assert means["nsga2"] > means["random"]


def test_a_dimension_is_never_sampled_by_itself(space, make_sampler):
    sampler = make_sampler(set())
    with pytest.raises(RuntimeError, match="width2 is not a dimension of tiny"):
        sampler.sample_independent(None, None, "width2", None)


def test_the_sampler_works_with_optimize(space, predictor, make_sampler):
    taken = set()
    sampler = make_sampler(taken)

    def objective(trial):
        params = {
            name: trial.suggest_categorical(name, d.choices)
            for name, d in distributions(space, "small").items()
        }
        architecture = sampling.from_genome(space, "small", params)
        taken.add(architecture.id)
        prediction = predictor.architecture(architecture)
        return space.network(architecture).cost.params, prediction.predicted_ms

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = in_memory(sampler)
        study.optimize(objective, n_trials=12)
    assert len(taken) == 12
