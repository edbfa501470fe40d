"""Training of one architecture: learns, depends on its seed, resumes, makes do with memory."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.accuracy.checkpoint import TRAINING, load_parts, save_parts
from nas.accuracy.device import deterministic, mixed_precision, repeatable_or_fast, training_device
from nas.accuracy.memory import is_out_of_memory
from nas.accuracy.recipe import Recipe
from nas.accuracy.scoring import score_model
from nas.accuracy.training import Trainer
from nas.data import load_dataset
from nas.errors import CheckpointError, MemoryFullError
from nas.models import build_model
from nas.space import load_space
from nas.space import sample as sampling

TINY = Path(__file__).resolve().parents[1] / "files" / "tiny.yaml"
RECIPES = {
    "plain": Recipe(1, 128, ema_decay=0.0),
    "adamw": Recipe(1, 128, optimiser="adamw"),
    "mixed": Recipe(1, 128, mixup=0.2, cutmix=1.0, random_augment=0.5),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(None, 0, resolutions=(16,))


@pytest.fixture(scope="module")
def make(dataset):
    space = load_space(TINY)
    network = space.network(sampling.baseline(space, "small", 1.0, 16), 10)

    def trainer(recipe, seed=0, dataset=dataset, **options):
        return Trainer(build_model(network, seed), dataset, recipe, seed, **options)

    return trainer


def weights_of(trainer):
    model = trainer.finished_model()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_resumed_from_a_file_equals_undisturbed_bit_for_bit(make, tmp_path, recipe):
    undisturbed = make(recipe)
    undisturbed.train()

    killed = make(recipe)
    for _ in range(4):
        killed.train_step()
    path = tmp_path / "checkpoint.safetensors"
    save_parts(path, TRAINING, killed.state(), killed.at.step, {"seed": 0})

    resumed = make(recipe)
    parts, step, belongs_to = load_parts(path, TRAINING)
    assert (step, belongs_to) == (4, {"seed": 0})
    resumed.restore(parts, step)
    steps = []
    resumed.train(steps.append)
    assert steps == list(range(5, undisturbed.steps + 1))
    assert_equal(weights_of(undisturbed), weights_of(resumed))
    assert undisturbed.mean_loss() == resumed.mean_loss()


def test_another_seed_gives_other_weights(make):
    runs = [make(RECIPES["mixed"], seed) for seed in (3, 3, 4)]
    for run in runs:
        run.train_step()
    first, again, other = map(weights_of, runs)
    assert_equal(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_looking_at_the_model_in_between_changes_nothing(make):
    watched, alone = make(RECIPES["plain"]), make(RECIPES["plain"])
    watched.train(lambda step: watched.finished_model(64))
    alone.train()
    assert_equal(weights_of(watched), weights_of(alone))


def test_epochs_end_where_every_image_was_seen_and_the_rate_falls_to_nothing(make, dataset):
    recipe = Recipe(3, 100)
    images = len(dataset.train.labels)
    assert recipe.steps(images) == math.ceil(3 * images / 100)
    ends = [recipe.end_of(epoch, images) for epoch in range(4)]
    assert ends[0] == 0 and ends[-1] == recipe.steps(images) and ends == sorted(ends)
    trainer = make(recipe)
    rates = [trainer.rate(step) for step in range(trainer.steps)]
    assert max(rates) == recipe.highest_rate and rates[-1] < 0.02 * recipe.highest_rate


def test_rates_are_in_proportion_to_the_batch():
    assert Recipe(1, 128).highest_rate == 0.1
    assert Recipe(1, 64, optimiser="adamw").highest_rate == 0.001
    assert Recipe(1, 64, learning_rate=0.3).to_json()["learning_rate"] == 0.3


def test_learns(make, dataset):
    trainer = make(Recipe(4, 32, learning_rate=0.1))
    trainer.train()
    score = score_model(trainer.finished_model(), dataset, dataset.validation, 359)
    assert score.value > 0.4, "chance is 0.1"
    assert trainer.mean_loss() < math.log(10)
    assert math.isnan(trainer.mean_loss()), "asked already"


class Greedy(nn.Module):
    """Takes more memory than there is for more than a number of images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x):
        if len(x) > self.most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x


