"""How large the images are that a network and its teacher see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.accuracy import teacher
from nas.accuracy.checkpoint import Checkpoint, save_checkpoint
from nas.data import load_dataset
from nas.models import Supernet
from nas.search.supernets import checkpoint_subject
from nas.space import sample as sampling
from tests.accuracy.test_teacher import means
from tests.search.conftest import TINY

LESS = {"epochs": 1, "batch_size": 16, "threads": 1, "space": str(TINY)}


@pytest.fixture
def resized(monkeypatch):
    """Sides of images before and after, wherever a teacher resizes them."""
    found = set()
    resize = teacher.resize

    def watched(images, resolution):
        found.add((images.shape[-1], resolution))
        return resize(images, resolution)

    monkeypatch.setattr(teacher, "resize", watched)
    return found


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 4), ("test", 4)):
        for name in "ab":
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_the_supernets_largest_network_sees_what_it_was_trained_on(space, tmp_path, resized):
    torch.set_num_threads(1)
    dataset = load_dataset(None, 0, resolutions=(16, 20))
    supernet = Supernet(space, "small", 10, seed=0)
    path = tmp_path / "supernet.safetensors"
    subject = checkpoint_subject(space, "small", dataset)
    save_checkpoint(path, Checkpoint(dict(supernet.weights.items()), {}, 1, subject))
    smallest = sampling.smallest(space, "small")
    assert smallest.resolution == 16
    options = {**LESS, "batch_size": 256, "supernet": str(path), "distil": True}
    nas.train_model(smallest, out=tmp_path / "out", **options)
    assert resized == {(20, 20)}


@pytest.mark.parametrize(("size", "seen"), [(24, 24), (12, 16), (48, 30), ("H", 16)])
def test_a_files_teacher_sees_images_of_its_size_as_far_as_there_are_such(
    tmp_path, photos, resized, size, seen
):
    """The photos have 30 pixels, the network 16."""
    torch.set_num_threads(1)
    path = means(tmp_path, ["N", 3, size, size], classes=2)
    options = {**LESS, "data": str(photos), "teacher": str(path)}
    nas.train_model(width=0.5, resolution=16, out=tmp_path / "out", **options)
    expected = {(seen, size)} if isinstance(size, int) else set()
    assert resized == expected
