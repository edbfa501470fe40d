"""One image: every mode to RGB, upright, one resize, damage named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nas.data import load_image
from nas.errors import DataError


def _pixels(width: int = 12, height: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_photo_is_read_as_the_documented_snippet_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    Image.fromarray(_pixels(40, 30)).save(file)
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    expected = np.asarray(upright.resize((16, 16), Image.Resampling.BILINEAR))
    for source in (file, str(file), io.BytesIO(file.read_bytes())):
        read = load_image(source, 16)
        assert read.dtype == np.uint8
        assert np.array_equal(read, expected)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(_pixels(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(load_image(tmp_path / "turned.png", 8), np.rot90(_pixels(8, 8), -1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(_pixels()).convert(mode)
    file = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(file)
    read = load_image(file, 8)
    assert read.shape == (8, 8, 3)
    expected = image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(read, np.asarray(expected))


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(_pixels()).convert("P")
    image.save(tmp_path / "palette.png", transparency=bytes(range(256)))
    assert np.array_equal(load_image(tmp_path / "palette.png", 8), load_image_of(image))


def load_image_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert load_image(tmp_path / name, 4)[0, :, 0].tolist() == [0, 1, 128, 255]
    (tmp_path / "grey.pgm").write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
    assert load_image(tmp_path / "grey.pgm", 4)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    red.save(tmp_path / "two.gif", save_all=True, append_images=[blue])
    assert load_image(tmp_path / "two.gif", 2)[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    file = tmp_path / "text.jpg"
    file.write_text("not an image")
    with pytest.raises(DataError) as caught:
        load_image(file, 8)
    assert str(caught.value) == (
        f"every image can be read; {file} cannot (no image format recognised); "
        "allowed: JPEG, PNG, BMP, WebP, GIF, PPM or TIFF of 8 or 16 bits; "
        "try: remove or replace this file"
    )


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    Image.fromarray(_pixels(64, 64)).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    with pytest.raises(DataError, match=r"can be read; upload cannot \(image file is truncated"):
        load_image(io.BytesIO(content[: len(content) // 2]), 8, "upload")


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        (np.float32, 0.5, "its pixels are floating-point numbers"),
        (np.int32, 70000, "its pixels have more than 16 bits"),
    ],
)
def test_other_depths_are_refused(tmp_path: Path, dtype: type, value: float, reason: str) -> None:
    Image.fromarray(np.full((4, 4), value, dtype=dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(DataError, match=reason):
        load_image(tmp_path / "deep.tif", 4)
