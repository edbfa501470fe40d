"""How much work a run does, from settings and data alone or from injected speeds."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from nas.models import Supernet
from nas.search import work as working
from nas.search.work import (
    Speeds,
    default_work,
    estimate,
    limited_work,
    middle_baseline,
    supernet_settings,
    time_speeds,
)

SPEEDS = Speeds(supernet_step=0.1, score_image=0.001, finetune_step=0.05, file_image=0.0005)


@dataclasses.dataclass
class Split:
    labels: np.ndarray


@dataclasses.dataclass
class Images:
    """As much of a data set as work is computed from."""

    train: Split
    validation: Split
    test: Split


def images(train, validation, test):
    return Images(*(Split(np.zeros(n, dtype=np.int64)) for n in (train, validation, test)))


PHOTOS = images(40_000, 5_000, 10_000)
DIGITS = images(1078, 360, 359)


def test_own_images_are_trained_on_for_30_epochs(make_settings):
    settings = make_settings(data="photos", supernet_steps=None, finetune_steps=None)
    work = default_work(settings, PHOTOS)
    assert work.supernet_steps * work.batch_size == pytest.approx(30 * 40_000, rel=0.01)
    assert work.validation_images == 5_000


def test_steps_of_more_images_are_fewer(make_settings, monkeypatch):
    """Which is so on a GPU, or where the batch is given: the images seen stay the same."""
    settings = make_settings(data="photos", supernet_steps=None)
    usual = default_work(settings, PHOTOS)
    given = default_work(
        make_settings(data="photos", supernet_steps=None, supernet_batch=64), PHOTOS
    )
    monkeypatch.setattr(working, "training_device", lambda: torch.device("cuda"))
    gpu = default_work(settings, PHOTOS)
    given_file = make_settings(data="photos", supernet_steps=None, supernet="a.safetensors")
    assert default_work(given_file, PHOTOS) == usual  # so that machines of both kinds share a study
    assert [work.supernet_batch for work in (usual, given, gpu)] == [32, 64, 256]
    seen = [work.supernet_steps * work.supernet_batch for work in (usual, given, gpu)]
    assert max(seen) - min(seen) < 256
    assert {work.finetune_steps for work in (usual, given, gpu)} == {usual.finetune_steps}


def test_the_digits_have_their_own_numbers(make_settings):
    work = default_work(make_settings(supernet_steps=None, finetune_steps=None), DIGITS)
    assert work.supernet_steps == working.DIGITS_SUPERNET_STEPS
    assert work.finetune_steps == working.DIGITS_FINETUNE_STEPS
    assert work.recalibration_images <= 1078


def test_photos_are_learned_from_more_slowly_and_from_small_ones_on(make_settings, monkeypatch):
    """Not on a GPU, where batches are larger and every size costs time."""
    photos = make_settings(data="photos")
    recipes = [supernet_settings(each, 100, 32) for each in (make_settings(), photos)]
    monkeypatch.setattr(working, "training_device", lambda: torch.device("cuda"))
    recipes += [supernet_settings(photos, 100, batch) for batch in (256, 32, 8)]
    assert [recipe.progressive for recipe in recipes] == [False, True, False, False, False]
    assert [recipe.learning_rate for recipe in recipes] == [0.2, 0.05, 0.2, 0.05, 0.05]


def test_numbers_that_are_given_are_kept(make_settings):
    settings = make_settings(supernet_steps=77, finetune_steps=9)
    for work in (
        default_work(settings, PHOTOS),
        limited_work(settings, PHOTOS, SPEEDS, 3600, models=12),
    ):
        assert (work.supernet_steps, work.finetune_steps) == (77, 9)


@pytest.mark.parametrize(
    ("changes", "promoted"),
    [
        ({"trials": 64, "finalists": 8}, 16),
        ({"trials": 10, "finalists": 8}, 10),
        ({"trials": 8, "finalists": 8}, 0),
        ({"trials": 64, "finalists": 8, "promote": 30}, 30),
        ({"trials": 64, "finalists": 8, "promote": 0}, 0),
    ],
)
def test_twice_as_many_as_finalists_are_trained_briefly(make_settings, changes, promoted):
    work = default_work(make_settings(finetune_steps=400, **changes), DIGITS)
    assert work.promoted == promoted
    assert (work.short_training.name, work.short_training.steps) == ("short training", 100)


@pytest.mark.parametrize("limit_s", [1200.0, 7200.0])
def test_a_time_limit_is_shared_out(make_settings, limit_s):
    settings = make_settings(data="photos", trials=64, supernet_steps=None, finetune_steps=None)
    work = limited_work(settings, PHOTOS, SPEEDS, limit_s, models=12)
    files_s = 12 * 15_000 * SPEEDS.file_image
    left_s = limit_s - files_s
    expected = estimate(work, SPEEDS, PHOTOS, 64, 12, work.supernet_steps)
    assert expected.supernet == pytest.approx(0.6 * left_s, rel=0.01)
    assert expected.scoring <= 0.16 * left_s
    scoring_again = expected.scoring * work.promoted / (working.CHECKED_NETWORKS + 64)
    training_s = expected.finalists - files_s + expected.short_training - scoring_again
    assert training_s == pytest.approx(0.2 * left_s, rel=0.03)
    assert expected.total <= limit_s


@pytest.mark.parametrize("given", [{"supernet": "a.safetensors"}, {"supernet_steps": 100}])
def test_what_the_supernet_does_not_take_goes_to_the_others(make_settings, given):
    changes = {"data": "photos", "trials": 64, "supernet_steps": None, "finetune_steps": None}
    settings = make_settings(**{**changes, **given})
    plain = limited_work(make_settings(**changes), PHOTOS, SPEEDS, 1800.0, models=12)
    work = limited_work(settings, PHOTOS, SPEEDS, 1800.0, models=12)
    left = 0 if "supernet" in given else work.supernet_steps
    expected = estimate(work, SPEEDS, PHOTOS, 64, 12, left).total
    assert 0.6 * 1800 < expected <= 1800, "scoring has no more images than there are"
    assert work.finetune_steps > 2 * plain.finetune_steps
    assert work.validation_images > plain.validation_images


def test_scoring_many_files_leaves_time_to_train_what_is_in_them(make_settings):
    """12 models of 15,000 images: 90 s of seven minutes, half of one."""
    settings = make_settings(data="photos", supernet_steps=None, finetune_steps=None)
    steps = [
        limited_work(settings, PHOTOS, SPEEDS, limit_s, models=12).finetune_steps
        for limit_s in (60.0, 420.0)
    ]
    trained = 12 + 0.25 * 2 * settings.finalists
    for found, left_s in zip(steps, (30, 330), strict=True):
        expected = max(5, 0.2 * left_s / trained / SPEEDS.finetune_step)
        assert found == pytest.approx(expected, abs=1)


def test_more_time_is_never_less_work(make_settings):
    settings = make_settings(data="photos", supernet_steps=None, finetune_steps=None)
    works = [
        limited_work(settings, PHOTOS, SPEEDS, limit_s, models=12)
        for limit_s in (60.0, 600.0, 6_000.0, 60_000.0)
    ]
    for less, more in pairwise(map(dataclasses.astuple, works)):
        assert all(a <= b for a, b in zip(less, more, strict=True))
    assert works[-1].validation_images == 5_000


def test_a_limit_that_is_too_short_leaves_the_least_that_makes_sense(make_settings):
    settings = make_settings(supernet_steps=None, finetune_steps=None)
    work = limited_work(settings, DIGITS, SPEEDS, 1.0, models=12)
    assert work.supernet_steps >= 10 and work.finetune_steps >= 5
    assert 0 < work.recalibration_images <= 1078
    assert work.validation_images == 360, "few images are all scored, whatever the limit"


def test_the_estimate_counts_what_is_left(make_settings):
    settings = make_settings(supernet_steps=100, finetune_steps=10)
    work = default_work(settings, DIGITS)
    whole = estimate(work, SPEEDS, DIGITS, trials=64, models=8, steps_left=100)
    half = estimate(work, SPEEDS, DIGITS, trials=64, models=8, steps_left=50)
    assert (whole.supernet, half.supernet) == pytest.approx((10.0, 5.0))
    assert whole.finalists == half.finalists > 8 * 10 * 0.05
    assert str(whole).startswith("about ") and "supernet 10 s" in str(whole)


def test_timing_leaves_the_supernet_as_it_was(space, dataset, make_settings):
    supernet = Supernet(space, "small", 10, seed=0)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    speeds = time_speeds(supernet, dataset, make_settings())
    *used, trial_step = dataclasses.astuple(speeds)
    assert min(used) > 0
    assert trial_step == 0, "no trial is trained"
    assert all(torch.equal(before[n], tensor) for n, tensor in supernet.state_dict().items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_the_steps_of_a_given_supernet_are_not_timed(space, dataset, make_settings):
    settings = make_settings(supernet="a.safetensors", supernet_steps=None)
    speeds = time_speeds(Supernet(space, "small", 10, seed=0), dataset, settings)
    assert speeds.supernet_step == 0 and speeds.finetune_step > 0


def test_the_time_of_a_step_is_a_mean_over_the_sizes_of_its_images(
    space, dataset, make_settings, monkeypatch
):
    """Own images begin small; the digits do not."""
    sides = []

    def side_of(action, repeats):
        action()
        return sides[-1] if sides else 1.0  # the others have no supernet

    def look(module, inputs):
        sides.append(inputs[1].shape[-1] / inputs[0].resolution)

    monkeypatch.setattr(working, "median_s", side_of)
    supernet = Supernet(space, "small", 10, seed=0)
    supernet.register_forward_pre_hook(look)
    found = [
        time_speeds(supernet, dataset, make_settings(data=data)).supernet_step
        for data in (None, "photos")
    ]
    assert found[0] == 1.0
    assert found[1] == pytest.approx(0.6 * 0.625 + 0.24 * 0.8125 + 0.16, abs=0.03)


def test_timing_does_not_move_the_random_state(space, dataset, make_settings):
    supernet = Supernet(space, "small", 10, seed=0)
    state = torch.random.get_rng_state()
    time_speeds(supernet, dataset, make_settings())
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_typical_network_has_a_middle_width(space):
    assert dict(middle_baseline(space, "small").choices)["width"] == 1.0
