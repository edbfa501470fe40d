"""Batches for torch: exact normalisation, deterministic augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nas.data.augment import augment, to_batch

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _images(number: int = 6, resolution: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, resolution, resolution, 3), dtype=np.uint8)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_is_normalised_and_channels_last() -> None:
    images = _images()
    images.setflags(write=False)
    batch = to_batch(images, MEAN, STD, "cpu")
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    expected = ((images.astype(np.float32) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    assert np.array_equal(batch.numpy(), expected)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_to_batch_leaves_the_images_alone() -> None:
    images = _images()
    augment(to_batch(images, MEAN, STD), _generator(), flip=True, shift=2).zero_()
    assert np.array_equal(images, _images())


def test_the_generator_is_the_only_randomness() -> None:
    batch = to_batch(_images(), MEAN, STD)
    torch.manual_seed(0)
    first = augment(batch, _generator(), flip=True, shift=2)
    torch.manual_seed(1)
    assert torch.equal(first, augment(batch, _generator(), flip=True, shift=2))
    assert not torch.equal(first, augment(batch, _generator(1), flip=True, shift=2))
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, to_batch(_images(), MEAN, STD))


def test_without_shift_and_flip_nothing_changes() -> None:
    batch = to_batch(_images(), MEAN, STD)
    assert torch.equal(augment(batch, _generator(), flip=False, shift=0), batch)


def test_flip_mirrors_about_half() -> None:
    batch = to_batch(_images(400, 4), MEAN, STD)
    flipped = augment(batch, _generator(), flip=True, shift=0)
    mirrored = (flipped == batch.flip(3)).flatten(1).all(1)
    kept = (flipped == batch).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert 150 < int(mirrored.sum()) < 250


def test_every_shift_occurs_and_each_image_is_a_crop_of_its_reflection() -> None:
    batch = to_batch(_images(200, 8), MEAN, STD)
    shifted = augment(batch, _generator(), flip=False, shift=1)
    padded = torch.nn.functional.pad(batch, (1, 1, 1, 1), mode="reflect")
    seen = set()
    for image, source in zip(shifted, padded, strict=True):
        places = [(y, x) for y in range(3) for x in range(3)]
        (place,) = [p for p in places if torch.equal(image, source[:, p[0] :, p[1] :][:, :8, :8])]
        seen.add(place)
    assert len(seen) == 9


@pytest.mark.parametrize("shift", [-1, 16])
def test_a_shift_stays_below_the_resolution(shift: int) -> None:
    with pytest.raises(ValueError, match="at least 0 and below the resolution 16"):
        augment(to_batch(_images(), MEAN, STD), _generator(), flip=True, shift=shift)
