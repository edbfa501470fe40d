"""What networks learn from: classes of uneven size that are to count alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.accuracy.losses import log_shares, on_labels
from nas.data import load_dataset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def uneven():
    """The digits as zeros, a ninth of them as ones."""
    digits = load_dataset(None, 0, resolutions=(16,))
    labels = (digits.train.labels == 1).astype(np.int64)
    return replace(digits, classes=("0", "1"), train=replace(digits.train, labels=labels))


def test_images_count_alike_unless_classes_should(uneven):
    assert log_shares(uneven, "accuracy", CPU) is None
    ones = uneven.train.labels.mean()
    assert log_shares(uneven, "balanced", CPU).exp().tolist() == pytest.approx([1 - ones, ones])


def test_without_shares_it_is_cross_entropy():
    logits, labels = torch.randn(7, 3), torch.arange(7) % 3
    wanted = nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert on_labels(logits, labels, 0.1).equal(wanted)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("probabilities", [False, True])
def test_what_tells_nothing_apart_names_no_class_more_readily(uneven, probabilities, smoothing):
    """The best constant logits are equal with shares, and those of the shares without."""
    labels = torch.from_numpy(uneven.train.labels.copy())
    targets = nn.functional.one_hot(labels, 2).float() if probabilities else labels
    shares = log_shares(uneven, "balanced", CPU)
    assert shares is not None
    evenly = ((1 - smoothing) * shares.exp() + smoothing / 2).log()
    for best, given in ((torch.zeros(2), shares), (evenly, None)):
        constant = best.clone().requires_grad_()
        on_labels(constant.expand(len(labels), 2), targets, smoothing, given).backward()
        assert constant.grad.abs().max() < 1e-6


def test_a_frequent_class_is_named_for_its_images_however_rare_the_others_are():
    """What is learned of images that are surely of a class, with smoothing."""
    shares = torch.tensor([0.989, 0.01, 0.001])
    for label in range(3):
        sure = nn.functional.one_hot(torch.tensor([label]), 3)
        best = (0.9 * sure / shares + 0.1).log().requires_grad_()
        on_labels(best, torch.tensor([label]), 0.1, shares.log()).backward()
        assert best.grad.abs().max() < 1e-6
        assert best.argmax() == label


def test_a_class_without_an_image_is_no_infinity(uneven):
    three = replace(uneven, classes=("0", "1", "2"))
    assert log_shares(three, "balanced", CPU).isfinite().all()
