"""Which images a training step sees, from nothing but the step's number and a seed."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> Indices:
    """The indices of one step: always `batch_size` of them, in 0..n-1.

    The batches cut one endless stream, a fresh permutation of all images per epoch, so each epoch
    holds every image exactly once and a batch may reach into the next epoch (or across several
    where `n < batch_size`). Nothing is remembered between steps: training resumes at any step.

    Args:
        n: Images in the split, at least 1.
        batch_size: At least 1.
        step: The step, from 0.
        seed: Not negative.

    Raises:
        ValueError: A number is out of its range.
    """
    if n < 1 or batch_size < 1 or step < 0 or seed < 0:
        raise ValueError(f"batch_indices({n=}, {batch_size=}, {step=}, {seed=}) is out of range")
    first, last = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(first // n, (last - 1) // n + 1):
        start = epoch * n
        parts.append(_permutation(n, epoch, seed)[max(first - start, 0) : last - start])
    return np.concatenate(parts)


@functools.lru_cache(maxsize=4)
def _permutation(n: int, epoch: int, seed: int) -> Indices:
    order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64)
    order.setflags(write=False)
    return order
