"""A linear model on a few pixels: what it reaches where the answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from nas.accuracy import linear
from nas.accuracy.linear import linear_score
from nas.data import load_dataset


@pytest.fixture(scope="module")
def digits():
    return load_dataset(None, 0, resolutions=(16, 20))


def with_images(dataset, pixels_of, labels_of=lambda split: split.labels):
    """The same data set with other pixels `N x 16 x 16 x 3` and labels."""
    changed = {}
    for split in dataset.splits():
        labels = labels_of(split)
        pixels = pixels_of(labels).astype(np.uint8)
        changed[split.name] = replace(split, labels=labels, images={16: pixels})
    return replace(dataset, **changed)


def lit(labels):
    """Black images of which one part in the middle row says the class."""
    images = np.zeros((len(labels), 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        image[8, label % 8 * 2, label // 8] = 200
    return images


def test_digits_are_read_well(digits):
    assert 0.92 < linear_score(digits, 359).value < 0.97


def test_what_is_linear_is_found_and_parts_of_a_split_are_scored(digits, monkeypatch):
    monkeypatch.setattr(linear, "CHUNK", 100)
    score = linear_score(with_images(digits, lit), 50)
    assert (score.correct, score.images) == (50, 50)


def test_images_that_say_nothing_are_of_the_class_that_most_are_of(digits):
    grey = with_images(
        digits,
        lambda labels: np.full((len(labels), 16, 16, 3), 90),
        lambda split: np.where(np.arange(len(split)) % 4 == 0, split.labels, 7),
    )
    labels = grey.validation.labels
    assert linear_score(grey, len(labels)).value == np.mean(labels == 7)
    assert linear_score(grey, len(labels), "balanced").value == pytest.approx(0.1)


def test_classes_count_alike_when_balanced(digits):
    """One class in twenty, half of whose images look like the others'."""

    def labels_of(split):
        return (np.arange(len(split)) % 20 == 0).astype(np.int64)

    def pixels_of(labels):
        odd = np.arange(len(labels)) // 20 % 2 == 0
        return lit(np.where((labels == 1) & odd, 1, np.arange(len(labels)) % 3 == 0))

    rare = replace(with_images(digits, pixels_of, labels_of), classes=("many", "few"))
    plain, balanced = (
        linear_score(rare, len(rare.validation), metric) for metric in ("accuracy", "balanced")
    )
    assert plain.per_class == () and plain.value == pytest.approx(0.95, abs=0.01)
    many, few = (correct / images for correct, images in balanced.per_class)
    assert few > 0.4 and many < 1
