"""One image: from a file to RGB pixels of one resolution, the same way everywhere.

For an ordinary photo this is, and a snippet that uses a network has to do,

    upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    pixels = np.asarray(upright.resize((R, R), Image.Resampling.BILINEAR))
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.data.dataset import Pixels
from nas.errors import DataError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
)
"""File names that count as images, whatever their case; other files are ignored."""

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
# What Pillow's parsers raise on damaged files; found by feeding them truncated and altered ones.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_image(source: Path | str | BinaryIO, resolution: int, name: str | None = None) -> Pixels:
    """Read an image as the networks see it.

    Args:
        source: A file name or an open binary file. Of an animation the first frame counts.
        resolution: R, in pixels; the image is stretched to a square, bilinear with antialiasing.
        name: How an error names the image; by default its file name.

    Returns:
        R x R x 3, RGB, uint8.

    Raises:
        DataError: The file is not an image, or a damaged one.
    """
    return resize(load_rgb(source, name), resolution)


def load_rgb(source: Path | str | BinaryIO, name: str | None = None) -> Image.Image:
    """The image upright, in RGB and in its own size. Transparency is dropped.

    Raises:
        DataError: The file is not an image, or a damaged one.
    """
    try:
        with Image.open(source, formats=_FORMATS) as opened:
            return _to_rgb(ImageOps.exif_transpose(opened))
    except _DAMAGE as error:
        raise broken_image(name or _name(source), error) from error


def shorter_side(source: BinaryIO, name: str) -> int:
    """The shorter side in pixels, read from the header alone.

    Raises:
        DataError: The file has no image header.
    """
    try:
        with Image.open(source, formats=_FORMATS) as opened:
            return int(min(opened.size))
    except _DAMAGE as error:
        raise broken_image(name, error) from error


def resize(image: Image.Image, resolution: int) -> Pixels:
    """An RGB image as R x R x 3 pixels."""
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.BILINEAR))


def broken_image(name: str, error: Exception) -> DataError:
    """The error that names an image which cannot be read."""
    reason = "no image format recognised" if isinstance(error, UnidentifiedImageError) else error
    return DataError(
        f"every image can be read; {name} cannot ({reason})",
        allowed="JPEG, PNG, BMP, WebP, GIF, PPM or TIFF of 8 or 16 bits",
        do="remove or replace this file",
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of some 16-bit modes clips at 255 instead of scaling.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _name(source: Path | str | BinaryIO) -> str:
    return str(source if isinstance(source, (str, Path)) else getattr(source, "name", "the image"))
