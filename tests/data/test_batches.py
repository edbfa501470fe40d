"""The stateless sampler: every epoch once, any step at any time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.data import batch_indices

SMALL = st.integers(min_value=1, max_value=50)


@given(n=SMALL, batch_size=SMALL, seed=st.integers(0, 2**32), epochs=st.integers(1, 4))
def test_each_epoch_holds_every_image_exactly_once(
    n: int, batch_size: int, seed: int, epochs: int
) -> None:
    steps = -(-n * epochs // batch_size)
    batches = [batch_indices(n, batch_size, step, seed) for step in range(steps)]
    assert all(len(batch) == batch_size and batch.dtype == np.int64 for batch in batches)
    stream = np.concatenate(batches)
    for epoch in range(epochs):
        assert sorted(stream[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@given(n=SMALL, batch_size=SMALL, step=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_a_step_does_not_depend_on_what_was_asked_before(
    n: int, batch_size: int, step: int, seed: int
) -> None:
    first = batch_indices(n, batch_size, step, seed)
    for other in range(6):
        batch_indices(n, batch_size, other, seed + 1)
    assert np.array_equal(first, batch_indices(n, batch_size, step, seed))


def test_epochs_and_seeds_differ() -> None:
    first = batch_indices(1000, 1000, 0, 0)
    assert not np.array_equal(first, batch_indices(1000, 1000, 1, 0))
    assert not np.array_equal(first, batch_indices(1000, 1000, 0, 1))


def test_a_batch_may_be_changed_by_its_owner() -> None:
    batch_indices(10, 10, 0, 0)[:] = 0
    assert sorted(batch_indices(10, 10, 0, 0).tolist()) == list(range(10))


@pytest.mark.parametrize("wrong", [(0, 1, 0, 0), (1, 0, 0, 0), (1, 1, -1, 0), (1, 1, 0, -1)])
def test_numbers_out_of_range(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="is out of range"):
        batch_indices(*wrong)
