"""Images decoded once per resolution, kept as `.npy` files in the cache folder.

    <cache folder>/images/<fingerprint>-<decoder>/train-32.npy

A file appears under its name only when it is complete, and is memory-mapped afterwards.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from PIL import Image

from nas.data.dataset import (
    STATISTICS_RESOLUTION,
    ChannelSums,
    Dataset,
    DatasetIndex,
    Pixels,
    Progress,
    SplitIndex,
    make_dataset,
)
from nas.data.images import content_rgb, resize
from nas.data.source import Source
from nas.data.workers import in_order
from nas.errors import DataError, DiskFullError, RunFolderError
from nas.files import atomic_path, cache_folder, write_json
from nas.units import format_bytes

DECODER = f"v2-pillow-{PIL.__version__}"
"""Raised when `nas.data.images` computes other pixels; Pillow's decoders change them too."""


def decode_source(
    index: DatasetIndex, source: Source, resolutions: Sequence[int], progress: Progress | None
) -> Dataset:
    """Decode what the cache lacks and open the rest.

    Raises:
        DataError: An image changed since the scan, or the cache folder cannot be written.
        DiskFullError: The decoded images do not fit.
    """
    folder = cache_folder() / "images" / f"{index.fingerprint}-{DECODER}"
    missing = {split.name: _missing(folder, split, resolutions) for split in index.splits()}
    known = _read_sums(folder / "statistics.json")
    sums = known or ChannelSums()
    with cache_errors():
        _check_space(folder, index, missing)
        for split in index.splits():
            counted = sums if split is index.train and known is None else None
            if missing[split.name] or counted is not None:
                _decode_split(folder, source, split, missing[split.name], counted, progress)
        if known is None:
            _write_sums(folder / "statistics.json", sums)
    held = [{r: _file(folder, split, r) for r in resolutions} for split in index.splits()]
    return make_dataset(index, held, sums)


@contextlib.contextmanager
def cache_errors() -> Iterator[None]:
    """Say what to do when the cache folder, not a run folder, cannot be written."""
    try:
        yield
    except RunFolderError as error:
        raise DataError(
            f"the cache folder can be written; {cache_folder()} cannot ({error.__cause__})",
            allowed="a folder that this user may write",
            do="NAS_CACHE_DIR=OTHER_FOLDER",
        ) from error


def _file(folder: Path, split: SplitIndex, resolution: int) -> Path:
    return folder / f"{split.name}-{resolution}.npy"


def _shape(split: SplitIndex, resolution: int) -> tuple[int, int, int, int]:
    return len(split.items), resolution, resolution, 3


def _missing(folder: Path, split: SplitIndex, resolutions: Sequence[int]) -> list[int]:
    return [r for r in resolutions if not _is_whole(_file(folder, split, r), _shape(split, r))]


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        held = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent, or damaged from outside
        return False
    return bool(held.shape == shape and held.dtype == np.uint8)


def _check_space(folder: Path, index: DatasetIndex, missing: Mapping[str, list[int]]) -> None:
    """Refuse before hours of decoding what would end in a full disk."""
    needed = sum(
        int(np.prod(_shape(split, r))) for split in index.splits() for r in missing[split.name]
    )
    existing = next(parent for parent in folder.parents if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DiskFullError(
            f"the decoded images take {format_bytes(needed)} of the cache folder {cache_folder()}",
            got=f"{format_bytes(free)} free",
            do="free some space, or NAS_CACHE_DIR=OTHER_FOLDER",
        )


def _decode_split(
    folder: Path,
    source: Source,
    split: SplitIndex,
    resolutions: Sequence[int],
    counted: ChannelSums | None,
    progress: Progress | None,
) -> None:
    """Write one file per resolution in a single pass over the images, and count their pixels."""
    sizes = {*resolutions, STATISTICS_RESOLUTION} if counted is not None else {*resolutions}

    def load(item: str) -> dict[int, Pixels]:
        image = _load(source, item)
        return {size: resize(image, size) for size in sizes}

    with contextlib.ExitStack() as stack:
        files = {
            r: stack.enter_context(_npy(_file(folder, split, r), _shape(split, r)))
            for r in resolutions
        }
        for pixels in in_order(load, split.items, f"decoding {split.name} images", progress):
            for resolution, file in files.items():
                file.write(pixels[resolution].tobytes())
            if counted is not None:
                counted.add(pixels[STATISTICS_RESOLUTION])


def _load(source: Source, item: str) -> Image.Image:
    try:
        return content_rgb(source.read(item), item)
    except (DataError, OSError) as error:  # broken ones were left out by the scan
        raise DataError(
            f"images stay as they are while they are read; {item} changed ({error})",
            do="the same command again",
        ) from error


@contextlib.contextmanager
def _npy(path: Path, shape: tuple[int, ...]) -> Iterator[BinaryIO]:
    # Written in order rather than through a memory map, which a full disk would end with SIGBUS.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _read_sums(path: Path) -> ChannelSums | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        total, squares = (np.array(held[key], np.int64) for key in ("total", "squares"))
        return ChannelSums(int(held["count"]), total, squares)
    except (OSError, ValueError, TypeError, KeyError):  # absent, or damaged from outside
        return None


def _write_sums(path: Path, sums: ChannelSums) -> None:
    value = {"count": sums.count, "total": sums.total.tolist(), "squares": sums.squares.tolist()}
    write_json(path, value)
