"""NumPy archives: names, types and shapes of arrays, and every refusal's text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.data import load_dataset, manifest, scan
from nas.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = (
    "allowed: N x H x W or N x H x W x C (C: 1, 3 or 4) of uint8, uint16, or floats from 0 to 1"
)


def _images(number: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (number, *(shape or (6, 5, 3))), dtype=np.uint8)


def _splits(**changes: Any) -> dict[str, Any]:
    arrays = {"x_train": _images(30), "y_train": np.arange(30) % 3,
              "x_test": _images(9), "y_test": np.arange(9) % 3}  # fmt: skip
    return arrays | changes


def _save(folder: Path, compress: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compress else np.savez)(folder / "numbers.npz", **arrays)
    return folder / "numbers.npz"


def _error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_with_splits(tmp_path: Path, compress: bool) -> None:
    arrays = _splits(x_val=_images(6), y_val=np.arange(6) % 3)
    path = _save(tmp_path, compress, **arrays)
    dataset = load_dataset(path, 0, resolutions=[5])
    assert (dataset.name, dataset.classes) == ("numbers", ("0", "1", "2"))
    assert dataset.source_size == 5
    assert [len(split) for split in dataset.splits()] == [30, 6, 9]
    for split, short in zip(dataset.splits(), ("train", "val", "test"), strict=True):
        rows = [int(item.removeprefix(f"x_{short}/")) for item in split.items]
        assert split.labels.tolist() == arrays[f"y_{short}"][rows].tolist()
        for row, pixels in zip(rows, split.at(5), strict=True):
            image = Image.fromarray(arrays[f"x_{short}"][row])
            assert np.array_equal(pixels, image.resize((5, 5), Image.Resampling.BILINEAR))
    assert manifest(dataset)["test"] == list(dataset.test.items)


def test_names_as_medmnist_has_them(tmp_path: Path) -> None:
    arrays = {
        f"{split}_{what}": values
        for split, number in (("train", 30), ("val", 3), ("test", 9))
        for what, values in (
            ("images", _images(number)),
            ("labels", np.arange(number)[:, None] % 3),
        )
    }
    index = scan(_save(tmp_path, **arrays), 0)
    assert index.validation.items[0].startswith("val_images/")
    assert [len(split.items) for split in index.splits()] == [30, 3, 9]


def test_arrays_without_splits_are_divided(tmp_path: Path) -> None:
    path = _save(tmp_path, images=_images(40), labels=np.arange(40) % 2)
    assert [len(split.items) for split in scan(path, 0).splits()] == [28, 6, 6]
    assert scan(path, 0).fingerprint != scan(path, 1).fingerprint


def test_names_of_classes(tmp_path: Path) -> None:
    path = _save(tmp_path, **_splits(classes=np.array(["zebra", "ant", "bee"])))
    index = scan(path, 0)
    assert index.classes == ("zebra", "ant", "bee")
    labels = dict(zip(index.train.items, index.train.labels.tolist(), strict=True))
    assert all(label == int(item[-6:]) % 3 for item, label in labels.items())


def test_labels_may_be_texts(tmp_path: Path) -> None:
    names = np.array(["dog", "cat"])
    arrays = _splits(y_train=names[np.arange(30) % 2], y_test=names[np.arange(9) % 2])
    assert scan(_save(tmp_path, **arrays), 0).classes == ("cat", "dog")


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    path = _save(tmp_path, images=_images(36), labels=np.arange(36) % 12)
    assert scan(path, 0).classes == tuple(map(str, range(12)))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (3, 7, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_shapes_and_types(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    full = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    pixels = np.full((8, *shape), full, dtype)
    pixels[::2] = np.array(full * 0.2).astype(dtype)
    if shape[2:] == (4,):
        pixels[..., 3] = full
    dataset = load_dataset(
        _save(tmp_path, images=pixels, labels=np.arange(8) % 2), 0, resolutions=[4]
    )
    for split in dataset.splits():
        expected = np.where(split.labels == 0, 51, 255)
        assert (split.at(4) == expected[:, None, None, None]).all()


def test_16_bits_in_either_order_of_bytes(tmp_path: Path) -> None:
    pixels = np.full((8, 4, 4, 3), 0.2 * 65535).astype(">u2")
    path = _save(tmp_path, images=pixels, labels=np.arange(8) % 2)
    assert (load_dataset(path, 0, resolutions=[4]).train.at(4) == 51).all()


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    path = _save(tmp_path, images=np.zeros((8, 4, 4, 4), np.uint8), labels=np.arange(8) % 2)
    assert (load_dataset(path, 0, resolutions=[4]).train.at(4) == 255).all()
    assert scan(path, 0).forms.counts == {"transparent": 8}


@pytest.mark.parametrize(
    ("labels", "classes", "first"),
    [
        ([1, 2, 3], ["1", "2", "3"], "1"),  # too large to be their numbers
        ([0, 1, 2], ["2", "1", "0"], "2"),
        (["0", "1", "2"], ["2", "1", "0"], "0"),
        (["0", "1", "2"], ["zebra", "ant", "bee"], "zebra"),
    ],
)
def test_names_of_classes_may_be_numbers(
    tmp_path: Path, labels: list[int | str], classes: list[str], first: str
) -> None:
    path = _save(
        tmp_path, images=_images(36), labels=np.repeat(labels, 12), classes=np.array(classes)
    )
    dataset = load_dataset(path, 0, resolutions=[4])
    assert dataset.classes == tuple(classes)
    found = [
        item
        for split in dataset.splits()
        for item, label in zip(split.items, split.labels, strict=True)
        if label == classes.index(first)
    ]
    assert sorted(found) == [f"images/{row:06d}" for row in range(12)]


def test_the_file_is_unpacked_once_and_mapped(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path, **_splits(notes=np.array("not unpacked")))
    index = scan(path, 0)
    (folder,) = (cache / "arrays").iterdir()
    assert {file.stem for file in folder.iterdir()} == {"x_train", "y_train", "x_test", "y_test"}
    assert isinstance(index.source.arrays["x_train"], np.memmap)  # type: ignore[union-attr]
    monkeypatch.setattr("nas.data.arrays._unpack", None)
    os.utime(path)
    assert scan(path, 0).fingerprint == index.fingerprint


def test_a_changed_file_is_seen(tmp_path: Path) -> None:
    arrays = _splits()
    first = scan(_save(tmp_path, **arrays), 0).fingerprint
    arrays["x_train"][3] += 1
    assert scan(_save(tmp_path, **arrays), 0).fingerprint != first


@pytest.mark.parametrize(
    "arrays",
    [{"a": 1, "b": 2}, {"x_train": 1}, {"x_train": 1, "y_train": 1, "images": 1, "labels": 1}],
)
def test_arrays_of_other_names(tmp_path: Path, arrays: dict[str, int]) -> None:
    path = _save(tmp_path, **arrays)  # type: ignore[arg-type]
    names = sorted(set(arrays) - {"a", "b"})
    assert _error(path) == (
        f"a NumPy archive holds images and labels; {path} holds the arrays "
        f"{', '.join(names) or 'of no known name'}; allowed: x_train, y_train, x_test and y_test "
        "(x_val and y_val if you like), or images and labels; "
        "try: np.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)"
    )


def test_no_test_images(tmp_path: Path) -> None:
    path = _save(tmp_path, x_train=_images(4), y_train=np.arange(4) % 2)
    assert _error(path).startswith("data with splits have train and test; got 'train'; allowed: ")


@pytest.mark.parametrize(
    ("images", "what", "do"),
    [
        (np.zeros((30, 3, 6, 5), np.uint8), "30 x 3 x 6 x 5 of uint8",
         "np.moveaxis(x_train, 1, -1)"),
        (np.zeros((30, 6, 5, 2), np.uint8), "30 x 6 x 5 x 2 of uint8", "convert it"),
        (np.zeros((30, 36), np.uint8), "30 x 36 of uint8", "convert it"),
        (np.zeros((30, 0, 6), np.uint8), "30 x 0 x 6 of uint8", "convert it"),
        (np.zeros((30, 6, 6), np.int64), "30 x 6 x 6 of int64", "convert it"),
        (np.zeros((30, 6, 6), complex), "30 x 6 x 6 of complex128", "convert it"),
    ],
)  # fmt: skip
def test_what_are_no_images(tmp_path: Path, images: np.ndarray, what: str, do: str) -> None:
    path = _save(tmp_path, **_splits(x_train=images))
    assert _error(path) == (
        f"images are arrays of pixels; x_train of {path} is {what}; {PIXELS}; try: {do}"
    )


@pytest.mark.parametrize(
    ("value", "got"), [(255.0, "0 to 255"), (-0.5, "-0.5 to 0"), (np.nan, "NaN among them")]
)
def test_floats_are_zero_to_one(tmp_path: Path, value: float, got: str) -> None:
    images = np.zeros((30, 4, 4), np.float32)
    images[29, 3, 3] = value
    path = _save(tmp_path, **_splits(x_train=images))
    do = "x_train / 255, or x_train.astype(np.uint8)"
    if np.isnan(value):
        do = "np.nan_to_num(x_train), or leave these images out"
    assert _error(path) == (
        f"floating-point pixels are from 0 to 1; x_train of {path} is not; got {got!r}; try: {do}"
    )


@pytest.mark.parametrize(
    ("labels", "what", "do"),
    [
        (np.arange(29) % 3, "29 of int64", "give each image its label"),
        (np.eye(3)[np.arange(30) % 3], "30 x 3 of float64", "y_train.argmax(axis=1)"),
        (np.arange(30) % 3 / 1.0, "30 of float64", "y_train.astype(np.int64)"),
    ],
)
def test_what_are_no_labels(tmp_path: Path, labels: np.ndarray, what: str, do: str) -> None:
    path = _save(tmp_path, **_splits(y_train=labels))
    assert _error(path) == (
        "labels are one whole number from 0, or one text, for each image; "
        f"y_train of {path} is {what} for 30 images; allowed: N integers or N texts; try: {do}"
    )


def test_numbers_of_classes_are_from_zero(tmp_path: Path) -> None:
    path = _save(tmp_path, **_splits(y_train=np.arange(30) % 3 - 1))
    assert _error(path) == (
        f"labels that are numbers count from 0; y_train of {path} has others; got '-1'; "
        "try: np.unique(y_train, return_inverse=True)[1], or leave these images out"
    )


def test_a_label_without_a_class(tmp_path: Path) -> None:
    path = _save(tmp_path, **_splits(classes=np.array(["ant", "bee"])))
    assert _error(path) == (
        f"labels are numbers of classes; {path} has 2 classes; got '2'; allowed: 0 to 1; "
        "try: add the name of the class, or correct the label"
    )


def test_a_class_without_images(tmp_path: Path) -> None:
    path = _save(tmp_path, **_splits(classes=np.array(["ant", "bee", "cow", "dog"])))
    assert _error(path) == (
        "validation is split off train, which takes at least 2 images per class; "
        "too few in dog (0); try: add images or remove the class"
    )


def test_a_class_of_two_labels(tmp_path: Path) -> None:
    path = _save(tmp_path, **_splits(classes=np.array(["ant", "bee", "ant"])))
    assert _error(path) == (
        f"names of classes differ; {path} has one twice; got 'ant'; "
        "try: give each class a name of its own"
    )


def test_no_pickle_is_read(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(ran),)

    path = _save(tmp_path, **_splits(y_train=np.array([Evil()] * 30, object)))
    assert _error(path).startswith(
        f"a NumPy archive holds numbers and texts; y_train of {path} cannot be read ("
    )
    assert not ran.exists()


def test_a_damaged_file(tmp_path: Path, cache: Path) -> None:
    path = _save(tmp_path, compress=True, **_splits())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = _error(path)
    assert text.startswith(f"an archive can be read to its end; {path} cannot (")
    assert text.endswith("try: download or pack it again")
    assert list((cache / "arrays").iterdir()) == []
