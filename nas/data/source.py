"""Where images come from: one small protocol, one file per format beside this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

Content = bytes | npt.NDArray[Any]
"""An encoded image file, or H x W or H x W x C pixels of uint8 (C: 1 grey, 3 RGB, 4 RGBA)."""
Stamp = tuple[int, int, int]
"""Size in bytes, modification time and change time (ns) of the file that holds an image."""
Classes = Mapping[str, Sequence[str]]
"""Items by the name of their class."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
ALL = "all"
"""The name of the only split of images that are still to be divided."""
SPLIT_NAMES = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "val", "dev"),
    TEST: ("test", "testing"),
}
"""Names of splits that are understood, whatever their case."""


def split_of(name: str) -> str | None:
    """The split that a folder, or a value in a table, names."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


@dataclass(frozen=True)
class Listing:
    """Which images there are.

    Attributes:
        classes: Names in label order.
        splits: `train` and `test`, perhaps `validation`; or `all` alone.
        note: What a user has to know of how the splits were read; empty for nothing.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Classes]
    note: str = ""


class Source(Protocol):
    """A folder, a table, an archive of arrays: something that has images by name."""

    @property
    def name(self) -> str:
        """Of the data set, for people."""
        ...

    @property
    def place(self) -> str:
        """What tells it from other sources on this machine: a path, for example."""
        ...

    def listing(self) -> Listing:
        """The items with their classes and splits, without a look at their content.

        Raises:
            DataError: It is not laid out as data have to be.
        """
        ...

    def stamp(self, item: str) -> Stamp:
        """What changes with the item's content, and is known without reading that."""
        ...

    def read(self, item: str) -> Content:
        """The content of an item; called from several threads at once.

        Raises:
            OSError: It cannot be read.
        """
        ...


def sorted_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in label order: whole numbers by size, any others by the alphabet."""
    names = set(labels)
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
