"""Hypervolume over trials."""

from __future__ import annotations

import numpy as np
import pytest

from nas.report.history import hypervolume_shares


def test_grows_with_every_better_point_and_never_falls() -> None:
    costs = np.array([[0.5, 0.5], [0.9, 0.9], [0.0, 0.5], [0.5, 0.0]])
    shares = hypervolume_shares(costs, np.array([1.0, 1.0]))
    assert shares == pytest.approx((0.25, 0.25, 0.5, 0.75))


def test_one_architecture_that_is_best_in_everything_is_all_of_it() -> None:
    assert hypervolume_shares(np.array([[0.2, 3.0]]), np.array([0.3, 4.0])) == pytest.approx((1,))


def test_no_trials_have_no_history() -> None:
    assert hypervolume_shares(np.empty((0, 2)), np.array([1.0, 1.0])) == ()
