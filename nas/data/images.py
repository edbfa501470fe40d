"""One image: from a file to RGB pixels of one resolution, the same way everywhere.

For an ordinary photo this is, and a snippet that uses a network has to do,

    upright = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    pixels = np.asarray(upright.resize((R, R), Image.Resampling.BILINEAR))

Transparent pixels are laid over white first; 16 bits are scaled to 8.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.data.dataset import Pixels
from nas.data.source import Content
from nas.errors import DataError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}
)
"""File names that count as images, whatever their case; other files are ignored."""
READABLE = "JPEG, PNG, BMP, WebP, GIF, PPM or TIFF of 8 or 16 bits"

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
    Image.DecompressionBombWarning,
)
_FORMS = {"1": "greyscale", "L": "greyscale", "P": "palette", "CMYK": "CMYK"}


class Look(NamedTuple):
    """What is seen of an image without keeping its pixels.

    Attributes:
        shorter_side: In pixels; 0 for a broken image.
        form: `RGB`, `greyscale`, `transparent`, `palette`, `16-bit` or `CMYK`.
        problem: Why it cannot be decoded; `None` where it can.
    """

    shorter_side: int
    form: str
    problem: str | None


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
    """The image upright, in RGB over white and in its own size.

    Raises:
        DataError: The file is not an image, or a damaged one.
    """
    try:
        with Image.open(source, formats=_FORMATS) as opened:
            return _to_rgb(ImageOps.exif_transpose(opened))
    except _DAMAGE as error:
        raise DataError(
            f"every image can be read; {name or _name(source)} cannot ({_reason(error)})",
            allowed=READABLE,
            do="remove or replace this file",
        ) from error


def content_rgb(content: Content, name: str) -> Image.Image:
    """The image that a source holds, as `load_rgb` makes it.

    Raises:
        DataError: It is not an image, or a damaged one.
    """
    if isinstance(content, bytes):
        return load_rgb(io.BytesIO(content), name)
    return _to_rgb(_from_pixels(content))


def look_at(content: Content) -> Look:
    """Decode an image to see whether that is possible: damage often lies behind a sound header."""
    if not isinstance(content, bytes):
        image = _from_pixels(content)
        return Look(min(image.size), _form(image), None)
    if not content:
        return Look(0, "", "it is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            side, form = min(opened.size), _form(opened)
            # An eighth of a JPEG's size is decoded faster, from all of its bytes all the same.
            opened.draft(None, (1, 1))
            _to_rgb(ImageOps.exif_transpose(opened))
    except _DAMAGE as error:
        return Look(0, "", _reason(error))
    return Look(side, form, None)


def resize(image: Image.Image, resolution: int) -> Pixels:
    """An RGB image as R x R x 3 pixels."""
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.BILINEAR))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image format recognised"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "it is too large: more pixels than Pillow takes for safe"
    return " ".join(str(error).split()) or type(error).__name__


def _from_pixels(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels)


def _form(image: Image.Image) -> str:
    if image.mode.startswith("I"):
        return "16-bit"
    if image.has_transparency_data:
        return "transparent"
    return _FORMS.get(image.mode, "RGB")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of some 16-bit modes clips at 255 instead of scaling.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("its pixels have more than 16 bits")
    return Image.fromarray(to_8_bits(values)).convert("RGB")


def to_8_bits(values: np.ndarray) -> Pixels:
    """Values of 16 bits scaled to 8, the nearest: 65535 is 255."""
    return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)


def _name(source: Path | str | BinaryIO) -> str:
    return str(source if isinstance(source, (str, Path)) else getattr(source, "name", "the image"))
