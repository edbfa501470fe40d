"""Supernet training learns, depends on nothing but its seed, and resumes bit for bit."""

import pytest
import torch

from nas.accuracy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.models import Supernet
from nas.space import load_space
from nas.space.sample import largest

SPACE, PLAN = "mobilenetv1", "small"


@pytest.fixture(scope="module")
def dataset():
    resolutions = load_space(SPACE).plan(PLAN).resolutions
    return load_dataset(None, 0, resolutions=resolutions)


def trainer(dataset, steps, seed=0):
    supernet = Supernet(load_space(SPACE), PLAN, classes=10, seed=seed)
    settings = SupernetSettings(steps, batch_size=16, random_networks=1, seed=seed)
    return SupernetTrainer(supernet, dataset, settings)


def weights_of(trained):
    return {name: weight.detach().clone() for name, weight in trained.supernet.weights.items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_same_seed_same_weights_and_another_seed_others(dataset):
    runs = [trainer(dataset, 2, seed) for seed in (3, 3, 4)]
    for run in runs:
        run.train()
    first, again, other = map(weights_of, runs)
    assert_equal(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_resumed_from_a_file_equals_undisturbed_bit_for_bit(dataset, tmp_path):
    undisturbed = trainer(dataset, 5)
    undisturbed.train()

    killed = trainer(dataset, 5)
    for _ in range(2):
        killed.train_step()
    path = tmp_path / "supernet.safetensors"
    save_checkpoint(path, Checkpoint(weights_of(killed), killed.momentum(), killed.step, {}))

    resumed = trainer(dataset, 5, seed=0)
    saved = load_checkpoint(path)
    resumed.restore(saved.weights, saved.momentum, saved.step)
    steps = []
    resumed.train(steps.append)
    assert steps == [3, 4, 5]
    assert_equal(weights_of(undisturbed), weights_of(resumed))
    assert_equal(undisturbed.momentum(), resumed.momentum())


def test_timing_a_step_changes_no_weight(dataset):
    timed = trainer(dataset, 5)
    before = weights_of(timed)
    timed.backward(0)
    assert timed.step == 0
    assert_equal(before, weights_of(timed))


def test_learns(dataset):
    trained = trainer(dataset, 40)
    trained.train()
    supernet = trained.supernet
    score = SupernetEvaluator(supernet, dataset, 256, 200).evaluate(largest(supernet.space, PLAN))
    assert score.value > 0.5
