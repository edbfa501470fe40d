"""Accuracy and balanced accuracy: values, intervals, what is counted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.accuracy.score import Score, count_score, mean_loss, wilson


def test_plain_accuracy_is_the_share_of_images_with_wilsons_interval():
    score = count_score(np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2]), "accuracy")
    assert score == Score(3, 4)
    assert (score.metric, score.value) == ("accuracy", 0.75)
    assert score.interval == wilson(3, 4) == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_classes_count_alike_when_balanced():
    labels = np.array([0] * 90 + [1] * 10)
    score = count_score(np.zeros(100, int), labels, "balanced")
    assert score.per_class == ((90, 90), (0, 10))
    assert (score.correct, score.images, score.metric, score.value) == (90, 100, "balanced", 0.5)
    assert count_score(np.zeros(100, int), labels, "accuracy").value == 0.9


def test_classes_without_images_do_not_count():
    score = count_score(np.array([0, 3]), np.array([0, 2]), "balanced")
    assert score.per_class == ((1, 1), (0, 1))


def test_the_loss_is_the_cross_entropy_of_the_images_or_of_the_classes():
    logits = np.random.default_rng(0).normal(0, 30, (40, 3)).astype(np.float32)
    labels = np.array([0] * 36 + [2] * 4)
    images, target = torch.from_numpy(logits), torch.from_numpy(labels)
    each = [nn.functional.cross_entropy(images[target == k], target[target == k]) for k in (0, 2)]
    whole = float(nn.functional.cross_entropy(images, target))
    assert mean_loss(logits, labels, "accuracy") == pytest.approx(whole, rel=1e-6)
    assert mean_loss(logits, labels, "balanced") == pytest.approx(float(sum(each)) / 2, rel=1e-6)


@pytest.mark.parametrize("metric", ["accuracy", "balanced"])
def test_no_images(metric):
    score = count_score(np.zeros(0, int), np.zeros(0, int), metric)
    assert math.isnan(score.value)
    assert math.isnan(mean_loss(np.zeros((0, 3)), np.zeros(0, int), metric))
    assert score.interval == (0.0, 1.0)


def test_the_front_file_says_which_metric():
    entry = Score(2, 3, ((1, 1), (1, 2))).to_json(measured="so")
    assert entry == {
        "value": 0.75, "correct": 2, "images": 3, "interval": entry["interval"],
        "metric": "balanced", "measured": "so",
    }  # fmt: skip
    assert Score(2, 3).to_json()["metric"] == "accuracy"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=8))
def test_the_interval_holds_the_value_and_of_one_class_is_wilsons(pairs):
    classes = tuple((min(pair), max(pair)) for pair in pairs)
    score = Score(sum(c for c, _ in classes), sum(n for _, n in classes), classes)
    low, high = score.interval
    assert 0 <= low <= score.value <= high <= 1
    if len(classes) == 1:
        assert (low, high) == pytest.approx(wilson(*classes[0]))


@pytest.mark.parametrize(
    ("images", "recalls"),
    [([900, 90, 10], [0.95, 0.8, 0.5]), ([200, 20, 5, 5], [0.99, 0.9, 0.9, 0.6]),
     ([50] * 10, [0.9] * 10), ([300, 8], [1.0, 0.97])],
)  # fmt: skip
def test_the_interval_covers_the_truth_about_as_often_as_it_says(images, recalls):
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        pairs = tuple((int(rng.binomial(n, p)), n) for n, p in zip(images, recalls, strict=True))
        low, high = Score(0, 0, pairs).interval
        inside += low <= np.mean(recalls) <= high
    assert 0.925 <= inside / 2000 <= 1.0
