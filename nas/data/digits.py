"""scikit-learn's handwritten digits: 1,797 real images that come with the library.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test
set), 8 x 8 pixels with values 0..16, as `sklearn.datasets.load_digits` ships them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from nas.data.dataset import (
    STATISTICS_RESOLUTION,
    ChannelSums,
    Dataset,
    DatasetIndex,
    Forms,
    Labels,
    Pixels,
    fingerprint,
    make_dataset,
    make_split,
    split_items,
)
from nas.data.images import resize

SOURCE_SIZE = 32
_SHARES = (0.2, 0.2)  # validation and test; the remaining 60 % are for training


def scan_digits(seed: int) -> DatasetIndex:
    """The index of the digits, split 60 : 20 : 20, stratified, by `seed`."""
    images, labels = _digits()
    items = [f"digits/{row:04d}" for row in range(len(labels))]
    parts: list[list[tuple[str, int]]] = [[], [], []]
    for label in range(10):
        of_class = [item for item, own in zip(items, labels, strict=True) if own == label]
        for part, chosen in zip(parts, split_items(of_class, _SHARES, seed), strict=True):
            part.extend((item, label) for item in chosen)
    splits = [make_split(n, p) for n, p in zip(("train", "validation", "test"), parts, strict=True)]
    classes = tuple(str(label) for label in range(10))
    digests = {
        item: hashlib.sha256(image.tobytes()).hexdigest()
        for item, image in zip(items, images, strict=True)
    }
    return DatasetIndex(
        name="digits",
        classes=classes,
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        fingerprint=fingerprint(classes, splits, digests),
        source_size=SOURCE_SIZE,
        flip=False,  # a mirrored 2 is no digit
        forms=Forms(SOURCE_SIZE, SOURCE_SIZE, {"greyscale": len(labels)}),
        source=None,
    )


def decode_digits(index: DatasetIndex, resolutions: Sequence[int]) -> Dataset:
    """The digits of `index` in memory, resized from the 32 x 32 image to each resolution."""
    images, _ = _digits()
    held: list[dict[int, Pixels]] = []
    for split in index.splits():
        rows = [int(item.removeprefix("digits/")) for item in split.items]
        held.append({size: _resized(images[rows], size) for size in resolutions})
    sums = ChannelSums()
    rows = [int(item.removeprefix("digits/")) for item in index.train.items]
    sums.add(_resized(images[rows], STATISTICS_RESOLUTION))
    return make_dataset(index, held, sums)


@functools.cache
def _digits() -> tuple[Pixels, Labels]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.stack([resize(Image.fromarray(g).convert("RGB"), SOURCE_SIZE) for g in grey])
    images.setflags(write=False)
    return images, bunch.target.astype(np.int64)


def _resized(images: Pixels, resolution: int) -> Pixels:
    resized = np.stack([resize(Image.fromarray(image), resolution) for image in images])
    resized.setflags(write=False)
    return resized
