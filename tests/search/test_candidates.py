"""The ends of the latency range, budgets that nothing or everything meets, and repair."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import BudgetError
from nas.latency.predict import Predictor
from nas.latency.table import load_table
from nas.search.candidates import check_budget, latency_range, repair
from nas.space import load_space
from nas.space import sample as sampling
from nas.units import parse_latency_ms


def everything(space, plan="small"):
    dimensions = space.dimensions(plan)
    genomes = itertools.product(*(d.choices for d in dimensions))
    names = [d.name for d in dimensions]
    found = (sampling.from_genome(space, plan, dict(zip(names, g, strict=True))) for g in genomes)
    return {architecture.id: architecture for architecture in found}


def strain_of(predictor, budget_ms):
    return lambda architecture: predictor.architecture(architecture).upper_ms / budget_ms


@pytest.fixture(scope="module")
def networks(space):
    return everything(space)


@pytest.fixture(params=["tiny-onnxruntime", "jetson-nano", "raspberry-pi-4"])
def any_predictor(request, space, predictor):
    """A measured table and both that are estimated."""
    if request.param == "tiny-onnxruntime":
        return predictor
    return Predictor(load_table(request.param), space, "small", 10)


def test_the_range_is_that_of_all_networks(any_predictor, networks):
    bounds = {a.id: any_predictor.architecture(a).upper_ms for a in networks.values()}
    found = latency_range(any_predictor)
    assert len(bounds) == 144
    assert (found.fastest_ms, found.slowest_ms) == (min(bounds.values()), max(bounds.values()))
    assert bounds[found.fastest.id] == found.fastest_ms
    assert bounds[found.slowest.id] == found.slowest_ms


def test_the_range_of_a_space_with_variants_is_found_among_samples():
    space = load_space("nas-bench-macro")
    predictor = Predictor(load_table("jetson-nano"), space, space.plans[0], 10)
    found = latency_range(predictor)
    rng = np.random.default_rng(0)
    for _ in range(300):
        drawn = sampling.sample(space, space.plans[0], rng)
        assert found.fastest_ms <= predictor.architecture(drawn).upper_ms <= found.slowest_ms


def test_a_budget_that_nothing_meets_names_the_fastest_and_one_that_it_does(predictor):
    fastest = latency_range(predictor).fastest
    with pytest.raises(BudgetError) as caught:
        check_budget(predictor, 0.01, seed=0)
    assert str(caught.value) == (
        "no architecture of tiny (small plan) meets the budget on tiny-onnxruntime; got '0.01 ms'; "
        f"allowed: at least 0.0991 ms, the upper bound of the fastest architecture {fastest.id} "
        "(measured); try: --budget 0.0991ms, or another --space"
    )
    suggested = re.search("--budget ([0-9.]+ms)", str(caught.value)).group(1)
    assert check_budget(predictor, parse_latency_ms(suggested), seed=0)[1] is None


def test_the_error_says_that_a_table_is_estimated(space):
    predictor = Predictor(load_table("jetson-nano"), space, "small", 10)
    with pytest.raises(BudgetError, match=r"fastest architecture [0-9a-f]{12} \(estimated\); try"):
        check_budget(predictor, 0.01, seed=0)


def test_a_budget_that_binds_needs_no_advice(predictor):
    found, advice = check_budget(predictor, 0.25, seed=0)
    assert advice is None
    assert found == latency_range(predictor)


def test_a_budget_that_everything_meets_shows_the_slowest_and_one_that_halves(predictor, networks):
    found, advice = check_budget(predictor, 100.0, seed=0)
    assert advice.startswith(
        f"The budget of 100 ms binds nothing: even the slowest architecture, {found.slowest.id}, "
        "has an upper bound of 0.599 ms (measured). A budget that halves the space: --budget "
    )
    suggested = parse_latency_ms(advice.rpartition(" ")[2])
    within = [predictor.architecture(a).upper_ms <= suggested for a in networks.values()]
    assert 0.35 < np.mean(within) < 0.65


def test_the_budget_of_the_slowest_binds_nothing(predictor):
    slowest_ms = latency_range(predictor).slowest_ms
    assert check_budget(predictor, slowest_ms, seed=0)[1] is not None
    assert check_budget(predictor, slowest_ms * 0.999, seed=0)[1] is None


def test_what_meets_the_budget_is_not_changed(predictor, networks):
    fastest = latency_range(predictor).fastest
    for architecture in networks.values():
        rng = np.random.default_rng(0)
        if predictor.architecture(architecture).upper_ms <= 0.25:
            assert (
                repair(
                    predictor.space, strain_of(predictor, 0.25), architecture, fastest, set(), rng
                )
                is architecture
            )


@pytest.fixture(scope="module")
def bounded(space, networks):
    """A predictor, and the upper bound of every network."""
    predictor = Predictor(load_table("jetson-nano"), space, "small", 10)
    return predictor, {i: predictor.architecture(a).upper_ms for i, a in networks.items()}


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_repair_never_returns_what_is_over_the_budget_or_taken(bounded, networks, data, seed):
    predictor, bounds = bounded
    ids = sorted(networks)
    budget_ms = data.draw(st.sampled_from(sorted(set(bounds.values()))))
    start = networks[data.draw(st.sampled_from(ids))]
    taken = set(ids) - data.draw(st.sets(st.sampled_from(ids)))
    fastest = networks[min(bounds, key=bounds.__getitem__)]
    rng = np.random.default_rng(seed)
    found = repair(predictor.space, strain_of(predictor, budget_ms), start, fastest, taken, rng)
    if found is not None:
        assert bounds[found.id] <= budget_ms
        assert found.id not in taken


def test_repair_finds_one_of_the_last_that_are_left(predictor, networks):
    allowed = [i for i, a in networks.items() if predictor.architecture(a).upper_ms <= 0.25]
    found = latency_range(predictor)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        left = set(rng.choice(sorted(allowed), 7, replace=False))
        taken = set(allowed) - left
        last = repair(
            predictor.space, strain_of(predictor, 0.25), found.slowest, found.fastest, taken, rng
        )
        assert last is not None and last.id in left


def test_repair_gives_up_where_nothing_is_left(predictor, networks):
    found, rng = latency_range(predictor), np.random.default_rng(0)
    assert (
        repair(
            predictor.space,
            strain_of(predictor, 0.25),
            found.slowest,
            found.fastest,
            set(networks),
            rng,
        )
        is None
    )
    assert (
        repair(
            predictor.space, strain_of(predictor, 0.05), found.slowest, found.fastest, set(), rng
        )
        is None
    )


def test_half_of_the_proposals_are_over_a_budget_at_the_median():
    """And no repaired one is, in the default space on a shipped device."""
    space = load_space("mobilenetv3")
    predictor = Predictor(load_table("jetson-nano"), space, "small", 10)
    rng = np.random.default_rng(7)
    bounds = [
        predictor.architecture(sampling.sample(space, "small", rng)).upper_ms for _ in range(300)
    ]
    budget_ms = float(np.median(bounds))
    fastest, taken = latency_range(predictor).fastest, set()
    refused = 0
    for _ in range(60):
        fresh = sampling.sample(space, "small", rng)
        refused += predictor.architecture(fresh).upper_ms > budget_ms
        found = repair(predictor.space, strain_of(predictor, budget_ms), fresh, fastest, taken, rng)
        assert found is not None and found.id not in taken
        assert predictor.architecture(found).upper_ms <= budget_ms
        taken.add(found.id)
    assert refused >= 0.4 * 60
