"""One image: every mode to RGB, upright, one resize, damage named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from nas.data import load_image
from nas.data.images import look_at
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


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(_pixels()).convert(mode)
    file = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(file)
    read = load_image(file, 8)
    assert read.shape == (8, 8, 3)
    expected = image.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(read, np.asarray(expected))


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red = load_image(tmp_path / "print.jpg", 2)[0, 0].astype(int)
    assert red[0] > 250 and red[1:].max() < 5


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "gif"])
def test_what_is_transparent_is_white(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGBA", (8, 4), (0, 0, 200, 255))
    image.paste((90, 30, 10, 0), (0, 0, 4, 4))  # a colour that nobody sees
    image.save(tmp_path / f"sticker.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    read = load_image(tmp_path / f"sticker.{suffix}", 4)
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[0, 3].tolist() == [0, 0, 200]


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    Image.new("LA", (4, 4), (55, 128)).save(tmp_path / "shade.png")
    assert load_image(tmp_path / "shade.png", 2)[0, 0].tolist() == [155, 155, 155]


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 100, 0])
    image.paste(1, (2, 0, 4, 4))
    image.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
    read = load_image(tmp_path / "palette.png", 4)
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[0, 3].tolist() == [0, 100, 0]


def test_a_colour_that_stands_for_nothing_is_white(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    image.paste((9, 9, 9), (2, 0, 4, 4))
    image.save(tmp_path / "keyed.png", transparency=(1, 2, 3))
    assert load_image(tmp_path / "keyed.png", 4)[0, ::3].tolist() == [[255] * 3, [9] * 3]


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 3), (641, 479)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    for suffix in ("jpg", "png"):
        file = tmp_path / f"odd.{suffix}"
        Image.new("RGB", size, (0, 120, 0)).save(file)
        assert load_image(file, 8).shape == (8, 8, 3)
        look = look_at(file.read_bytes())
        assert (look.shorter_side, look.form, look.problem) == (min(size), "RGB", None)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("1", "greyscale"), ("L", "greyscale"), ("LA", "transparent"), ("P", "palette"),
        ("RGB", "RGB"), ("RGBA", "transparent"), ("I;16", "16-bit"),
    ],
)  # fmt: skip
def test_forms(mode: str, form: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (5, 4)).save(file, "PNG")
    assert look_at(file.getvalue()) == (4, form, None)


def test_a_look_at_a_turned_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_pixels(40, 24)).save(tmp_path / "turned.jpg", exif=exif)
    assert look_at((tmp_path / "turned.jpg").read_bytes()) == (24, "RGB", None)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]] * 4, dtype=np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert load_image(tmp_path / name, 4)[0, :, 0].tolist() == [0, 1, 128, 255]
    (tmp_path / "grey.pgm").write_bytes(b"P5 4 4 65535\n" + values.astype(">u2").tobytes())
    assert load_image(tmp_path / "grey.pgm", 4)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for suffix in ("gif", "webp", "tif", "png"):
        file = tmp_path / f"two.{suffix}"
        lossless = {"lossless": True} if suffix == "webp" else {}
        red.save(file, save_all=True, append_images=[blue], **lossless)
        assert load_image(file, 2)[0, 0].tolist() == [255, 0, 0]
        assert look_at(file.read_bytes()).problem is None


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
