"""A NumPy archive (.npz): images and labels as arrays, memory-mapped from the cache folder."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data.archive import DAMAGE, damaged, unpacked
from nas.data.identity import stamp_of
from nas.data.images import to_8_bits
from nas.data.source import ALL, TEST, TRAIN, VALIDATION, Listing, Stamp, sorted_names
from nas.errors import DataError
from nas.files import disk_errors

ARRAYS_SUFFIX = ".npz"
Array = npt.NDArray[Any]

_ALIASES = {TRAIN: ("train",), VALIDATION: ("val", "valid", "validation"), TEST: ("test",)}
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    split: tuple(
        pair
        for alias in aliases
        for pair in ((f"x_{alias}", f"y_{alias}"), (f"{alias}_images", f"{alias}_labels"))
    )
    for split, aliases in _ALIASES.items()
} | {ALL: (("images", "labels"), ("x", "y"))}
"""Names of the arrays of images and labels by split, whatever their case."""
CLASS_NAMES = ("classes", "class_names")
ALLOWED = "x_train, y_train, x_test and y_test (x_val and y_val if you like), or images and labels"
PIXELS = "N x H x W or N x H x W x C (C: 1, 3 or 4) of uint8, uint16, or floats from 0 to 1"
_CHECKED_BYTES = 1 << 26
"""Of floats that are looked at together."""


@dataclass(frozen=True)
class Arrays:
    """Arrays of a file; items are `x_train/000042`, the array and the row.

    Attributes:
        path: The file.
        file_stamp: Of the file.
        arrays: All arrays by lower-case name, memory-mapped.
    """

    path: Path
    file_stamp: Stamp
    arrays: Mapping[str, Array]

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.stem

    @property
    def place(self) -> str:
        """Of the file."""
        return str(self.path.resolve())

    def listing(self) -> Listing:
        """Which rows are of which class.

        Raises:
            DataError: Arrays are missing, or are not images and labels.
        """
        pairs = self._pairs()
        for images, labels in pairs.values():
            _check_pixels(images, self.arrays[images], self.path)
            _check_labels(labels, self.arrays[labels], len(self.arrays[images]), self.path)
        named = {s: self._named(*pair) for s, pair in pairs.items()}
        given = next((self.arrays[n] for n in CLASS_NAMES if n in self.arrays), None)
        if given is None:
            names = sorted_names(label for labels in named.values() for label in labels)
        else:
            names = _class_names(given, self.path)
            texts = any(self.arrays[labels].dtype.kind == "U" for _, labels in pairs.values())
            if not _are_names({label for found in named.values() for label in found}, names, texts):
                named = {s: _renamed(found, names, self.path) for s, found in named.items()}
        return Listing(names, named)

    def stamp(self, item: str) -> Stamp:
        """Of the whole file."""
        return self.file_stamp

    def read(self, item: str) -> Array:
        """An image as uint8."""
        name, _, row = item.rpartition("/")
        return _as_bytes(np.asarray(self.arrays[name][int(row)]))

    def _pairs(self) -> dict[str, tuple[str, str]]:
        """The names of images and labels of each split."""
        found: dict[str, tuple[str, str]] = {}
        for split, names in NAMES.items():
            for images, labels in names:
                if images in self.arrays and labels in self.arrays:
                    found.setdefault(split, (images, labels))
        if not found or (ALL in found and len(found) > 1):
            raise DataError(
                f"a NumPy archive holds images and labels; {self.path} holds the arrays "
                f"{', '.join(sorted(self.arrays)) or 'of no known name'}",
                allowed=ALLOWED,
                do="np.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)",
            )
        return found

    def _named(self, images: str, labels: str) -> dict[str, list[str]]:
        classes: dict[str, list[str]] = {}
        for row, label in enumerate(self.arrays[labels].ravel().tolist()):
            classes.setdefault(str(label), []).append(f"{images}/{row:06d}")
        return classes


def open_arrays(path: Path) -> Arrays:
    """A NumPy archive as a source. No pickle is read.

    Raises:
        DataError: It is damaged, or holds objects.
        DiskFullError: No space was left to unpack it.
    """
    stamp = stamp_of(path)
    folder = unpacked(path, "arrays", lambda folder: _unpack(path, folder))
    arrays = {}
    for file in sorted(folder.iterdir()):
        try:
            arrays[file.stem.lower()] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DataError(
                f"a NumPy archive holds numbers and texts; {file.stem} of {path} cannot be read "
                f"({error})",
                do="save arrays of numbers or texts, without pickle",
            ) from error
    return Arrays(path, stamp, arrays)


def _unpack(path: Path, folder: Path) -> None:
    """Copy the arrays without holding them: a memory map needs a file of its own."""
    known = {name for names in NAMES.values() for pair in names for name in pair} | {*CLASS_NAMES}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name.lower() in known and name != info.filename:
                    with archive.open(info) as content:
                        _copy(content, folder / info.filename)
    except DAMAGE as error:
        raise damaged(path, error) from error


def _copy(content: Any, target: Path) -> None:
    with disk_errors(target):
        file = target.open("wb")
    with file:
        while block := content.read(1 << 20):
            with disk_errors(target):
                file.write(block)


def _check_pixels(name: str, images: Array, path: Path) -> None:
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3, 4))
    if not shaped or 0 in images.shape[1:] or images.dtype.name not in _READABLE:
        last = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        raise DataError(
            f"images are arrays of pixels; {name} of {path} is "
            f"{' x '.join(map(str, images.shape))} of {images.dtype}",
            allowed=PIXELS,
            do=f"np.moveaxis({name}, 1, -1)" if not shaped and last else "convert it",
        )
    if images.dtype.kind == "f":
        _check_range(name, images, path)


def _check_range(name: str, images: Array, path: Path) -> None:
    """Floats are 0 to 1, in pieces that fit into memory."""
    step = max(1, _CHECKED_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        piece = images[start : start + step]
        low, high = float(piece.min()), float(piece.max())
        nan = low != low  # NaN is the least of any
        if nan or low < 0 or high > 1:
            raise DataError(
                f"floating-point pixels are from 0 to 1; {name} of {path} is not",
                got="NaN among them" if nan else f"{low:g} to {high:g}",
                do=f"np.nan_to_num({name}), or leave these images out"
                if nan
                else f"{name} / 255, or {name}.astype(np.uint8)",
            )


def _check_labels(name: str, labels: Array, images: int, path: Path) -> None:
    flat = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    if flat and labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        raise DataError(
            f"labels that are numbers count from 0; {name} of {path} has others",
            got=str(labels.min()),
            do=f"np.unique({name}, return_inverse=True)[1], or leave these images out",
        )
    if not flat or len(labels) != images or labels.dtype.kind not in "iuU":
        do = f"{name}.astype(np.int64)" if len(labels) == images else "give each image its label"
        raise DataError(
            f"labels are one whole number from 0, or one text, for each image; {name} of {path} is "
            f"{' x '.join(map(str, labels.shape))} of {labels.dtype} for {images} images",
            allowed="N integers or N texts",
            do=f"{name}.argmax(axis=1)" if labels.ndim == 2 else do,
        )


def _class_names(given: Array, path: Path) -> tuple[str, ...]:
    names = tuple(str(name) for name in given.ravel())
    if len(set(names)) < len(names):
        raise DataError(
            f"names of classes differ; {path} has one twice",
            got=next(name for name in names if names.count(name) > 1),
            do="give each class a name of its own",
        )
    return names


def _are_names(labels: set[str], names: Sequence[str], texts: bool) -> bool:
    """Whether labels are names of classes, and not their numbers; names may be numbers, too."""
    numbers = all(label.isdecimal() and int(label) < len(names) for label in labels)
    return labels <= set(names) and (texts or not numbers)


def _renamed(
    classes: Mapping[str, list[str]], names: Sequence[str], path: Path
) -> dict[str, list[str]]:
    """By the names of classes, where labels are their numbers."""
    renamed = {}
    for label, items in classes.items():
        if not label.isdecimal() or int(label) >= len(names):
            raise DataError(
                f"labels are numbers of classes; {path} has {len(names)} classes",
                got=label,
                allowed=f"0 to {len(names) - 1}",
                do="add the name of the class, or correct the label",
            )
        renamed[names[int(label)]] = items
    return renamed


_READABLE = ("uint8", "uint16", "float16", "float32", "float64")


def _as_bytes(image: Array) -> npt.NDArray[np.uint8]:
    if image.dtype.name == "uint16":  # in either order of bytes
        return to_8_bits(image)
    if image.dtype.kind == "f":
        return np.rint(image.astype(np.float64) * 255).astype(np.uint8)
    return image
