"""The sampler on studies whose answers are known."""

import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from threadpoolctl import ThreadpoolController

from nas.pareto import hypervolume
from nas.search.samplers.domain import INTERRUPTED, ExhaustedError, ParameterDomain
from nas.search.samplers.front import ATTEMPTS, FrontSampler

NAMES = [f"x{i}" for i in range(8)]
SPACE = {name: CategoricalDistribution([0, 1, 2]) for name in NAMES}
WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def cost(parameters):
    return 1.0 + sum(parameters[name] for name in NAMES)


def accuracy(parameters):
    """Grows with every choice, less and less; two of them only help together."""
    row = np.array([parameters[name] for name in NAMES])
    both = 0.5 * (row[2] == 2 and row[5] == 2)
    return 0.95 - 0.6 * np.exp(-0.8 * (WEIGHTS @ np.sqrt(row) + both))


def make_domain(**options):
    return ParameterDomain(SPACE, **{"costs": lambda p: [cost(p)], **options})


def make_study(sampler):
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def run(study, trials, values=lambda p: (accuracy(p), cost(p))):
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, values(trial.params))
    return rows(study)


def rows(study):
    return [tuple(t.params[name] for name in NAMES) for t in study.trials if t.params]


def volume(found):
    points = [
        [-accuracy(p), cost(p)] for p in (dict(zip(NAMES, row, strict=True)) for row in found)
    ]
    return hypervolume(np.array(points), np.array([-0.3, 17.0]))


def test_it_needs_far_fewer_trials_than_random_ones():
    ours = volume(run(make_study(FrontSampler(make_domain(), seed=3, log_error=True)), 30))
    others = [
        volume(run(make_study(optuna.samplers.RandomSampler(seed=seed)), 120)) for seed in range(3)
    ]
    assert ours > max(others)


def test_nothing_is_proposed_twice_or_over_the_limit():
    found = run(make_study(FrontSampler(make_domain(limits=[9.0]), seed=0)), 50)
    assert len(set(found)) == 50
    assert max(sum(row) for row in found) <= 8


def test_things_that_are_the_same_are_proposed_once():
    domain = make_domain(identity=lambda p: tuple(sorted(p.values())))  # 45 of them
    study = make_study(FrontSampler(domain, seed=0))
    with pytest.raises(ExhaustedError, match="everything within the limits was proposed before"):
        run(study, 46)
    assert len({tuple(sorted(row)) for row in rows(study)}) == 45


@pytest.mark.parametrize("after", [5, 12, 14, 21])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(after):
    whole = run(make_study(FrontSampler(make_domain(), seed=1)), 26)
    study = make_study(FrontSampler(make_domain(), seed=1))
    run(study, after)
    cut_off = study.ask(SPACE)
    study.tell(cut_off, state=TrialState.FAIL)
    study.sampler = FrontSampler(make_domain(), seed=1)
    run(study, 26 - after)
    assert [row for i, row in enumerate(rows(study)) if i != after] == whole


def test_another_seed_proposes_others():
    assert len({tuple(run(make_study(FrontSampler(make_domain(), seed=s)), 5)) for s in (1, 2)}) > 1


def test_running_trials_are_not_proposed_again():
    study = make_study(FrontSampler(make_domain(), seed=2))
    run(study, 16)
    asked = [study.ask(SPACE) for _ in range(20)]
    found = rows(study)
    assert len(set(found)) == 36
    for trial in asked:
        study.tell(trial, (accuracy(trial.params), cost(trial.params)))
    assert len(set(run(study, 8))) == 44


def test_many_may_run_before_the_first_one_ends():
    study = make_study(FrontSampler(make_domain(), seed=2))
    for _ in range(40):
        study.ask(SPACE)
    assert len(set(rows(study))) == 40


def test_trials_that_others_added_are_learned_from():
    study = make_study(FrontSampler(make_domain(), seed=4))
    rng = np.random.default_rng(0)
    added = [dict(zip(NAMES, row, strict=True)) for row in rng.integers(3, size=(30, 8)).tolist()]
    study.add_trials(
        create_trial(params=p, distributions=SPACE, values=(accuracy(p), cost(p))) for p in added
    )
    study.add_trial(create_trial(params={}, distributions={}, values=(0.5, 1.0)))
    before = volume([tuple(p.values()) for p in added])
    found = run(study, 8)[30:]
    assert not set(found) & {tuple(p.values()) for p in added}
    assert volume(found + [tuple(p.values()) for p in added]) > 1.01 * before


