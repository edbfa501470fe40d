"""The way into the data: digits, a folder or an archive; find it first, then decode it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.data import digits
from nas.data.cache import decode_files
from nas.data.dataset import Dataset, DatasetIndex, Progress
from nas.data.folder import scan_path


def scan(path: Path | None, seed: int, *, progress: Progress | None = None) -> DatasetIndex:
    """Find the images, classes and splits of a data set without decoding pixels.

    Args:
        path: A folder or an archive of images; None for scikit-learn's digits.
        seed: Decides the split where the folders do not.
        progress: Called with (what is done, images done, images in all).

    Raises:
        DataError: The data cannot be used; the message names the file or class.
        DiskFullError: No space was left to unpack the archive.
    """
    return digits.scan_digits(seed) if path is None else scan_path(path, seed, progress)


def decode(
    index: DatasetIndex, resolutions: Sequence[int], *, progress: Progress | None = None
) -> Dataset:
    """Decode every image of `index` at each of `resolutions`, or reuse what the cache holds.

    Raises:
        DataError: An image is broken; the message names it.
        DiskFullError: The decoded images do not fit on the disk of the cache folder.
    """
    wanted = tuple(sorted(set(resolutions)))
    if not wanted or wanted[0] < 1:
        raise ValueError(f"resolutions are one or more positive sizes in pixels, got {wanted}")
    if index.root is None:
        return digits.decode_digits(index, wanted)
    return decode_files(index, index.root, wanted, progress)


def load_dataset(
    path: Path | None,
    seed: int,
    *,
    resolutions: Sequence[int],
    progress: Progress | None = None,
) -> Dataset:
    """`scan` and `decode` in one call, for callers that know the resolutions beforehand.

    Raises:
        DataError: The data cannot be used; the message names the file or class.
        DiskFullError: No space is left in the cache folder.
    """
    return decode(scan(path, seed, progress=progress), resolutions, progress=progress)