def limited(make, most, recipe, **options):
    trainer = make(recipe, **options)
    trainer.model.blocks["greedy"] = Greedy(most)
    return trainer


def test_out_of_memory_halves_the_batch_and_says_so_once(make):
    said = []
    recipe = Recipe(1, 96, ema_decay=0.0, learning_rate=0.01)
    short = limited(make, 30, recipe, say=said.append)
    ample = limited(make, 96, recipe)
    short.train()
    ample.train()
    assert said == [
        "Out of memory with 96 images at a time: going on with 48, still 96 for each step.",
        "Out of memory with 48 images at a time: going on with 24, still 96 for each step.",
    ]
    assert short.split.parts == 4 and short.at.step == ample.at.step
    # The same gradients but for the batch norm's statistics, which are of fewer images.
    assert short.mean_loss() == pytest.approx(ample.mean_loss(), rel=0.05)


def test_a_resumed_training_remembers_how_much_fits(make):
    recipe = Recipe(1, 64)
    killed = limited(make, 20, recipe)
    killed.train_step()
    said = []
    resumed = limited(make, 20, recipe, say=said.append)
    resumed.restore(killed.state(), killed.at.step)
    resumed.train_step()
    killed.train_step()
    assert said == []
    assert_equal(weights_of(killed), weights_of(resumed))


def test_what_never_fits_is_one_clear_error(make):
    trainer = limited(make, 0, Recipe(1, 8))
    with pytest.raises(MemoryFullError) as caught:
        trainer.train()
    assert str(caught.value) == (
        "training does not fit into the memory of the device (cpu); got '2 images at a time'; "
        "try: a smaller architecture or resolution, or end what else uses the device"
    )


def test_a_lack_of_memory_elsewhere_is_the_same_error(make):
    def measure(step):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(MemoryFullError, match="^training does not fit into the memory of the"):
        make(Recipe(1, 256)).train(measure)


def test_other_failures_are_not_taken_for_a_lack_of_memory():
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_supernet_is_no_checkpoint_of_a_training(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_text("nothing")
    with pytest.raises(CheckpointError, match="cannot be read as a training's checkpoint"):
        load_parts(path, TRAINING)


def test_deterministic_training_leaves_torch_as_it_was():
    def settings():
        filled = torch.utils.deterministic.fill_uninitialized_memory
        return torch.are_deterministic_algorithms_enabled(), filled

    before = settings()
    with pytest.raises(ZeroDivisionError), repeatable_or_fast(torch.device("cpu")):
        assert settings() == (True, False)
        raise ZeroDivisionError
    assert settings() == before


def test_the_device_is_one_that_torch_has():
    assert training_device().type in ("cpu", "cuda", "mps")


def test_rare_classes_are_named_more_readily_where_classes_count_alike(make, dataset):
    train = dataset.train
    kept = np.flatnonzero((train.labels < 5) | (np.arange(len(train)) % 10 == 0))
    rare = replace(
        train,
        items=tuple(train.items[i] for i in kept),
        labels=train.labels[kept],
        images={16: train.at(16)[kept]},
    )
    uneven = replace(dataset, train=rare)
    recalls = {}
    for metric in ("accuracy", "balanced"):
        trainer = make(Recipe(6, 32, learning_rate=0.1, metric=metric), dataset=uneven)
        trainer.train()
        model = trainer.finished_model()
        score = score_model(model, uneven, dataset.validation, 359, "balanced")
        recalls[metric] = sum(correct for correct, _ in score.per_class[5:])
    assert recalls["balanced"] > 1.2 * recalls["accuracy"], recalls


def test_who_asks_for_repeatable_algorithms_again_changes_nothing_for_the_first():
    def asked():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    before = asked()
    with deterministic():
        with deterministic():
            assert asked() == (True, True)
        assert asked() == (True, True), "what has no such algorithm still only warns"
    assert asked() == before


@pytest.mark.parametrize("supported", [True, False])
def test_gpus_without_bfloat16_train_in_float32(supported, monkeypatch):
    """Whose emulation is slow."""
    asked = []

    def is_supported(including_emulation=True):
        asked.append(including_emulation)
        return supported or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    monkeypatch.setattr(torch, "autocast", lambda *_, dtype: dtype)
    found = mixed_precision(torch.device("cuda"))
    assert (found == torch.bfloat16) == supported and asked == [False]
