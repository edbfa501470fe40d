"""Broken images: named once, left out up to a share, an error above it."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import DatasetIndex, load_dataset, manifest, scan
from nas.data.indexing import name_broken
from nas.errors import DataError

MakeFolder = Callable[..., Path]
FORMATS = "JPEG, PNG, BMP, WebP, GIF, PPM or TIFF of 8 or 16 bits"


def _jpeg(size: int = 64) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def _png_with_a_wrong_byte() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.frombuffer(_jpeg()[:3072], np.uint8).reshape(32, 32, 3)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def _bomb() -> bytes:
    """A PNG of 400 million black pixels in 50 KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    header = (20_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    data = zlib.compress(bytes(2501) * 20_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


BROKEN = {
    "empty": (b"", "it is empty"),
    "text": (b"not an image", "no image format recognised"),
    "header": (b"\xff\xd8 nothing more", "no image format recognised"),
    "page": (b"<!DOCTYPE html><html>404</html>", "no image format recognised"),
    "truncated": (_jpeg()[:1500], "image file is truncated"),
    "damaged": (_png_with_a_wrong_byte(), "broken data stream"),
    "bomb": (_bomb(), "it is too large: more pixels than Pillow takes for safe"),
}


def _error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def _items(index: DatasetIndex) -> list[list[str]]:
    return [list(split.items) for split in index.splits()]


@pytest.fixture
def many(make_folder: MakeFolder) -> Path:
    return make_folder({"cat": 60, "dog": 40}, size=(4, 4))


@pytest.mark.parametrize("kind", BROKEN)
def test_few_are_left_out_and_written_down(many: Path, kind: str) -> None:
    content, problem = BROKEN[kind]
    (many / "dog" / "007.tif").write_bytes(content)
    dataset = load_dataset(many, 0, resolutions=[4])
    assert list(dataset.left_out) == ["dog/007.tif"]
    assert dataset.left_out["dog/007.tif"].startswith(problem)
    told = manifest(dataset)
    assert told["left_out"] == dataset.left_out
    assert sum(len(told[split.name]) for split in dataset.splits()) == 99
    assert all("dog/007.tif" not in split.items for split in dataset.splits())


def test_others_stay_where_they_are(many: Path) -> None:
    whole = _items(scan(many, 0))
    (many / "cat" / "001.jpg").write_bytes(b"")
    (many / "dog" / "001.jpg").write_bytes(_jpeg()[:1000])
    left = _items(scan(many, 0))
    gone = {"cat/001.jpg", "dog/001.jpg"}
    assert left == [[item for item in items if item not in gone] for items in whole]


def test_what_is_used_makes_the_fingerprint(many: Path) -> None:
    (many / "cat" / "001.jpg").write_bytes(b"")
    first = scan(many, 0)
    (many / "cat" / "001.jpg").write_bytes(_jpeg()[:1000])
    assert scan(many, 0).fingerprint == first.fingerprint
    (many / "cat" / "001.jpg").write_bytes(_jpeg())
    assert scan(many, 0).fingerprint != first.fingerprint


def test_a_second_scan_remembers(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (many / "cat" / "001.jpg").write_bytes(_jpeg()[:1000])
    first = scan(many, 0)
    monkeypatch.setattr(Path, "read_bytes", None)
    again = scan(many, 0)
    assert (again.left_out, again.fingerprint) == (first.left_out, first.fingerprint)


def test_many_are_an_error(many: Path) -> None:
    for name in ("001.jpg", "004.webp", "006.ppm"):
        (many / "cat" / name).write_bytes(b"")
    assert _error(many) == (
        "at most 2 % of the images are broken and left out; cat/001.jpg: it is empty; "
        "cat/004.webp: it is empty; cat/006.ppm: it is empty; "
        "got '3 of 100 images that cannot be read'; "
        f"allowed: 2 of them; {FORMATS}; try: remove or replace these files"
    )


def test_what_is_not_named_is_listed_in_a_file(many: Path) -> None:
    for number in range(0, 40, 8):
        (many / "dog" / f"{number:03d}.png").write_bytes(b"no image")
    text = _error(many)
    assert "dog/016.png: no image format recognised; and 2 more; got '5 of 100 images" in text
    assert text == _error(many)
    listed = Path(text.rpartition("listed in ")[2]).read_text().splitlines()
    assert listed == [f"dog/{n:03d}.png\tno image format recognised" for n in range(0, 40, 8)]


def test_one_of_a_few_is_too_many(pets: Path) -> None:
    (pets / "train" / "dog" / "bad.jpg").write_bytes(b"")
    assert "got '1 of 42 images that cannot be read'; allowed: 0 of them; " in _error(pets)


def test_a_class_that_loses_all_its_images(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 200, "dog": 3}, size=(4, 4))
    (root / "dog" / "001.jpg").write_bytes(b"")
    index_error = _error(root)
    assert index_error.startswith(
        "without the broken images (dog/001.jpg: it is empty) every class has an image in train, "
        "validation and test; dog has none in "
    )
    assert index_error.endswith("; try: add images, or remove the class from all splits")


def test_a_repaired_file_is_read_again(many: Path) -> None:
    file = many / "cat" / "001.jpg"
    whole = file.read_bytes()
    os.truncate(file, len(whole) // 2)
    assert list(scan(many, 0).left_out) == ["cat/001.jpg"]
    file.write_bytes(whole)
    assert scan(many, 0).left_out == {}


def test_names_are_few() -> None:
    broken = {f"{n}.png": "it is empty" for n in range(1203)}
    assert name_broken(broken) == (
        "0.png: it is empty; 1.png: it is empty; 2.png: it is empty; and 1,200 more"
    )
