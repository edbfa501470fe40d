"""A folder or archive of images: which files, which classes, which split."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.data.archive import ARCHIVE_SUFFIXES, archive_name, extract
from nas.data.dataset import (
    DatasetIndex,
    Progress,
    fingerprint,
    make_split,
    split_items,
)
from nas.data.identity import identify_files
from nas.data.images import SUFFIXES
from nas.errors import DataError

LAYOUTS = (
    "train/<class>/ and test/<class>/ (validation/<class>/ if you like), or one folder of <class>/"
)
_VALIDATION_NAMES = ("val", "valid", "validation")
_SPLIT_NAMES = ("train", "test", *_VALIDATION_NAMES)
_VALIDATION_SHARE = 0.1  # of train/, where there is no validation folder
_SHARES = (0.15, 0.15)  # validation and test of one folder of classes

_Classes = Mapping[str, list[str]]  # class name -> items


def scan_path(path: Path, seed: int, progress: Progress | None = None) -> DatasetIndex:
    """The index of a folder or archive of images.

    Raises:
        DataError: The data cannot be used; the message names the file or class.
        DiskFullError: No space was left to unpack the archive.
    """
    root, name = _open(path)
    try:
        return _scan_folder(_unwrapped(root), name, seed, progress)
    except OSError as error:
        raise DataError(
            f"a data folder can be read; {error.filename or root} cannot ({error.strerror})",
            do="check its permissions",
        ) from error


def _open(path: Path) -> tuple[Path, str]:
    if path.is_dir():
        return path, path.resolve().name
    if not path.exists():
        raise DataError("the data path exists", got=str(path), allowed=LAYOUTS, do="check --data")
    if not path.name.lower().endswith(ARCHIVE_SUFFIXES):
        raise DataError(
            "data are a folder or an archive",
            got=str(path),
            allowed=f"a folder, or a file ending in {', '.join(ARCHIVE_SUFFIXES)}",
            do="pack the images' folder, or give the folder itself",
        )
    return extract(path), archive_name(path)


def _unwrapped(root: Path) -> Path:
    """The folder that holds the data, where single folders are wrapped around it."""
    folders = _folders(root)
    if len(folders) == 1 and _folders(folders[0]) and folders[0].name not in _SPLIT_NAMES:
        return _unwrapped(folders[0])
    return root


def _scan_folder(root: Path, name: str, seed: int, progress: Progress | None) -> DatasetIndex:
    splits = _splits(root, name, seed)
    classes = tuple(sorted(splits["train"]))
    indexes = [
        make_split(split, ((i, label) for label, c in enumerate(classes) for i in by_class[c]))
        for split, by_class in splits.items()
    ]
    items = sorted(item for index in indexes for item in index.items)
    identities = identify_files(root, items, progress)
    digests = {item: identity.digest for item, identity in identities.items()}
    return DatasetIndex(
        name=name,
        classes=classes,
        train=indexes[0],
        validation=indexes[1],
        test=indexes[2],
        fingerprint=fingerprint(classes, indexes, digests),
        source_size=round(statistics.median(i.shorter_side for i in identities.values())),
        flip=True,
        root=root,
    )


def _splits(root: Path, name: str, seed: int) -> dict[str, _Classes]:
    """Train, validation and test in this order, each with the same classes."""
    names = [folder.name for folder in _folders(root)]
    found = [validation for validation in _VALIDATION_NAMES if validation in names]
    if "train" not in names and "test" not in names:
        return _split_three_ways(_classes(root, root, name), seed)
    if "train" not in names or "test" not in names or len(found) > 1:
        raise DataError(
            "a data folder with train/ has test/ and at most one of val/, valid/ and validation/",
            got=", ".join(f"{split}/" for split in names if split in _SPLIT_NAMES),
            allowed=LAYOUTS,
            do="rename or add the folder that is missing",
        )
    train, test = (_classes(root, root / split, f"{split}/") for split in ("train", "test"))
    _check_same_classes("train", train, "test", test)
    if not found:
        train, validation = _split_off_validation(train, seed)
    else:
        validation = _classes(root, root / found[0], f"{found[0]}/")
        _check_same_classes("train", train, found[0], validation)
    return {"train": train, "validation": validation, "test": test}


def _split_three_ways(classes: _Classes, seed: int) -> dict[str, _Classes]:
    _check_enough(classes, 3, "one folder of classes is split into train, validation and test")
    parts = {name: split_items(items, _SHARES, seed) for name, items in classes.items()}
    return {
        split: {name: part[position] for name, part in parts.items()}
        for position, split in enumerate(("train", "validation", "test"))
    }


def _split_off_validation(train: _Classes, seed: int) -> tuple[_Classes, _Classes]:
    _check_enough(train, 2, "validation is split off train/")
    parts = {name: split_items(items, (_VALIDATION_SHARE,), seed) for name, items in train.items()}
    return {name: p[0] for name, p in parts.items()}, {name: p[1] for name, p in parts.items()}


def _classes(root: Path, folder: Path, where: str) -> _Classes:
    """The images below each class folder, relative to `root`, by class in sorted order."""
    found = {child.name: _images(root, child) for child in _folders(folder)}
    if not found:
        loose = any(_is_image(entry.name) for entry in folder.iterdir())
        got = "images that are in no class folder" if loose else "no images at all"
        raise DataError(
            f"{where} holds one folder per class", got=got, allowed=LAYOUTS, do="check --data"
        )
    for name, items in found.items():
        if not items:
            raise DataError(
                f"every class folder holds images; {where.rstrip('/')}/{name} holds none",
                allowed=", ".join(sorted(SUFFIXES)),
                do="add images or remove the folder",
            )
    if len(found) < 2:
        raise DataError(
            f"{where} holds at least two classes",
            got=f"only {next(iter(found))}",
            allowed=LAYOUTS,
            do="add a folder of images of another class",
        )
    return found


def _check_same_classes(name: str, classes: _Classes, other_name: str, other: _Classes) -> None:
    differing = [
        f"only in {where}/: {_listed(sorted(set(own) - set(against)))}"
        for where, own, against in ((name, classes, other), (other_name, other, classes))
        if set(own) - set(against)
    ]
    if differing:
        raise DataError(
            f"{name}/ and {other_name}/ hold the same classes; {', '.join(differing)}",
            do="rename, add or remove these folders",
        )


def _check_enough(classes: _Classes, least: int, why: str) -> None:
    few = [f"{name} ({len(items)})" for name, items in classes.items() if len(items) < least]
    if few:
        raise DataError(
            f"{why}, which takes at least {least} images per class; too few in {_listed(few)}",
            do="add images or remove the class",
        )


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if _is_visible(child.name) and child.is_dir())


def _images(root: Path, folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if _is_visible(name)]
        found += [Path(parent, name) for name in files if _is_image(name)]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _raise(error: OSError) -> None:
    raise error


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_image(name: str) -> bool:
    return _is_visible(name) and os.path.splitext(name)[1].lower() in SUFFIXES
