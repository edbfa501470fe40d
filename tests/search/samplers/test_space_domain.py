import numpy as np
import pytest

from nas.accuracy.ranks import kendall
from nas.search.samplers.space_domain import SpaceDomain
from nas.space import load_space
from nas.space import sample as sampling


def make_domain(space="mobilenetv3", plan="small", **options):
    def costs(rows):
        total = 1.0 + np.maximum(rows, 0).sum(axis=1)
        return total[:, None], total < 40

    return SpaceDomain(load_space(space), plan, 10, costs, **options)


def draw(domain, n):
    return np.random.default_rng(0).integers(domain.sizes, size=(n, len(domain.sizes)))


@pytest.mark.parametrize("space", ["mobilenetv3", "nas-bench-macro"])
def test_keys_are_equal_where_canonical_rows_are(space):
    domain = make_domain(space)
    rows = np.repeat(draw(domain, 30), 3, axis=0)
    rows[1::3, -1] = 0
    canonical = [row.tobytes() for row in domain.describe(rows).choices]
    keys = [domain.key(row) for row in rows]
    for same, other in zip(canonical, keys, strict=True):
        assert {k for c, k in zip(canonical, keys, strict=True) if c == same} == {other}


def test_features_are_of_costs_macs_params_and_depth():
    domain = make_domain()
    rows = draw(domain, 5)
    described = domain.describe(rows)
    assert described.costs.shape == (5, 1)
    for row, features, costs in zip(rows, described.features, described.costs, strict=True):
        network = domain.space.network(domain.rows.architecture(row), 10)
        assert features == pytest.approx(
            [
                np.log(costs[0]), np.log(network.cost.macs), np.log(network.cost.params),
                len(network.blocks),
            ]
        )  # fmt: skip


def test_rows_and_parameters_stand_for_each_other():
    domain = make_domain()
    for row in draw(domain, 5):
        assert domain.row(domain.parameters(row)).tolist() == row.tolist()
    assert domain.row({"width": 1.0}) is None
    assert domain.row({**domain.parameters(draw(domain, 1)[0]), "width": 77}) is None


def test_starts_are_rows_of_architectures():
    space = load_space("mobilenetv3")
    first = [sampling.smallest(space, "small"), sampling.largest(space, "small")]
    domain = make_domain(first=first)
    assert [domain.key(row) for row in domain.starts] == [a.id for a in first]


def test_a_cheap_score_of_a_few_becomes_a_feature_of_all():
    domain = make_domain()
    drawn = [domain.rows.architecture(row) for row in draw(domain, 160)]
    scores = [np.log(domain.space.network(a, 10).cost.params) + a.resolution / 16 for a in drawn]
    guided = domain.guided(list(zip(drawn[:64], scores[:64], strict=True)))
    plain, described = (d.describe(draw(domain, 160)[64:]) for d in (domain, guided))
    assert described.features[:, :-1].tolist() == plain.features.tolist()
    assert kendall(described.features[:, -1], scores[64:]).tau > 0.8
    assert guided.describe(draw(domain, 0)).features.shape == (0, plain.features.shape[1] + 1)
    assert domain.guess is None, "the domain that it was made from is as it was"


def test_equal_cheap_scores_say_nothing():
    domain = make_domain()
    drawn = [domain.rows.architecture(row) for row in draw(domain, 12)]
    features = domain.guided([(a, 3.0) for a in drawn]).describe(draw(domain, 9)).features
    assert features[:, -1] == pytest.approx(0, abs=1e-9)
