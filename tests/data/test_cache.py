"""Decoding once: exact pixels, reuse, and nothing half written."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nas.data import cache as cache_module
from nas.data import decode, load_dataset, load_image, manifest, scan
from nas.errors import DataError, DiskFullError


def _files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_pixels_are_those_of_load_image(pets: Path) -> None:
    dataset = load_dataset(pets, 0, resolutions=[16, 7, 16])
    for split in dataset.splits():
        for resolution in (16, 7):
            expected = [load_image(pets / item, resolution) for item in split.items]
            assert np.array_equal(split.at(resolution), np.stack(expected))
            assert not split.at(resolution).flags.writeable
            assert isinstance(split.at(resolution), np.memmap)


def test_statistics_are_those_of_the_train_pixels(pets: Path) -> None:
    dataset = load_dataset(pets, 0, resolutions=[8])
    pixels = np.stack([load_image(pets / item, 32) for item in dataset.train.items]) / 255
    assert np.allclose(dataset.mean, pixels.mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(dataset.std, pixels.std(axis=(0, 1, 2)), atol=1e-6)
    again = load_dataset(pets, 0, resolutions=[8, 32])
    assert (again.mean, again.std) == (dataset.mean, dataset.std)


def test_a_second_load_decodes_nothing(
    pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(pets, 0, resolutions=[8, 6])
    before = _files(cache)
    monkeypatch.setattr(cache_module, "content_rgb", None)
    again = load_dataset(pets, 0, resolutions=[6])
    assert _files(cache) == before
    assert np.array_equal(again.test.at(6), first.test.at(6))
    assert manifest(again) == manifest(first)


def test_another_resolution_decodes_only_that(pets: Path, cache: Path) -> None:
    load_dataset(pets, 0, resolutions=[8])
    before = _files(cache)
    load_dataset(pets, 0, resolutions=[8, 6])
    after = _files(cache)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"train-6.npy", "validation-6.npy", "test-6.npy"}


def test_damaged_cache_files_are_decoded_again(pets: Path, cache: Path) -> None:
    first = load_dataset(pets, 0, resolutions=[8])
    expected = np.array(first.train.at(8))
    (train,) = cache.rglob("train-8.npy")
    (statistics,) = cache.rglob("statistics.json")
    os.truncate(train, train.stat().st_size - 1)
    statistics.write_text("{")
    again = load_dataset(pets, 0, resolutions=[8])
    assert np.array_equal(again.train.at(8), expected)
    assert again.mean == first.mean


def test_a_changed_image_is_seen(pets: Path) -> None:
    first = load_dataset(pets, 0, resolutions=[8])
    item = first.train.items[0]
    (pets / item).write_bytes((pets / first.train.items[1]).read_bytes())
    again = load_dataset(pets, 0, resolutions=[8])
    assert again.fingerprint != first.fingerprint
    assert np.array_equal(again.train.at(8)[0], again.train.at(8)[1])


def test_an_image_that_breaks_after_the_scan_leaves_no_file(pets: Path, cache: Path) -> None:
    index = scan(pets, 0)
    broken = pets / index.train.items[-1]
    os.truncate(broken, broken.stat().st_size // 2)
    with pytest.raises(DataError) as caught:
        decode(index, [8])
    text = str(caught.value)
    assert f"images stay as they are while they are read; {index.train.items[-1]} changed" in text
    assert text.endswith("try: the same command again")
    assert list((cache / "images").rglob("*.npy*")) == []


def test_an_interrupt_leaves_no_partial_file(pets: Path, cache: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "decoding validation images":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(scan(pets, 0), [8], progress=interrupt)
    left = {path.name for path in (cache / "images").rglob("*") if path.is_file()}
    assert left == {"train-8.npy"}
    assert len(load_dataset(pets, 0, resolutions=[8]).validation.at(8)) == 3


def test_a_full_disk(pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = scan(pets, 0)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="the disk is full"):
        decode(index, [8])
    assert [path for path in (cache / "images").rglob("*") if path.is_file()] == []


def test_what_cannot_fit_is_refused_before_decoding(
    pets: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = scan(pets, 0)
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=5000))
    with pytest.raises(DiskFullError) as caught:
        decode(index, [8])
    assert str(caught.value) == (
        f"the decoded images take 7.87 KB of the cache folder {cache}; got '5 KB free'; "
        "try: free some space, or NAS_CACHE_DIR=OTHER_FOLDER"
    )
    assert not (cache / "images").exists()


def test_a_resolution_that_was_not_decoded(pets: Path) -> None:
    dataset = load_dataset(pets, 0, resolutions=[8, 6])
    with pytest.raises(DataError) as caught:
        dataset.test.at(7)
    assert str(caught.value) == "the images were not decoded at this size; got 7; allowed: 6, 8"


@pytest.mark.parametrize("resolutions", [[], [0], [8, -1]])
def test_resolutions_are_positive(pets: Path, resolutions: list[int]) -> None:
    with pytest.raises(ValueError, match="one or more positive sizes in pixels"):
        load_dataset(pets, 0, resolutions=resolutions)


def test_a_dataset_travels_without_its_pixels(pets: Path) -> None:
    dataset = load_dataset(pets, 0, resolutions=[64])
    packed = pickle.dumps(dataset)
    assert len(packed) < 20_000 < dataset.train.at(64).nbytes
    assert np.array_equal(pickle.loads(packed).train.at(64), dataset.train.at(64))
