"""What every evaluator does: score by itself alone, better where it is given more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.accuracy.finetune import FINETUNING, Finetuner
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import SEARCH, Fidelity, Score
from nas.accuracy.scoring import logits_of
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.data import load_dataset
from nas.models import Supernet, build_model
from nas.space import load_space
from nas.space import sample as sampling
from tests.search.conftest import TINY

SHORT, LONGER = Fidelity("short training", 2), Fidelity("longer training", 50)


def supernet(space, dataset):
    net = Supernet(space, "small", 10, seed=3)
    finetuner = Finetuner(net, dataset, replace(FINETUNING, recalibration_images=64), seed=5)
    return SupernetEvaluator(net, dataset, 64, 100, finetuner)


def training(space, dataset):
    recipe = Recipe(1, 64, ema_decay=0.9, learning_rate=0.1, recalibration_images=64)
    return TrainingEvaluator(space, dataset, recipe, 5, 100)


@pytest.fixture(scope="module")
def space():
    torch.set_num_threads(1)
    return load_space(TINY)


@pytest.fixture(scope="module", params=[supernet, training])
def evaluator(request, space):
    return request.param(space, load_dataset(None, 0, resolutions=(16, 20)))


def test_a_score_is_of_the_validation_images_and_the_same_whenever_it_is_asked(evaluator, space):
    rng = np.random.default_rng(0)
    one, other = (sampling.sample(space, "small", rng) for _ in range(2))
    before = torch.get_rng_state()
    first = evaluator.evaluate(one)
    assert isinstance(first, Score) and first.images == 100
    assert 0 <= first.interval[0] <= first.value <= first.interval[1] <= 1
    short = evaluator.evaluate(one, SHORT)
    evaluator.evaluate(other, SHORT)
    assert (evaluator.evaluate(one), evaluator.evaluate(one, SHORT)) == (first, short)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's randomness is used"


def test_only_what_is_not_trained_by_itself_is_ranked_by_its_loss(evaluator, space):
    architecture = sampling.smallest(space, "small")
    search, short = (evaluator.evaluate(architecture, f).loss for f in (SEARCH, SHORT))
    assert short is None
    assert (search is None) == isinstance(evaluator, TrainingEvaluator)
    assert search is None or 1.5 < search < 4  # of 10 classes that nothing was learned of: 2.3


def test_scoring_goes_on_with_fewer_images_where_memory_is_short(space, monkeypatch):
    dataset = load_dataset(None, 0, resolutions=(16, 20))
    model = build_model(space.network(sampling.baseline(space, "small", 1.0, 16), 10), 1)
    whole, forward, sizes = logits_of(model, dataset, dataset.validation, 200), model.forward, []

    def limited(images):
        sizes.append(len(images))
        if len(images) > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return forward(images)

    monkeypatch.setattr(model, "every_logits", lambda images: limited(images)[None])
    found = logits_of(model, dataset, dataset.validation, 200)
    assert torch.allclose(found, whole, atol=1e-5)
    assert max(sizes) == 128 and sum(size for size in sizes if size <= 40) == 200
    monkeypatch.setattr(model, "every_logits", lambda images: model.nothing(images))
    with pytest.raises(AttributeError, match="nothing"):
        logits_of(model, dataset, dataset.validation, 200)


def test_more_training_scores_higher(evaluator, space):
    architecture = sampling.baseline(space, "small", 1.0, 16)
    short, longer = (evaluator.evaluate(architecture, f) for f in (SHORT, LONGER))
    assert longer.value > short.value + 0.1


def test_without_steps_the_recipe_is_followed(space):
    evaluator = training(space, load_dataset(None, 0, resolutions=(16, 20)))
    architecture = sampling.smallest(space, "small")
    steps = evaluator.recipe.steps(len(evaluator.dataset.train.labels))
    assert evaluator.evaluate(architecture) == evaluator.evaluate(
        architecture, Fidelity("full", steps)
    )
