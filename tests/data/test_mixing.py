"""Mixed batches: labels follow the pixels, and nothing else is random."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.data.mixing import mix, one_hot

ALPHAS = st.sampled_from([0.0, 0.2, 1.0])


def _batch(number: int, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Every image is filled with its own number, so that pixels say where they are from."""
    images = torch.arange(number).float()[:, None, None, None].expand(number, 3, size, size)
    return images.contiguous(), one_hot(torch.arange(number), number)


@given(st.integers(0, 10_000), st.integers(1, 9), ALPHAS, ALPHAS)
def test_targets_are_shares_of_what_is_in_the_image(seed, number, mixup, cutmix):
    images, targets = _batch(number)
    rng = np.random.default_rng(seed)
    mixed, wanted = mix(images, targets, rng, mixup=mixup, cutmix=cutmix)
    assert torch.allclose(wanted.sum(1), torch.ones(number))
    assert (wanted >= 0).all()
    # The mean pixel of an image is the mean of its sources, weighted as the target says.
    sources = torch.arange(number).float()
    assert torch.allclose(mixed.mean((1, 2, 3)), wanted @ sources, atol=1e-4)
    assert torch.equal(images, _batch(number)[0]), "what came in is not changed"


@given(st.integers(0, 1000))
def test_cutmix_pastes_one_box_and_mixup_blends_everywhere(seed):
    images, targets = _batch(4)
    pasted, _ = mix(images, targets, np.random.default_rng(seed), mixup=0, cutmix=1)
    assert set(pasted[0].unique().tolist()) <= {0.0, 3.0}
    box = pasted[0, 0] == 3
    rows, columns = box.any(1), box.any(0)
    assert torch.equal(box, rows[:, None] & columns[None, :])
    blended, wanted = mix(images, targets, np.random.default_rng(seed), mixup=1, cutmix=0)
    assert torch.allclose(blended[0], 3 * wanted[0, 3] * torch.ones(3, 8, 8))


def test_both_take_turns_and_the_generator_is_the_only_randomness():
    images, targets = _batch(4)

    def batches(seed):
        rng = np.random.default_rng(seed)
        return [mix(images, targets, rng, mixup=0.5, cutmix=1)[0] for _ in range(40)]

    first, again = batches(0), batches(0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    pasted = sum(set(batch[0].unique().tolist()) <= {0.0, 3.0} for batch in first)
    assert 5 < pasted < 35


def test_nothing_is_mixed_where_nothing_is_asked_for():
    images, targets = _batch(3)
    mixed, wanted = mix(images, targets, np.random.default_rng(0), mixup=0, cutmix=0)
    assert mixed is images and wanted is targets
    with pytest.raises(ValueError, match="alphas are at least 0, got -1 and 0"):
        mix(images, targets, np.random.default_rng(0), mixup=-1, cutmix=0)
