"""Searches for several devices and with several limits, held against what enumeration says."""

import itertools
import json

import numpy as np
import pytest

from nas.errors import BudgetError, OptionError
from nas.latency.predict import Prediction, Predictor
from nas.latency.table import load_table
from nas.pareto import non_dominated
from nas.report.page import write_report
from nas.search.candidates import check_limits
from nas.search.costing import Costing
from nas.search.goals import make_goals
from nas.search.run import run_search
from nas.search.study import read_trials
from nas.space import sample as sampling

from .conftest import TINY_TABLE

FIRST, SECOND = str(TINY_TABLE), "raspberry-pi-4"


@pytest.fixture(scope="module")
def networks(space):
    dimensions = space.dimensions("small")
    names = [dimension.name for dimension in dimensions]
    every = itertools.product(*(dimension.choices for dimension in dimensions))
    found = [sampling.from_genome(space, "small", dict(zip(names, g, strict=True))) for g in every]
    return {architecture.id: architecture for architecture in found}


def costing_of(space, settings):
    predictors = {d: Predictor(load_table(d), space, "small", 10) for d in settings.devices}
    return Costing(predictors, make_goals(settings), 9000)


@pytest.fixture(scope="module")
def bounds(space, networks):
    """Upper bounds on both devices of every network, ms."""
    predictors = [Predictor(load_table(d), space, "small", 10) for d in (FIRST, SECOND)]
    return {name: [p.architecture(a).upper_ms for p in predictors] for name, a in networks.items()}


@pytest.fixture(scope="module")
def budgets(bounds):
    """That a third of the networks meets on each device."""
    return np.quantile(list(bounds.values()), 0.33, axis=0)


@pytest.fixture
def both(make_settings, budgets):
    """Settings for both devices."""

    def make(**changes):
        device = {name: f"{ms}ms" for name, ms in zip((FIRST, SECOND), budgets, strict=True)}
        return make_settings(**{"device": device, "budget": None, "trials": 144, **changes})

    return make


def is_inside(bounds, budgets, some=False):
    test = any if some else all
    return {
        name
        for name, found in bounds.items()
        if test(ms <= budget for ms, budget in zip(found, budgets, strict=True))
    }


def test_a_search_for_two_devices_tries_all_models_within_both_budgets_and_no_other(
    both, bounds, budgets, tmp_path, listener
):
    run = run_search(both(), tmp_path / "run", watcher=listener)
    inside = is_inside(bounds, budgets)
    records = read_trials(run.journal)
    assert 10 < len(inside) < 100
    assert {record.id for record in records} == inside
    assert len(records) == len(inside), "none twice"
    front = run.read_front()
    models = front["models"]
    assert {model["id"] for model in models} <= inside
    costs = [
        [1 - m["validation_accuracy"]["value"], *(v["predicted"] for v in m["latency_ms"].values())]
        for m in models
    ]
    assert [not m["dominated"] for m in models] == non_dominated(np.array(costs)).tolist()
    [only] = front["fronts"]
    assert (only["device"], only["recommended"]) == (None, front["recommended"])
    assert only["models"] == [m["id"] for m in models if not m["dominated"]]
    page = write_report(run.path).read_text(encoding="utf-8")
    assert page.count('id="figure-front-') == 2
    assert "Models for tiny-onnxruntime within " in page and " and raspberry-pi-4 within " in page


def test_per_device_each_has_a_front_of_models_within_its_own_budget(
    both, bounds, budgets, tmp_path
):
    run = run_search(both(per_device=True, finalists=4), tmp_path / "run")
    assert {r.id for r in read_trials(run.journal)} == is_inside(bounds, budgets, some=True)
    front = run.read_front()
    assert [found["device"] for found in front["fronts"]] == [FIRST, SECOND]
    for number, found in enumerate(front["fronts"]):
        assert found["recommended"] in found["models"]
        assert all(bounds[name][number] <= budgets[number] for name in found["models"])
    on_one = set().union(*(found["models"] for found in front["fronts"]))
    assert {m["id"] for m in front["models"] if not m["dominated"]} == on_one
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "Recommended for tiny-onnxruntime: model" in page
    assert "Recommended for raspberry-pi-4: model" in page