def test_what_fails_is_tried_again_but_not_for_ever():
    study = make_study(FrontSampler(make_domain(), seed=5))
    run(study, 14)
    for _ in range(ATTEMPTS + 1):
        study.tell(study.ask(SPACE), state=TrialState.FAIL)
    failed = rows(study)[14:]
    assert len(set(failed[:ATTEMPTS])) == 1
    assert failed[ATTEMPTS] != failed[0]


def test_what_was_only_interrupted_is_tried_again_however_often():
    study = make_study(FrontSampler(make_domain(), seed=5))
    run(study, 14)
    for _ in range(ATTEMPTS + 3):
        trial = study.ask(SPACE)
        trial.set_user_attr(INTERRUPTED, True)
        study.tell(trial, state=TrialState.FAIL)
    assert len(set(rows(study)[14:])) == 1


def test_starts_come_first():
    first = [dict.fromkeys(NAMES, 2), dict.fromkeys(NAMES, 0)]
    found = run(make_study(FrontSampler(make_domain(first=first), seed=7)), 13)
    assert found[:2] == [(2,) * 8, (0,) * 8]


def test_costs_that_are_not_known_are_learned():
    study = make_study(FrontSampler(ParameterDomain(SPACE), seed=8, log_error=True))
    found = volume(run(study, 30))
    others = [
        volume(run(make_study(optuna.samplers.RandomSampler(seed=seed)), 40)) for seed in range(3)
    ]
    assert found > max(others)


def test_it_is_a_sampler_for_any_study():
    space = {
        "x": FloatDistribution(-3.0, 3.0),
        "n": IntDistribution(1, 9),
        "kind": CategoricalDistribution(["a", "b"]),
    }
    study = optuna.create_study(sampler=FrontSampler(ParameterDomain(space), seed=0))

    def objective(trial):
        x, n = trial.suggest_float("x", -3.0, 3.0), trial.suggest_int("n", 1, 9)
        return (
            (x - 1.1) ** 2 + 0.1 * (n - 4) ** 2 + (trial.suggest_categorical("kind", "ab") == "a")
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.optimize(objective, n_trials=40)
    assert study.best_value < 0.05


def test_other_parameters_are_random_and_those_of_the_domain_as_it_has_them():
    study = optuna.create_study(sampler=FrontSampler(ParameterDomain(SPACE), seed=0))
    assert 0 <= study.ask().suggest_int("y", 0, 3) <= 3
    domain = ParameterDomain({"n": IntDistribution(1, 6)})
    study = optuna.create_study(sampler=FrontSampler(domain, seed=0))
    with pytest.raises(
        ValueError, match="n was asked for with another distribution than the sampl"
    ):
        study.ask().suggest_int("n", 9, 12)


LARGE = {f"x{i}": CategoricalDistribution([0, 1, 2, 3]) for i in range(20)}


def large_domain(**options):
    return ParameterDomain(LARGE, costs=lambda p: [1.0 + sum(p.values())], **options)


@pytest.mark.parametrize("limit", [None, 56.0])
def test_the_front_reaches_the_dearest_and_the_cheapest(limit):
    study = make_study(FrontSampler(large_domain(limits=[limit]), seed=0, log_error=True))
    for _ in range(45):
        trial = study.ask(LARGE)
        total = 1.0 + sum(trial.params.values())
        study.tell(trial, (1 - 0.9 * np.exp(-total / 30), total))
    totals = [t.values[1] for t in study.trials]
    assert min(totals) <= 3
    assert max(totals) >= (50 if limit else 56)  # of 56 and 61; uniform rows end at 48


@pytest.mark.parametrize("limit", [4.0, 9.0])
def test_tight_limits_are_found_without_a_start(limit):
    study = make_study(FrontSampler(large_domain(limits=[limit]), seed=0))
    for _ in range(20):
        trial = study.ask(LARGE)
        study.tell(trial, (0.5, 1.0 + sum(trial.params.values())))
    assert len({tuple(t.params.values()) for t in study.trials}) == 20
    assert max(t.values[1] for t in study.trials) <= limit


@pytest.mark.parametrize("value", [float("inf"), None])
def test_what_had_no_value_is_not_proposed_again(value):
    study = make_study(FrontSampler(make_domain(), seed=6))
    run(study, 10)
    for _ in range(8):
        trial = study.ask(SPACE)
        if value is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, (value, 1.0))
    assert len(set(rows(study))) == 18


