"""What a data set is: its index (before decoding), its splits, its fingerprint, its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.data.source import Source
from nas.errors import DataError

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]

STATISTICS_RESOLUTION = 32
"""Where mean and standard deviation are taken, so that they depend on the data alone."""


@dataclass(frozen=True, eq=False)
class SplitIndex:
    """One of train, validation and test before decoding.

    The order is a fixed shuffle (by a hash of the item), so any prefix is a random sample.
    """

    name: str
    items: tuple[str, ...]
    labels: Labels = field(repr=False)


@dataclass(frozen=True)
class Forms:
    """What the images of a data set look like.

    Attributes:
        smallest: The shortest of their shorter sides, pixels.
        largest: The longest of those.
        counts: Images by form (`RGB`, `greyscale`, ...).
    """

    smallest: int
    largest: int
    counts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """A data set whose images were found and identified but not decoded.

    Attributes:
        name: "digits", or the name of the folder or archive.
        classes: Names in label order.
        fingerprint: Changes when an image, a label, a class name or the split changes; it does not
            depend on where the data lie, nor on whether they were packed.
        source_size: Median of the shorter sides of the source images in pixels.
        flip: Whether mirrored images keep their meaning.
        forms: What the images look like.
        source: Where the items are read; `None` for the embedded digits.
        left_out: Broken images, by item, and why they cannot be read.
        note: What has to be known of how the splits were read; empty for nothing.
    """

    name: str
    classes: tuple[str, ...]
    train: SplitIndex
    validation: SplitIndex
    test: SplitIndex
    fingerprint: str
    source_size: int
    flip: bool
    forms: Forms
    source: Source | None
    left_out: Mapping[str, str] = field(default_factory=dict, repr=False)
    note: str = ""

    def splits(self) -> tuple[SplitIndex, SplitIndex, SplitIndex]:
        """Train, validation, test."""
        return self.train, self.validation, self.test


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """One of train, validation and test, decoded.

    Attributes:
        name: `train`, `validation` or `test`.
        items: File names relative to the data folder, "digits/0042", or "train/000042" of what
            has rows; any prefix is a random sample.
        labels: N class indices.
        images: Per resolution the pixels, or the `.npy` file that holds them.
    """

    name: str
    items: tuple[str, ...]
    labels: Labels = field(repr=False)
    images: Mapping[int, Pixels | Path] = field(repr=False)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.items)

    def at(self, resolution: int) -> Pixels:
        """The images, N x R x R x 3 RGB, read-only; memory-mapped where they came from files.

        Raises:
            DataError: The data set was decoded at other resolutions.
        """
        if resolution not in self.images:
            known = ", ".join(map(str, sorted(self.images)))
            raise DataError(
                "the images were not decoded at this size", got=resolution, allowed=known
            )
        held = self.images[resolution]
        if isinstance(held, Path):
            mapped: Pixels = np.load(held, mmap_mode="r", allow_pickle=False)
            return mapped
        return held


@dataclass(frozen=True, eq=False)
class Dataset:
    """A decoded data set. The attributes of `DatasetIndex` mean the same here.

    Attributes:
        mean: Per channel, of the train pixels in 0..1 at `STATISTICS_RESOLUTION`, 6 decimals.
        std: Standard deviation per channel; at least one grey level (1/255).
        left_out: Broken images, by item, and why they cannot be read.
    """

    name: str
    classes: tuple[str, ...]
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit
    fingerprint: str
    source_size: int
    flip: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    left_out: Mapping[str, str] = field(default_factory=dict, repr=False)

    def splits(self) -> tuple[ImageSplit, ImageSplit, ImageSplit]:
        """Train, validation, test."""
        return self.train, self.validation, self.test


@dataclass
class ChannelSums:
    """Exact sums over pixels, so that the statistics do not depend on the order of addition."""

    count: int = 0
    total: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))
    squares: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, np.int64))

    def add(self, images: Pixels) -> None:
        """Add N x R x R x 3 pixels."""
        pixels = images.reshape(-1, 3).astype(np.int64)
        self.count += len(pixels)
        self.total += pixels.sum(axis=0)
        self.squares += (pixels**2).sum(axis=0)

    def mean_std(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation of the pixels in 0..1; at least one pixel was added."""
        mean = self.total / self.count
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 1.0))
        return _three(mean / 255), _three(std / 255)


def _three(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 6) for value in values)
    return red, green, blue


def make_dataset(
    index: DatasetIndex, images: Sequence[Mapping[int, Pixels | Path]], sums: ChannelSums
) -> Dataset:
    """The decoded data set of `index`; `images` per split in the order of `index.splits()`."""
    train, validation, test = (
        ImageSplit(split.name, split.items, split.labels, held)
        for split, held in zip(index.splits(), images, strict=True)
    )
    mean, std = sums.mean_std()
    return Dataset(
        name=index.name,
        classes=index.classes,
        train=train,
        validation=validation,
        test=test,
        fingerprint=index.fingerprint,
        source_size=index.source_size,
        flip=index.flip,
        mean=mean,
        std=std,
        left_out=index.left_out,
    )


def make_split(name: str, labelled: Iterable[tuple[str, int]]) -> SplitIndex:
    """A split of (item, label) pairs, in the fixed shuffle."""
    ordered = sorted(labelled, key=lambda pair: (_order(pair[0]), pair[0]))
    labels = np.array([label for _, label in ordered], dtype=np.int64)
    labels.setflags(write=False)
    return SplitIndex(name, tuple(item for item, _ in ordered), labels)


def split_items(items: Sequence[str], shares: Sequence[float], seed: int) -> list[list[str]]:
    """Split the items of one class by a hash of seed and name: (the rest, one part per share).

    The split does not depend on the order of `items` or on any library's random generator. Each
    part has at least one item; the caller makes sure that there are enough.
    """
    left = sorted(items, key=lambda item: (_order(f"{seed}/{item}"), item))
    parts = []
    for share in shares:
        size = max(1, round(share * len(items)))
        parts.append(left[:size])
        left = left[size:]
    return [left, *parts]


def _order(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def fingerprint(
    classes: Sequence[str], splits: Sequence[SplitIndex], digests: Mapping[str, str]
) -> str:
    """32 hexadecimal digits that identify content, labels and split.

    Args:
        classes: Names in label order.
        splits: Train, validation, test.
        digests: A hash of the content per item.
    """
    total = hashlib.sha256()
    for line in _described(classes, splits, digests):
        total.update(json.dumps(line).encode() + b"\n")
    return total.hexdigest()[:32]


def _described(
    classes: Sequence[str], splits: Sequence[SplitIndex], digests: Mapping[str, str]
) -> Iterator[list[object]]:
    yield ["classes", *classes]
    for split in splits:
        for item, label in zip(split.items, split.labels.tolist(), strict=True):
            yield [split.name, item, label, digests[item]]


def manifest(dataset: Dataset) -> dict[str, Any]:
    """Which image is in which split with which label, for the run folder; JSON-able.

    With it and the data a third party can reproduce every accuracy. Items of the digits are
    `digits/<row of sklearn.datasets.load_digits()>`. `left_out` has the broken images with reasons.
    """
    splits = dataset.splits()
    return {
        "schema": 1,
        "source": dataset.name,
        "fingerprint": dataset.fingerprint,
        "classes": list(dataset.classes),
        **{split.name: list(split.items) for split in splits},
        "labels": {split.name: split.labels.tolist() for split in splits},
        "left_out": dict(dataset.left_out),
    }
