import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.search.samplers.domain import STEPS, ParameterDomain, values


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (CategoricalDistribution(["a", None, 3]), ("a", None, 3)),
        (IntDistribution(2, 5), (2, 3, 4, 5)),
        (IntDistribution(2, 8, step=3), (2, 5, 8)),
        (FloatDistribution(0.0, 1.0, step=0.25), (0.0, 0.25, 0.5, 0.75, 1.0)),
        (FloatDistribution(3.0, 3.0), (3.0,)),
    ],
)
def test_few_values_are_all_tried(distribution, expected):
    assert values(distribution) == expected


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(1, 1000),
        IntDistribution(1, 1000, log=True),
        IntDistribution(0, 994, step=7),
        FloatDistribution(-1.0, 1.0),
        FloatDistribution(1e-5, 1.0, log=True),
        FloatDistribution(0.0, 1.0, step=1e-3),
    ],
)
def test_many_values_are_thinned_to_some_that_the_distribution_contains(distribution):
    found = values(distribution)
    assert STEPS - 6 <= len(found) <= STEPS
    assert list(found) == sorted(set(found))
    assert found[0] == pytest.approx(distribution.low)
    assert found[-1] == pytest.approx(distribution.high, rel=0.01)
    assert all(distribution._contains(distribution.to_internal_repr(v)) for v in found)


def make_domain(**options):
    return ParameterDomain(
        {
            "op": CategoricalDistribution(["conv", "skip"]),
            "depth": IntDistribution(1, 3),
            "rate": FloatDistribution(0.0, 1.0),
        },
        **options,
    )


def test_parameters_become_the_nearest_row_and_back():
    domain = make_domain()
    row = domain.row({"op": "skip", "depth": 2, "rate": 0.26})
    assert domain.parameters(row) == {"op": "skip", "depth": 2, "rate": 0.25}
    assert domain.sizes == (2, 3, STEPS)


@pytest.mark.parametrize("parameters", [{}, {"op": "pool", "depth": 2, "rate": 0.5}])
def test_parameters_of_another_study_are_none(parameters):
    assert make_domain().row(parameters) is None


def test_a_description_has_costs_limits_and_places_of_numbers():
    domain = make_domain(
        costs=lambda p: [p["depth"], p["rate"]], limits=[None, 0.5], features=lambda p: [7.0]
    )
    found = domain.describe(np.array([[0, 0, 0], [1, 2, 32]]))
    assert found.costs.tolist() == [[1.0, 0.0], [3.0, 1.0]]
    assert found.feasible.tolist() == [True, False]
    assert found.features.tolist() == [[0.0, 0.0, 7.0], [1.0, 1.0, 7.0]]


def test_costs_that_are_not_known_are_none():
    assert make_domain().describe(np.array([[0, 0, 0]])).costs is None


def test_nothing_is_computed_twice():
    asked = []
    domain = make_domain(costs=lambda p: [asked.append(p) or 1.0])
    for _ in range(2):
        domain.describe(np.array([[0, 0, 0]]))
    assert len(asked) == 1


def test_an_identity_makes_rows_equal():
    domain = make_domain(identity=lambda p: p["depth"])
    assert domain.key(np.array([0, 1, 5])) == domain.key(np.array([1, 1, 9])) == 2


def test_another_kind_of_distribution_is_refused():
    with pytest.raises(TypeError, match="categorical, int or float distributions, not 'x'"):
        values("x")


def test_numbers_outside_their_range_are_of_another_study():
    row = {"op": "skip", "depth": 2, "rate": 0.5}
    assert make_domain().row({**row, "rate": 7.0}) is None
    assert make_domain().row({**row, "depth": 0}) is None


def test_equal_choices_of_different_types_are_told_apart():
    domain = ParameterDomain({"x": CategoricalDistribution([0, False, 1, True, 1.0])})
    for index in range(5):
        assert domain.row(domain.parameters(np.array([index]))).tolist() == [index]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"the first parameters are not of the domain: {'op': 'x'"):
        make_domain(first=[{"op": "x", "depth": 1, "rate": 0.0}])
    with pytest.raises(ValueError, match="2 limits for 1 costs"):
        make_domain(costs=lambda p: [1.0], limits=[1.0, 2.0]).describe(np.array([[0, 0, 0]]))
    with pytest.raises(ValueError, match=r"features are finite numbers; got \[nan\] for {'op'"):
        make_domain(features=lambda p: [float("nan")]).describe(np.array([[0, 0, 0]]))


def test_limits_need_costs():
    with pytest.raises(ValueError, match="limits are held against costs: give a function of them"):
        make_domain(limits=[3.0])