def test_threads_share_no_proposal():
    study = make_study(FrontSampler(make_domain(), seed=0))

    def objective(trial):
        parameters = {name: trial.suggest_categorical(name, [0, 1, 2]) for name in NAMES}
        return accuracy(parameters), cost(parameters)

    study.optimize(objective, n_trials=24, n_jobs=4)
    assert len(set(rows(study))) == 24


def test_a_sampler_may_go_from_study_to_study():
    sampler, fresh = FrontSampler(make_domain(), seed=1), FrontSampler(make_domain(), seed=1)
    run(make_study(sampler), 10)
    assert run(make_study(sampler), 10) == run(make_study(fresh), 10)


def test_a_study_made_anew_under_the_same_name_is_another_one(tmp_path):
    def study(storage):
        return optuna.create_study(
            study_name="x", storage=storage, sampler=sampler, directions=["maximize", "minimize"]
        )

    sampler, fresh = FrontSampler(make_domain(), seed=1), FrontSampler(make_domain(), seed=1)
    expected = run(make_study(fresh), 10)
    for _ in range(2):  # each in a storage of its own, where it has the same number
        assert run(study(optuna.storages.InMemoryStorage()), 10) == expected
    storage = optuna.storages.InMemoryStorage()
    for trials in (10, 3):
        assert run(study(storage), trials) == expected[:trials]
        optuna.delete_study(study_name="x", storage=storage)


def test_parameters_that_mean_nothing_beside_others_need_not_be_suggested():
    space = {
        "a": CategoricalDistribution(["x", "y", "z"]),
        "n": IntDistribution(1, 8),
        "lr": FloatDistribution(0.1, 1.0, step=0.1),
    }
    worth = {"x": 0.5, "y": 0.6, "z": 0.2}
    domain = ParameterDomain(
        space, identity=lambda p: (p["a"], p["lr"], p["n"] if p["a"] == "x" else None)
    )
    study = make_study(FrontSampler(domain, seed=0))
    for _ in range(20):
        trial = study.ask()
        a = trial.suggest_categorical("a", ["x", "y", "z"])
        lr = trial.suggest_float("lr", 0.1, 1, step=0.1)
        n = trial.suggest_int("n", 1, 8) if a == "x" else 1
        study.tell(trial, [worth[a] + 0.02 * n - (lr - 0.5) ** 2, n * lr])
    found = [tuple(sorted(t.params.items())) for t in study.trials]
    assert len(set(found)) == 20
    assert max(t.values[0] for t in study.trials) > 0.6


def test_a_fixed_parameter_is_one_of_one_choice():
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        fixed = optuna.samplers.PartialFixedSampler({"x0": 2}, FrontSampler(make_domain(), seed=0))
    study = make_study(fixed)
    with pytest.raises(ValueError, match="without x0 there is no proposal; give a fixed one a"):
        study.ask(SPACE)
    domain = ParameterDomain({**SPACE, "x0": CategoricalDistribution([2])})
    study = make_study(FrontSampler(domain, seed=0))
    trial = study.ask({**SPACE, "x0": CategoricalDistribution([2])})
    assert trial.params["x0"] == 2


def test_trials_of_others_may_have_anything_for_a_number():
    study = make_study(FrontSampler(ParameterDomain({"n": IntDistribution(1, 9)}), seed=0))
    odd = CategoricalDistribution([None, "two"])
    for value in (None, "two"):
        study.add_trial(create_trial(params={"n": value}, distributions={"n": odd}, values=[1, 2]))
    assert 1 <= study.ask({"n": IntDistribution(1, 9)}).params["n"] <= 9


def test_costs_that_are_no_numbers_are_not_feasible():
    domain = make_domain(costs=lambda p: [float("nan") if p["x0"] == 2 else cost(p)])
    assert all(row[0] < 2 for row in run(make_study(FrontSampler(domain, seed=0)), 15))


