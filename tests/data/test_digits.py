"""The embedded digits: sizes, split, pixels."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from nas.data import decode, load_dataset, manifest, scan


def test_sizes_and_split() -> None:
    index = scan(None, seed=0)
    assert (index.name, index.source_size, index.flip, index.source) == ("digits", 32, False, None)
    assert index.classes == tuple("0123456789")
    sizes = [len(split.items) for split in index.splits()]
    assert sum(sizes) == 1797
    assert np.allclose(sizes, [1078, 359.5, 359.5], atol=3)
    assert len({item for split in index.splits() for item in split.items}) == 1797


def test_the_split_is_stratified_and_labelled_rightly() -> None:
    truth = load_digits().target
    for split, share in zip(scan(None, seed=3).splits(), (0.6, 0.2, 0.2), strict=True):
        rows = [int(item.split("/")[1]) for item in split.items]
        assert np.array_equal(split.labels, truth[rows])
        assert np.abs(np.bincount(split.labels) - share * np.bincount(truth)).max() <= 1


def test_the_seed_decides_the_split() -> None:
    first, again, other = scan(None, 0), scan(None, 0), scan(None, 1)
    assert first.train.items == again.train.items
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert set(first.test.items) != set(other.test.items)


def test_the_order_is_shuffled() -> None:
    assert len(set(scan(None, 0).test.labels[:40].tolist())) == 10


def test_pixels_are_the_scaled_originals() -> None:
    dataset = load_dataset(None, 0, resolutions=[32, 20])
    split = dataset.validation
    row = int(split.items[5].split("/")[1])
    small = np.rint(load_digits().images[row] * 255 / 16).astype(np.uint8)
    large = Image.fromarray(small).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(split.at(32)[5], np.asarray(large))
    resized = large.resize((20, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(split.at(20)[5], np.asarray(resized))
    assert split.at(20).shape == (len(split), 20, 20, 3)
    assert not split.at(20).flags.writeable


def test_statistics_do_not_depend_on_the_resolutions() -> None:
    index = scan(None, 0)
    dataset = decode(index, [8])
    pixels = decode(index, [32]).train.at(32) / 255
    assert dataset.mean == decode(index, [32]).mean
    assert np.allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(dataset.std, pixels.std(axis=(0, 1, 2)), atol=1e-6)


def test_the_manifest_names_every_image_and_label() -> None:
    dataset = load_dataset(None, 0, resolutions=[8])
    held = json.loads(json.dumps(manifest(dataset)))
    assert held["schema"] == 1
    assert held["source"] == "digits"
    assert held["classes"] == list("0123456789")
    truth = load_digits().target
    for split in ("train", "validation", "test"):
        rows = [int(item.removeprefix("digits/")) for item in held[split]]
        assert held["labels"][split] == truth[rows].tolist()
