"""What is minimised and limited: read from settings, held against models, on each front."""

import math

import numpy as np
import pytest

from nas.search.goals import make_goals
from nas.search.settings import read_settings


def goals_of(device="a=2ms", **settings):
    return make_goals(read_settings(None, {"device": device.split(","), **settings}))


def costs(size=1_000_000, macs=5_000_000, memory=1000, energy=None, **latencies):
    return {
        "latency_ms": {d: {"predicted": ms, "upper": 1.5 * ms} for d, ms in latencies.items()},
        "energy_mj": energy or {}, "macs": macs, "params": 1, "size_bytes": size,
        "peak_memory_bytes": memory,
    }  # fmt: skip


def test_one_device_has_one_objective_and_one_limit():
    goals = goals_of()
    [goal] = goals.every
    assert (goal.name, goal.limit, goal.minimised) == ("latency_ms a", 2.0, True)
    assert goals.values(costs(a=1.0)) == [1.0]
    assert goals.strain(costs(a=1.0)) == pytest.approx(0.75), (
        "the bound is held, not the prediction"
    )
    assert [front.device for front in goals.fronts] == [None]


def test_objectives_come_first_and_each_device_has_its_own():
    goals = goals_of("a=2ms,b=4ms", objective=["size", "energy"], max_macs="6M")
    names = [(goal.name, goal.limit, goal.minimised) for goal in goals.every]
    assert names == [
        ("energy_mj a", None, True), ("energy_mj b", None, True), ("size_bytes", None, True),
        ("latency_ms a", 2.0, False), ("latency_ms b", 4.0, False), ("macs", 6e6, False),
    ]  # fmt: skip
    found = goals.values(costs(a=1.0, b=1.0, energy={"a": 3.0}))
    assert found == [3.0, math.inf, 1_000_000], "what is not known is never the best"


@pytest.mark.parametrize(
    ("changes", "strain"),
    [
        ({"a": 1.0, "b": 1.0}, 0.75),
        ({"a": 1.0, "b": 4.0}, 1.5),
        ({"a": 1.0, "b": 1.0, "size": 3_000_000}, 1.5),
        ({"a": 1.0, "b": 1.0, "memory": 2048}, 2.0),
        ({"a": 1.0, "b": 1.0, "macs": 30_000_000}, 3.0),
    ],
)
def test_the_limit_that_is_broken_most_counts(changes, strain):
    limits = {"max_size": "2MB", "max_memory": "1KiB", "max_macs": "10M"}
    assert goals_of("a=2ms,b=4ms", **limits).strain(costs(**changes)) == pytest.approx(
        max(strain, 1000 / 1024)
    )


def test_per_device_a_model_needs_to_hold_on_one():
    goals = goals_of("a=2ms,b=4ms", per_device=True, max_size="2MB")
    assert [front.device for front in goals.fronts] == ["a", "b"]
    assert goals.columns() == [[0], [1]]
    on_b = costs(a=9.0, b=1.0)
    assert goals.strain(on_b) == pytest.approx(0.5)
    first, second = goals.fronts
    assert first.strain(on_b) > 1 >= second.strain(on_b)
    assert goals.strain(costs(a=1.0, b=1.0, size=3_000_000)) > 1, "the size counts on both"


def test_what_breaks_a_limit_is_not_on_the_front():
    [front] = goals_of("a=2ms,b=4ms").fronts
    table = front.table([0.9, 0.8], [costs(a=1.0, b=1.0), costs(a=1.9, b=1.0)])
    assert table[0] == pytest.approx([0.1, 1.0, 1.0])
    assert np.isnan(table[1]).all()
