"""Costs of single architectures, and the same of rows of choices."""

import numpy as np
import pytest

from nas.latency.predict import Predictor
from nas.latency.table import load_table
from nas.search.costing import Costing
from nas.search.goals import make_goals
from nas.search.settings import read_settings
from nas.space import load_space
from nas.space import sample as sampling
from nas.space.choices import ChoiceRows
from nas.space.memory import peak_activation_bytes


def costing_of(settings, space="mobilenetv3"):
    read = read_settings(None, settings)
    found = load_space(space)
    predictors = {d: Predictor(load_table(d), found, "small", 10) for d in read.devices}
    return Costing(predictors, make_goals(read), 2000)


OBJECTIVES = ["latency", "memory", "size", "macs"]
DEVICES = ["jetson-nano", "raspberry-pi-4"]


def limited(space, rows, share):
    """Settings whose every limit has this share of some rows within it."""
    free = costing_of({"device": DEVICES, "budget": "1s", "objective": OBJECTIVES}, space)
    costs = [free.costs(rows.architecture(row)) for row in rows.canonical(drawn_of(rows))]
    bounds = [np.quantile([goal.bound(c) for c in costs], share) for goal in free.goals.every]
    first, second, memory, size, macs = bounds
    return {
        "device": [f"{DEVICES[0]}={first}ms", f"{DEVICES[1]}={second}ms"], "max_size": f"{size}B",
        "max_memory": f"{memory}B", "max_macs": str(macs), "objective": OBJECTIVES,
    }  # fmt: skip


def drawn_of(rows):
    return np.random.default_rng(0).integers(rows.sizes, size=(60, len(rows.sizes)))


@pytest.mark.parametrize(("space", "per_device"), [("mobilenetv3", False), ("mobilenetv2", True)])
def test_rows_cost_what_their_architectures_cost(space, per_device):
    rows = ChoiceRows(load_space(space), "small")
    costing = costing_of({**limited(space, rows, 0.7), "per_device": per_device}, space)
    drawn = drawn_of(rows)
    values, within = costing.batch()(rows.canonical(drawn))
    goals = costing.goals
    assert within.shape == (60, len(goals.fronts))
    assert 0 < within.mean() < 1, "the limits cut through the space"
    for row, found, inside in zip(drawn, values, within, strict=True):
        architecture = rows.architecture(row)
        costs = costing.costs(architecture)
        assert found == pytest.approx(goals.values(costs), rel=1e-9)
        assert inside.tolist() == [front.strain(costs) <= 1 for front in goals.fronts]
        assert costing.strain(architecture) == goals.strain(costs)


def test_costs_are_those_of_the_network():
    costing = costing_of({"device": "jetson-nano", "budget": "3ms"})
    architecture = sampling.baseline(costing.space, "small", 0.5)
    network = costing.space.network(architecture, 10)
    found = costing.costs(architecture)
    assert (found["params"], found["macs"]) == (network.cost.params, network.cost.macs)
    assert found["peak_memory_bytes"] == peak_activation_bytes(network)
    assert 4 * network.cost.params * 0.9 < found["size_bytes"] < 4 * network.cost.params * 1.2
    assert found["energy_mj"] == {}, "the table does not know it"
    assert set(found["latency_ms"]["jetson-nano"]) == {"predicted", "lower", "upper", "provenance"}
