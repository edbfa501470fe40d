"""What people watch while a search goes on, and what the report's curve is made of."""

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import create_trial

from nas.search.goals import make_goals
from nas.search.settings import read_settings
from nas.search.standing import Standing, front_shares, hypervolume_reference

DEVICES = {"device": ["one=4ms", "two=8ms"]}


def goals(**settings):
    return make_goals(read_settings(None, {"device": "one", "budget": "4ms", **settings}))


def costs(one, two=1.0):
    latency = {
        d: {"predicted": ms, "lower": ms, "upper": ms} for d, ms in (("one", one), ("two", two))
    }
    return {"latency_ms": latency, "macs": 10, "size_bytes": 1, "peak_memory_bytes": 1,
            "energy_mj": {}}  # fmt: skip


def trials(*scored):
    """Of accuracy and latencies, with their numbers."""
    found = []
    for number, (accuracy, *ms) in enumerate(scored):
        trial = create_trial(values=[accuracy, ms[0]], user_attrs=costs(*ms))
        trial.number = number
        found.append(trial)
    return found


def test_grows_with_every_better_point_and_never_falls():
    found = np.array([[0.5, 0.5], [0.9, 0.9], [0.0, 0.5], [0.5, 0.0]])
    assert front_shares(found, np.array([1.0, 1.0])) == pytest.approx((0.25, 0.25, 0.5, 0.75))


def test_no_error_at_no_cost_is_all_of_it_and_what_is_beyond_a_limit_nothing():
    found = np.array([[np.nan, np.nan], [0.3, 5.0], [0.0, 0.0]])
    assert front_shares(found, np.array([0.9, 4.0])) == pytest.approx((0.0, 0.0, 1.0))
    assert front_shares(np.empty((0, 2)), np.array([1.0, 1.0])) == ()


def test_trials_are_counted_once_and_only_scored_ones():
    standing = Standing(goals(), {"latency_ms one": 4.0}, classes=2)
    found = trials((0.75, 2.0), (0.6, 3.0), (0.9, 3.0))
    found.append(create_trial(state=optuna.trial.TrialState.FAIL))
    standing.update(found[:1])
    assert str(standing) == "front 1, hypervolume 0.250, best 75.0 %"
    standing.update(found)
    assert standing.attributes() == {
        "front size": 2,
        "hypervolume": pytest.approx(0.25 + 0.15 / 0.5 * 0.25),
        "best accuracy within the limits": 0.9,
    }


def test_over_a_limit_is_on_no_front():
    standing = Standing(goals(), {"latency_ms one": 4.0}, classes=2)
    assert str(standing) == ""
    standing.update(trials((0.99, 4.5)))
    assert str(standing) == "front 0, hypervolume 0.000, best 0.0 %"


def test_each_device_has_a_front_of_its_own():
    chosen = make_goals(read_settings(None, {**DEVICES, "per_device": True}))
    standing = Standing(chosen, {"latency_ms one": 4.0, "latency_ms two": 8.0}, classes=2)
    standing.update(trials((0.75, 2.0, 9.0), (0.6, 5.0, 4.0)))
    assert str(standing) == "front 1/1, hypervolume 0.250/0.100, best 75.0/60.0 %"
    assert standing.attributes()["best accuracy within the limits"] == {"one": 0.75, "two": 0.6}


@given(
    st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(1, 6)), max_size=20)
)
def test_the_terminal_and_the_report_have_the_same_hypervolume(found):
    chosen, worst = goals(), {"latency_ms one": 4.0}
    standing = Standing(chosen, worst, classes=10)
    scored = trials(*found)
    table = chosen.fronts[0].table([t.values[0] for t in scored], [t.user_attrs for t in scored])
    shares = front_shares(table, hypervolume_reference(chosen.fronts[0], worst, 10))
    for number, share in enumerate(shares, 1):
        standing.update(scored[:number])
        assert standing.hypervolumes == [pytest.approx(share)]
