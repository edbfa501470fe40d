"""The lines that are said of a data set before the work starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from nas.data import describe, scan

MakeFolder = Callable[..., Path]


def test_a_folder(pets: Path) -> None:
    assert describe(scan(pets, 0)) == [
        "Data pets: 41 images of 2 classes (29 train, 3 validation, 9 test); 11 (dog) to 18 (cat) "
        "training images in each, a ratio of 1.64.",
        "Shorter sides: 9 pixels; 38 RGB, 3 palette.",
    ]


def test_the_digits() -> None:
    assert describe(scan(None, 0)) == [
        "Data digits: 1,797 images of 10 classes (1,079 train, 359 validation, 359 test); "
        "104 (8) to 110 (1) training images in each, a ratio of 1.06.",
        "Shorter sides: 32 pixels; 1,797 greyscale.",
    ]


def test_sizes_forms_and_what_was_left_out(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 60, "dog": 60}, size=(9, 9))
    for number, (mode, side) in enumerate([("L", 5), ("LA", 200), ("I;16", 40)]):
        Image.new(mode, (side, 300)).save(root / "cat" / f"{number}00.png")
    (root / "dog" / "001.jpg").write_bytes(b"")
    (root / "dog" / "002.JPEG").write_bytes(b"no image")
    first, sizes, left_out = describe(scan(root, 0))
    assert first.startswith("Data pets: 120 images of 2 classes (")
    assert sizes.startswith("Shorter sides: 5 to 200 pixels, median 9; 1")
    assert all(told in sizes for told in ("1 greyscale", "1 transparent", "1 16-bit"))
    assert left_out == (
        "Left out: 2 broken images (dog/001.jpg: it is empty; dog/002.JPEG: no image format "
        "recognised); data.json lists all."
    )


def test_even_classes(make_folder: MakeFolder) -> None:
    counts = {f"{s}/{c}": 3 for s in ("train", "val", "test") for c in ("cat", "dog")}
    assert describe(scan(make_folder(counts), 0))[0] == (
        "Data pets: 18 images of 2 classes (6 train, 6 validation, 6 test); "
        "3 training images in each."
    )
