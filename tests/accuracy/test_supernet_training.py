"""Supernet training learns, depends on nothing but its seed, and resumes bit for bit."""

import numpy as np
import pytest
import torch

from nas.accuracy import supernet_training
from nas.accuracy.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.accuracy.supernet_training import SupernetSettings, SupernetTrainer
from nas.data import load_dataset
from nas.errors import MemoryFullError
from nas.models import Supernet
from nas.space import load_space

PLAN = "small"
TINY = """
schema: 1
name: tiny
description: Small enough to be trained by a test
source: none
rounding: 8
width: [0.5, 1.0]
default_width: 1.0
plans:
  small: {resolutions: [12, 16], stem_stride: 1, strides: [2, 2]}
stem: {channels: 16, kernel: 3, activation: relu}
stages:
  - {channels: 16, depth: [1, 2], kernel: [3, 5], expand: [2, 3], activation: relu,
     default: {depth: 2, kernel: 3, expand: 3}}
  - {channels: 32, depth: [1, 2], kernel: [3, 5], expand: [2, 3], activation: relu, se: 0.25,
     default: {depth: 2, kernel: 3, expand: 3}}
head: {channels: 64, activation: relu}
classifier: {hidden: 64, activation: relu}
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Layers this small gain nothing from threads, which wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(TINY)
    return load_space(path)


@pytest.fixture(scope="module")
def make(space):
    dataset = load_dataset(None, 0, resolutions=space.plan(PLAN).resolutions)

    def trainer(steps, seed=0, **settings):
        supernet = Supernet(space, PLAN, classes=10, seed=seed)
        return SupernetTrainer(supernet, dataset, SupernetSettings(steps, seed=seed, **settings))

    return trainer


def weights_of(trained):
    return {name: weight.detach().clone() for name, weight in trained.supernet.weights.items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("sandwich", [True, False])
def test_a_step_runs_the_ends_only_in_a_sandwich(make, sandwich):
    trainer, ran = make(1, random_networks=3, sandwich=sandwich), []
    trainer.supernet.register_forward_pre_hook(lambda module, inputs: ran.append(inputs[0]))
    trainer.train()
    assert len(ran) == (5 if sandwich else 3)
    assert (ran[:2] == [trainer.largest, trainer.smallest]) is sandwich


def test_progressive_training_begins_on_smaller_images(make):
    trainer, seen = make(10, progressive=True), []

    def look(module, inputs):
        architecture, images = inputs
        seen.append(images.shape[-1] / architecture.resolution)

    trainer.supernet.register_forward_pre_hook(look)
    trainer.train()
    networks = 2 + trainer.settings.random_networks
    shares = [seen[networks * step : networks * (step + 1)] for step in range(10)]
    for share in sum(shares[:6], []):
        assert share == pytest.approx(0.625, abs=0.05)
    for share in sum(shares[6:9], []):
        assert share == pytest.approx(0.8125, abs=0.05)
    assert set(shares[9]) == {1.0}


@pytest.mark.parametrize("progressive", [False, True])
def test_the_work_of_steps_grows_to_that_of_all(progressive):
    settings = SupernetSettings(100, progressive=progressive)
    works = [settings.work(step) for step in range(101)]
    each = np.diff(works)
    assert works[0] == 0 and works[-1] == pytest.approx(64.2 if progressive else 100, abs=0.1)
    assert each[-1] == pytest.approx(1)
    assert (each[1:] >= each[:-1] - 1e-9).all(), "later steps are on larger images"


def let_fit(trainer, most):
    """Memory for so many images at a time."""

    def look(module, inputs):
        if len(inputs[1]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer.supernet.register_forward_pre_hook(look)


def test_out_of_memory_halves_the_images_at_a_time_and_says_so(make):
    said, short, ample = [], make(2, batch_size=48), make(2, batch_size=48)
    short.split.say = said.append
    let_fit(short, 24)
    found = []
    for trainer in (short, ample):
        trainer.backward(0)
        grads = [p.grad.flatten() for p in trainer.supernet.parameters() if p.grad is not None]
        found.append(torch.cat(grads))
    short.train()
    assert said == [
        "Out of memory with 48 images at a time: going on with 24, still 48 for each step."
    ]
    assert short.step == 2 and short.split.parts == 2
    # The same gradients but for the batch norm's statistics, which are of fewer images.
    assert torch.cosine_similarity(*found, dim=0) > 0.8
    assert found[0].norm() == pytest.approx(float(found[1].norm()), rel=0.3)


def test_gradients_of_a_network_that_did_not_fit_are_not_counted(make):
    """The largest network fails after others have added theirs."""
    trainer, ample = make(1, batch_size=8, sandwich=False), make(1, batch_size=8, sandwich=False)
    ran = []

    def look(module, inputs):
        ran.append(inputs[0])
        if len(ran) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer.supernet.register_forward_pre_hook(look)
    trainer.backward(0)
    trainer.split.parts = ample.split.parts = 2
    ample.backward(0)
    for name, weight in trainer.supernet.named_parameters():
        other = dict(ample.supernet.named_parameters())[name]
        assert (weight.grad is None) == (other.grad is None)
        assert weight.grad is None or torch.equal(weight.grad, other.grad)


def test_what_never_fits_is_one_clear_error(make):
    trainer = make(1)
    let_fit(trainer, 0)
    with pytest.raises(MemoryFullError, match=r"of the device \(cpu\); got '2 images at a time'; "):
        trainer.train()


def test_same_seed_same_weights_and_another_seed_others(make):
    runs = [make(2, seed) for seed in (3, 3, 4)]
    for run in runs:
        run.train()
    first, again, other = map(weights_of, runs)
    assert_equal(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_resumed_from_a_file_equals_undisturbed_bit_for_bit(make, tmp_path):
    undisturbed = make(5)
    undisturbed.train()

    killed = make(5)
    for _ in range(2):
        killed.train_step()
    path = tmp_path / "supernet.safetensors"
    save_checkpoint(path, Checkpoint(weights_of(killed), killed.momentum(), killed.step, {}))

    resumed = make(5)
    saved = load_checkpoint(path)
    resumed.restore(saved.weights, saved.momentum, saved.step)
    steps = []
    resumed.train(steps.append)
    assert steps == [3, 4, 5]
    assert_equal(weights_of(undisturbed), weights_of(resumed))
    assert_equal(undisturbed.momentum(), resumed.momentum())


def test_timing_a_step_changes_no_weight(make):
    timed = make(5)
    before = weights_of(timed)
    timed.backward(0)
    assert timed.step == 0
    assert_equal(before, weights_of(timed))


def test_learns(make):
    trained = make(80)
    trained.train()
    evaluator = SupernetEvaluator(trained.supernet, trained.dataset, 512, 359)
    for architecture in (trained.largest, trained.smallest):
        assert evaluator.evaluate(architecture).value > 0.4, "chance is 0.1"


def test_where_classes_count_alike_they_do_so_in_the_loss(make, monkeypatch):
    seen = []
    monkeypatch.setattr(
        supernet_training, "on_labels",
        lambda logits, labels, smoothing, shares: seen.append(shares) or logits.sum(),
    )  # fmt: skip
    for metric in ("accuracy", "balanced"):
        make(1, metric=metric).train_step()
    plain, balanced = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert plain == [None] * 4
    for shares in balanced:
        assert shares.exp().sum() == pytest.approx(1) and shares.shape == (10,)