def test_an_added_trial_is_no_help_where_nothing_is_feasible():
    study = make_study(FrontSampler(make_domain(limits=[0.5]), seed=0))
    study.add_trial(
        create_trial(params=dict.fromkeys(NAMES, 0), distributions=SPACE, values=(0.5, 1.0))
    )
    with pytest.raises(ExhaustedError):
        study.ask(SPACE)


def test_an_attribute_is_learned_in_place_of_the_first_objective():
    def run_with(attribute, first, instead="loss"):
        study = make_study(FrontSampler(make_domain(), seed=3, log_error=True, instead=instead))
        for _ in range(14):
            trial = study.ask(SPACE)
            if attribute and (attribute != "some" or trial.number % 2):
                trial.set_user_attr("loss", 3 * (1 - accuracy(trial.params)))
            study.tell(trial, (first(trial.params), cost(trial.params)))
        return rows(study)

    plain = run_with(None, accuracy, instead="")
    learned = run_with("all", lambda p: 0.5)
    assert learned == plain == run_with("all", accuracy), "only it is looked at"
    assert learned != run_with(None, lambda p: 0.5)
    assert run_with("some", accuracy) == run_with(None, accuracy) == plain, "where all have it"


def test_log_error_is_for_accuracies():
    study = make_study(FrontSampler(make_domain(), seed=0, log_error=True))
    study.tell(study.ask(SPACE), (91.5, 3.0))
    with pytest.raises(ValueError, match="log_error is for accuracies, from 0 to 1 and maximised"):
        study.ask(SPACE)


def test_costs_are_as_many_as_the_objectives_after_the_first():
    study = optuna.create_study(
        directions=["minimize"] * 3, sampler=FrontSampler(make_domain(), seed=0)
    )
    with pytest.raises(ValueError, match="costs are those of the 2 objectives after the first"):
        for _ in range(9):
            study.tell(study.ask(SPACE), (1.0, 2.0, 3.0))


def test_nothing_within_the_limits_ends_the_study():
    study = make_study(FrontSampler(make_domain(limits=[0.5]), seed=0))
    with pytest.raises(ExhaustedError):
        run(study, 1)


class OneLimitEach(ParameterDomain):
    """Two costs with a front and a limit each: what breaks both may not be proposed."""

    fronts = ((0,), (1,))

    def describe(self, rows):
        found = super().describe(rows)
        return replace(found, within=found.costs <= LIMITS)


LIMITS = np.array([4.0, 3.0])


def two_costs(parameters):
    """Each of one half of the choices."""
    row = np.array([parameters[name] for name in NAMES])
    return [1.0 + row[::2].sum(), 1.0 + row[1::2].sum()]


def best_under(found, cost_number):
    """The best accuracy at each value of a cost within its limit."""
    best = {}
    for row in found:
        parameters = dict(zip(NAMES, row, strict=True))
        value = two_costs(parameters)[cost_number]
        if value <= LIMITS[cost_number]:
            best[value] = max(best.get(value, 0.0), accuracy(parameters))
    return best


def test_each_of_several_fronts_is_found_within_its_own_limit():
    every = [tuple(row) for row in np.indices([3] * len(NAMES)).reshape(len(NAMES), -1).T]
    sampler = FrontSampler(OneLimitEach(SPACE, costs=two_costs), seed=1, log_error=True)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    found = run(study, 60, lambda p: (accuracy(p), *two_costs(p)))
    costs = [two_costs(dict(zip(NAMES, row, strict=True))) for row in found]
    assert all((np.array(cost) <= LIMITS).any() for cost in costs)
    assert any(cost[0] > LIMITS[0] for cost in costs) and any(c[1] > LIMITS[1] for c in costs)
    for number in range(2):
        ours, truth = best_under(found, number), best_under(every, number)
        assert set(ours) == set(truth)
        assert max(ours.values()) > max(truth.values()) - 0.005


def test_proposals_keep_linear_algebra_on_one_thread():
    seen, libraries = [], ThreadpoolController().select(user_api="blas")

    def threads():
        return [found["num_threads"] for found in libraries.info()]

    def look(parameters):
        seen.extend(threads())
        return [cost(parameters)]

    before = threads()
    run(make_study(FrontSampler(make_domain(costs=look), seed=0)), 3)
    assert seen and set(seen) == {1}
    assert threads() == before
