"""Folders of images: layouts, splits, fingerprints, and every refusal's text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import DatasetIndex, scan
from nas.errors import DataError

LAYOUTS = (
    "allowed: train/<class>/ and test/<class>/ (validation/<class>/ if you like), "
    "or one folder of <class>/"
)
KNOWN = (
    "allowed: a folder (train/<class>/ and test/<class>/ (validation/<class>/ if you like), or one "
    "folder of <class>/), an archive of one (.zip, .tar, .tar.gz, .tgz, .tar.xz, .tar.bz2), "
    "a table (.csv, .tsv), arrays (.npz), or hf:NAME"
)
MakeFolder = Callable[..., Path]


def _error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 2
    return text


def _per_class(index: DatasetIndex) -> list[list[int]]:
    return [np.bincount(split.labels).tolist() for split in index.splits()]


def test_validation_is_split_off_train(pets: Path) -> None:
    index = scan(pets, 0)
    assert (index.name, index.classes, index.flip) == ("pets", ("cat", "dog"), True)
    assert index.source_size == 9
    assert _per_class(index) == [[18, 11], [2, 1], [5, 4]]
    for split in index.splits():
        folder = "test" if split.name == "test" else "train"
        named = [f"{folder}/{index.classes[label]}" for label in split.labels]
        assert [os.path.dirname(item) for item in split.items] == named
    assert len({item for split in index.splits() for item in split.items}) == 41


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_used(make_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    folders = [f"{split}/{c}" for split in ("train", name, "test") for c in ("cat", "dog")]
    index = scan(make_folder(dict.fromkeys(folders, 2)), 0)
    assert {item.split("/")[0] for item in index.validation.items} == {name}
    assert _per_class(index) == [[2, 2]] * 3
    assert index.fingerprint == scan(tmp_path / "pets", 1).fingerprint  # nothing left for the seed


def test_one_folder_of_classes_is_split(make_folder: MakeFolder) -> None:
    index = scan(make_folder({"cat": 40, "dog": 20, "eel": 3}), 0)
    assert _per_class(index) == [[28, 14, 1], [6, 3, 1], [6, 3, 1]]
    assert len({item for split in index.splits() for item in split.items}) == 63


def test_nested_folders_count_and_other_files_do_not(make_folder: MakeFolder) -> None:
    root = make_folder({"cat/images": 3, "dog": 3, ".hidden": 3, "dog/.thumbs": 2, "__MACOSX": 1})
    (root / "README.txt").write_text("about")
    (root / "dog" / "notes.txt").write_text("about")
    (root / "dog" / "._000.png").write_text("no image")
    index = scan(root, 0)
    assert index.classes == ("cat", "dog")
    assert sum(len(split.items) for split in index.splits()) == 6
    assert "cat/images/000.png" in {item for split in index.splits() for item in split.items}


def test_single_folders_around_the_data_are_passed(make_folder: MakeFolder) -> None:
    root = make_folder({"a/b/cat": 3, "a/b/dog": 3})
    assert all(item.count("/") == 1 for item in scan(root, 0).train.items)
    assert scan(root, 0).fingerprint == scan(root / "a" / "b", 0).fingerprint


def test_a_split_depends_on_seed_and_names_alone(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, other = scan(pets, 0), scan(pets, 1)
    assert index.fingerprint != other.fingerprint
    copy = tmp_path / "copy"
    shutil.copytree(pets, copy)
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a, **k: ((p, d[::-1], f[::-1]) for p, d, f in walk(*a, **k))
    )
    again = scan(copy, 0)
    assert again.fingerprint == index.fingerprint
    assert [s.items for s in again.splits()] == [s.items for s in index.splits()]


def test_the_fingerprint_sees_pixels_labels_and_class_names(pets: Path) -> None:
    seen = {scan(pets, 0).fingerprint}
    Image.new("RGB", (12, 9)).save(pets / "test" / "cat" / "000.png")
    seen.add(scan(pets, 0).fingerprint)
    (pets / "test" / "cat" / "000.png").rename(pets / "test" / "dog" / "new.png")
    seen.add(scan(pets, 0).fingerprint)
    for split in ("train", "test"):
        (pets / split / "dog").rename(pets / split / "fox")
    seen.add(scan(pets, 0).fingerprint)
    assert len(seen) == 4


def test_a_second_scan_reads_only_what_changed(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = scan(pets, 0)
    reads: list[str] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: (reads.append(self.name), read_bytes(self))[1]
    )
    assert scan(pets, 0).fingerprint == first.fingerprint
    assert reads == []
    Image.new("RGB", (30, 30)).save(pets / "test" / "dog" / "000.png")
    assert scan(pets, 0).fingerprint != first.fingerprint
    assert reads == ["000.png"]


def test_a_damaged_memory_of_the_scan_is_replaced(pets: Path, cache: Path) -> None:
    first = scan(pets, 0)
    (memory,) = (cache / "scans").iterdir()
    for text in ("", "[]", '{"train/cat/000.png": [1]}'):
        memory.write_text(text)
        assert scan(pets, 0).fingerprint == first.fingerprint


def test_progress_counts_to_the_end(pets: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    scan(pets, 0, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("looking at images", 41, 41)


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert _error(missing) == (
        f"the data path exists; got {str(missing)!r}; {KNOWN}; try: check --data"
    )


def test_a_file_of_no_known_kind(tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("a,b")
    assert _error(file) == (
        f"data are a folder, or a file of a known kind; got {str(file)!r}; {KNOWN}; "
        "try: pack the images' folder, or give the folder itself"
    )


def test_an_empty_folder(make_folder: MakeFolder, cache: Path) -> None:
    text = _error(make_folder({}))
    assert text == (
        f"pets holds one folder per class; got 'no images at all'; {LAYOUTS}; try: check --data"
    )
    assert not cache.exists()


def test_images_without_class_folders(make_folder: MakeFolder) -> None:
    root = make_folder({})
    Image.new("RGB", (4, 4)).save(root / "a.png")
    assert _error(root) == (
        f"pets holds one folder per class; got 'images that are in no class folder'; {LAYOUTS}; "
        "try: check --data"
    )


def test_one_class(make_folder: MakeFolder) -> None:
    assert _error(make_folder({"cat": 5})) == (
        f"pets holds at least two classes; got 'only cat'; {LAYOUTS}; "
        "try: add a folder of images of another class"
    )


def test_one_class_in_train(make_folder: MakeFolder) -> None:
    text = _error(make_folder({"train/cat": 5, "test/cat": 5}))
    assert text.startswith("train/ holds at least two classes; got 'only cat'")


def test_a_class_without_images(make_folder: MakeFolder) -> None:
    assert _error(make_folder({"train/cat": 3, "train/dog": 0, "test/cat": 3})) == (
        "every class folder holds images; train/dog holds none; allowed: .bmp, .gif, .jpeg, "
        ".jpg, .pgm, .png, .ppm, .tif, .tiff, .webp; try: add images or remove the folder"
    )


def test_too_few_to_split_three_ways(make_folder: MakeFolder) -> None:
    assert _error(make_folder({"cat": 5, "dog": 2, "eel": 1})) == (
        "images without a split are divided into train, validation and test, which takes at least "
        "3 images per class; too few in dog (2), eel (1); try: add images or remove the class"
    )


def test_too_few_to_split_validation_off(make_folder: MakeFolder) -> None:
    counts = {"train/cat": 5, "train/dog": 1, "test/cat": 1, "test/dog": 1}
    assert _error(make_folder(counts)) == (
        "validation is split off train, which takes at least 2 images per class; "
        "too few in dog (1); try: add images or remove the class"
    )


def test_different_classes_in_train_and_test(make_folder: MakeFolder) -> None:
    counts = {"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/eel": 2, "test/fox": 2}
    assert _error(make_folder(counts)) == (
        "train/ and test/ hold the same classes; only in train/: dog, only in test/: eel, fox; "
        "try: rename, add or remove these folders"
    )


def test_different_classes_in_validation(make_folder: MakeFolder) -> None:
    counts = {f"{split}/{c}": 2 for split in ("train", "val", "test") for c in ("cat", "dog")}
    root = make_folder(counts)
    (root / "val" / "dog").rename(root / "val" / "hog")
    assert "train/ and val/ hold the same classes; only in train/: dog, only in val/: hog" in (
        _error(root)
    )


@pytest.mark.parametrize("names", [("Training", "Testing", "Val"), ("TRAIN", "test", "dev")])
def test_names_of_splits_in_other_words(make_folder: MakeFolder, names: tuple[str, ...]) -> None:
    sizes = dict(zip(names, (7, 3, 2), strict=True))
    counts = {f"{name}/{c}": n for name, n in sizes.items() for c in ("cat", "dog")}
    index = scan(make_folder(counts), 0)
    assert index.classes == ("cat", "dog")
    assert _per_class(index) == [[7, 7], [2, 2], [3, 3]]


@pytest.mark.parametrize(
    ("folders", "got"),
    [
        (["train"], "train/"),
        (["train", "val"], "train/, val/"),
        (["test"], "test/"),
        (["test", "train", "val", "valid"], "test/, train/, val/, valid/"),
        (["Testing", "test", "train"], "Testing/, test/, train/"),
    ],
)
def test_an_incomplete_layout(make_folder: MakeFolder, folders: list[str], got: str) -> None:
    root = make_folder({f"{split}/{c}": 2 for split in folders for c in ("cat", "dog")})
    assert _error(root) == (
        "a data folder with train/ has test/ and at most one of val/, valid/ and validation/; "
        f"got {got!r}; {LAYOUTS}; try: rename or add the folder that is missing"
    )


def test_a_file_that_cannot_be_read(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    text = _error(pets)
    assert text.startswith("data can be read; ")
    assert text.endswith("cannot (Permission denied); try: check its permissions")


def test_a_link_to_nothing(pets: Path) -> None:
    link = next(pets.rglob("*.png")).with_name("link.png")
    link.symlink_to("nowhere.png")
    assert _error(pets) == (
        f"data can be read; {link} cannot (No such file or directory); "
        "try: remove it: a link to nothing?"
    )


def test_a_pipe_is_not_waited_for(pets: Path) -> None:
    pipe = next(pets.rglob("*.png")).with_name("pipe.png")
    os.mkfifo(pipe)
    assert _error(pets) == (
        f"an image is a file; got '{pipe}, a pipe, a socket or a device'; try: remove it"
    )


def test_a_cache_folder_that_cannot_be_written(pets: Path, cache: Path) -> None:
    cache.write_text("a file in its place")
    text = _error(pets)
    assert text.startswith(f"the cache folder can be written; {cache} cannot (")
    assert text.endswith("try: NAS_CACHE_DIR=OTHER_FOLDER")