@pytest.mark.parametrize("sampler", ["front", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_other_limits_hold_for_every_trial_and_for_the_files(
    make_settings, space, networks, tmp_path, sampler
):
    free = costing_of(space, make_settings())
    costs = [free.costs(architecture) for architecture in networks.values()]
    size = int(np.median([found["size_bytes"] for found in costs]))
    memory = int(np.median([found["peak_memory_bytes"] for found in costs]))
    settings = make_settings(
        budget="1s", max_size=f"{size}B", max_memory=f"{memory}B", objective=["size", "latency"],
        sampler=sampler, trials=20,
    )  # fmt: skip
    run = run_search(settings, tmp_path / "run")
    for record in read_trials(run.journal):
        assert record.size_bytes <= size and record.peak_memory_bytes <= memory
    for model in run.read_front()["models"]:
        file = run.path / model["files"]["onnx"]
        assert file.stat().st_size == model["size_bytes"] <= size
        assert model["peak_memory_bytes"] <= memory
    study = [json.loads(line) for line in run.journal.read_text().splitlines()]
    names = [line["system_attr"]["study:metric_names"] for line in study
               if "study:metric_names" in line.get("system_attr", {})]  # fmt: skip
    assert names == [["validation accuracy", f"latency_ms {FIRST}", "size_bytes"]] * 2


class Contrary(Predictor):
    """A device on which what is fast elsewhere is slow."""

    def until_exits(self, network):
        [found] = super().until_exits(network)
        return [Prediction(1 / found.predicted_ms, 0.0, 1 / found.upper_ms, "measured")]


def test_limits_that_exclude_each_other_are_refused_together(space, make_settings):
    table = load_table(FIRST)
    settings = make_settings(device={"this": "0.2ms", "contrary": "4ms"}, budget=None)
    predictors = {
        "this": Predictor(table, space, "small", 10),
        "contrary": Contrary(table, space, "small", 10),
    }
    costing = Costing(predictors, make_goals(settings), 9000)
    with pytest.raises(BudgetError) as caught:
        check_limits(costing, 0)
    text = str(caught.value)
    assert text.startswith(
        "no architecture of tiny (small plan) was found that meets all limits at once; got "
        "'predicted latency on this 0.2 ms, predicted latency on contrary 4 ms'; allowed: the "
        "nearest is "
    )
    assert " (limit " in text and text.endswith("; try: a higher limit there, or another --space")


def test_each_devices_front_has_to_have_something_in_it(space, make_settings):
    table = load_table(FIRST)
    least = space.network(sampling.smallest(space, "small"), 10).cost.macs
    settings = make_settings(
        device={"this": "9ms", "contrary": "4ms"}, budget=None, per_device=True, finalists=2,
        max_macs=str(least + 1000),
    )  # fmt: skip
    predictors = {
        "this": Predictor(table, space, "small", 10),
        "contrary": Contrary(table, space, "small", 10),
    }
    with pytest.raises(BudgetError) as caught:
        check_limits(Costing(predictors, make_goals(settings), 9000), 0)
    assert "meets all limits at once; got 'predicted latency on contrary 4 ms, MACs " in str(
        caught.value
    )


def test_a_limit_just_missed_is_told_with_all_its_digits(space, make_settings):
    predictor = Predictor(load_table(FIRST), space, "small", 10)
    fastest = min(
        predictor.architecture(sampling.smallest(space, "small")).upper_ms,
        *(predictor.architecture(a).upper_ms for a in [sampling.baseline(space, "small", 0.5)]),
    )
    settings = make_settings(budget=f"{fastest * (1 - 1e-6):.9g}ms")
    with pytest.raises(BudgetError) as caught:
        check_limits(costing_of(space, settings), 0)
    got, allowed = str(caught.value).partition("; allowed: at least ")[::2]
    assert got.rpartition("got '")[2].rstrip("'") != allowed.partition(", the upper bound")[0]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (
            {"max_size": "1KB"},
            r"limit on file size; got '1 KB'; allowed: .* KB, the upper bound ",
        ),
        ({"max_memory": "10B"}, r"limit on peak activation memory; got '10 B'; .* --max-memory "),
        ({"max_macs": "10"}, r"meets the limit on MACs; got '10'; allowed: at least .*--max-macs "),
    ],
)
def test_a_limit_that_nothing_meets_says_what_would(both, space, limit, message):
    with pytest.raises(BudgetError, match=message) as caught:
        check_limits(costing_of(space, both(**limit)), 0)
    option, value = str(caught.value).rpartition("try: --")[2].split(",")[0].split()
    given = {option.replace("-", "_"): value}
    assert check_limits(costing_of(space, both(**given)), 0).inside.id


def test_energy_needs_a_table_that_knows_it(both, space):
    with pytest.raises(OptionError, match=r"does not know the energy of every block; got 'energy "):
        check_limits(costing_of(space, both(objective=["energy"])), 0)


def test_the_same_table_by_two_names_is_refused(make_settings, tmp_path):
    settings = make_settings(
        device={"jetson-nano": "9ms", "jetson-nano-tensorrt": "9ms"}, budget=None
    )
    with pytest.raises(OptionError, match="which are the same latency table"):
        run_search(settings, tmp_path / "run")
