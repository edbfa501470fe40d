"""The way into the data: find the images of any source first, then decode them."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from nas.data import digits, hugging_face
from nas.data.archive import ARCHIVE_SUFFIXES, archive_name, extract
from nas.data.arrays import ARRAYS_SUFFIX, open_arrays
from nas.data.cache import decode_source
from nas.data.csv_table import CSV_SUFFIXES, CsvTable
from nas.data.dataset import Dataset, DatasetIndex, Progress
from nas.data.folder import LAYOUTS, open_folder
from nas.data.indexing import make_index
from nas.data.source import Source
from nas.errors import DataError

ALLOWED = (
    f"a folder ({LAYOUTS}), an archive of one ({', '.join(ARCHIVE_SUFFIXES)}), "
    f"a table ({', '.join(CSV_SUFFIXES)}), arrays ({ARRAYS_SUFFIX}), or hf:NAME"
)


_NOTHING = (errno.ENOENT, errno.ELOOP)
"""Errors of links that lead to no file."""


def open_source(path: Path) -> Source:
    """What a path is: a folder, an archive, a table, arrays, or a name after `hf:`.

    Raises:
        DataError: It is none of these, or damaged.
        DiskFullError: No space was left to unpack an archive.
    """
    if str(path).startswith(hugging_face.PREFIX):
        return hugging_face.open_named(str(path))
    if path.is_dir() and hugging_face.is_saved(path):
        return hugging_face.open_saved(path)
    if path.is_dir():
        return open_folder(path, path.resolve().name)
    if not path.exists():
        raise DataError("the data path exists", got=str(path), allowed=ALLOWED, do="check --data")
    name = path.name.lower()
    if name.endswith(ARCHIVE_SUFFIXES):
        return open_folder(extract(path), archive_name(path))
    if name.endswith(CSV_SUFFIXES):
        return CsvTable(path)
    if name.endswith(ARRAYS_SUFFIX):
        return open_arrays(path)
    raise DataError(
        "data are a folder, or a file of a known kind",
        got=str(path),
        allowed=ALLOWED,
        do="pack the images' folder, or give the folder itself",
    )


def scan(path: Path | None, seed: int, *, progress: Progress | None = None) -> DatasetIndex:
    """Find the images, classes and splits of a data set; broken images are left out.

    Args:
        path: What `open_source` takes; None for scikit-learn's digits.
        seed: Decides the split where the folders do not.
        progress: Called with (what is done, images done, images in all).

    Raises:
        DataError: The data cannot be used; the message names the file or class.
        DiskFullError: No space was left to unpack the archive.
    """
    if path is None:
        return digits.scan_digits(seed)
    try:
        return make_index(open_source(path), seed, progress)
    except OSError as error:
        raise DataError(
            f"data can be read; {error.filename or path} cannot ({error.strerror})",
            do="remove it: a link to nothing?"
            if error.errno in _NOTHING
            else "check its permissions",
        ) from error


def decode(
    index: DatasetIndex, resolutions: Sequence[int], *, progress: Progress | None = None
) -> Dataset:
    """Decode every image of `index` at each of `resolutions`, or reuse what the cache holds.

    Raises:
        DataError: An image changed since the scan; the message names it.
        DiskFullError: The decoded images do not fit on the disk of the cache folder.
    """
    wanted = tuple(sorted(set(resolutions)))
    if not wanted or wanted[0] < 1:
        raise ValueError(f"resolutions are one or more positive sizes in pixels, got {wanted}")
    if index.source is None:
        return digits.decode_digits(index, wanted)
    return decode_source(index, index.source, wanted, progress)


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
