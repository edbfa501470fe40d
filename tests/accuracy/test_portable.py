"""An evaluator that went through plain arrays scores as before."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.accuracy.finetune import FINETUNING, Finetuner
from nas.accuracy.portable import pack_evaluator, unpack_evaluator
from nas.accuracy.recipe import Recipe
from nas.accuracy.score import Fidelity
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.data import load_dataset
from nas.models import Supernet
from nas.space import load_space
from nas.space import sample as sampling
from tests.search.conftest import TINY


def test_a_packed_evaluator_scores_the_same_with_shared_read_only_arrays():
    torch.set_num_threads(1)
    space = load_space(TINY)
    dataset = load_dataset(None, 0, resolutions=(16, 20))
    supernet = Supernet(space, "small", 10, seed=3)
    evaluator = SupernetEvaluator(supernet, dataset, 64, 100)
    state = pack_evaluator(evaluator, here=True)
    for array in [
        *state.weights.values(),
        *state.data.train.values(),
        *state.data.validation.values(),
    ]:
        array.flags.writeable = False
    again = unpack_evaluator(state)
    assert {len(found) for found in state.data.train.values()} == {64}
    assert np.shares_memory(next(iter(state.weights.values())), _first_weight(again))
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = sampling.sample(space, "small", rng)
        assert again.evaluate(architecture) == evaluator.evaluate(architecture)
    balanced = replace(evaluator, metric="balanced")
    score = balanced.evaluate(architecture)
    assert score.metric == "balanced" and len(score.per_class) == 10
    assert unpack_evaluator(pack_evaluator(balanced, here=True)).evaluate(architecture) == score
    assert len(pickle.dumps(state)) < 5_000_000, "the other images do not travel"


def test_training_is_the_same_in_another_process_and_after_other_training(tmp_path):
    torch.set_num_threads(1)
    space = load_space(TINY)
    dataset = _in_files(load_dataset(None, 0, resolutions=(16, 20)), tmp_path)
    supernet = Supernet(space, "small", 10, seed=3)
    recipe = replace(FINETUNING, recalibration_images=64)
    finetuner = Finetuner(supernet, dataset, recipe, seed=5)
    evaluator = SupernetEvaluator(supernet, dataset, 64, 100, finetuner)
    one, other = sampling.smallest(space, "small"), sampling.largest(space, "small")
    short, longer = Fidelity("short training", 2), Fidelity("full training", 40)
    before = evaluator.evaluate(one)
    scores = [evaluator.evaluate(one, short), evaluator.evaluate(one, longer)]
    assert scores[1].value > before.value + 0.1, "it learns"
    assert evaluator.evaluate(one) == before, "the supernet's weights are not trained"
    for here in (True, False):
        again = unpack_evaluator(pack_evaluator(evaluator, here=here))
        again.evaluate(other, short)
        assert [again.evaluate(one, fidelity) for fidelity in (short, longer)] == scores
    assert all(
        isinstance(held, Path) for held in pack_evaluator(evaluator, here=True).data.train.values()
    )


@pytest.mark.parametrize("steps", [3, None])
def test_training_from_scratch_is_the_same_in_another_process(steps):
    torch.set_num_threads(1)
    space, dataset = load_space(TINY), load_dataset(None, 0, resolutions=(16, 20))
    recipe = Recipe(1, 64, recalibration_images=64, metric="balanced")
    evaluator = TrainingEvaluator(space, dataset, recipe, 5, 100, steps=steps)
    state = pack_evaluator(evaluator, here=False)
    again = unpack_evaluator(state)
    architecture = sampling.smallest(space, "small")
    score = evaluator.evaluate(architecture)
    assert again.evaluate(architecture) == score
    assert again.evaluate(architecture, Fidelity("more", 9)) != score
    assert {len(found) for found in state.data.validation.values()} == {100}


def test_training_without_what_it_needs_is_refused():
    space, dataset = load_space(TINY), load_dataset(None, 0, resolutions=(16, 20))
    evaluator = SupernetEvaluator(Supernet(space, "small", 10, seed=3), dataset, 64, 100)
    with pytest.raises(ValueError, match="nothing to train with for the fidelity short training"):
        evaluator.evaluate(sampling.smallest(space, "small"), Fidelity("short training", 1))


def _in_files(dataset, folder):
    """As images are that were decoded from files."""
    splits = {}
    for split in dataset.splits():
        files = {size: folder / f"{split.name}-{size}.npy" for size in split.images}
        for size, file in files.items():
            np.save(file, split.at(size))
        splits[split.name] = replace(split, images=files)
    return replace(dataset, **splits)


def _first_weight(evaluator):
    return next(iter(evaluator.supernet.weights.values())).detach().numpy()
