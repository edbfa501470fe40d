"""A folder of images: which files, which classes, which split."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.data.divide import listed
from nas.data.identity import stamp_of
from nas.data.images import SUFFIXES
from nas.data.source import ALL, TEST, TRAIN, VALIDATION, Listing, Stamp, split_of
from nas.errors import DataError

LAYOUTS = (
    "train/<class>/ and test/<class>/ (validation/<class>/ if you like), or one folder of <class>/"
)

_Classes = Mapping[str, list[str]]  # class name -> items


@dataclass(frozen=True)
class Files:
    """Image files below a folder; items are their paths relative to it.

    Attributes:
        name: Of the data set.
        root: The folder that holds the splits or classes.
    """

    name: str
    root: Path

    @property
    def place(self) -> str:
        """The folder, wherever it is reached from."""
        return str(self.root.resolve())

    def listing(self) -> Listing:
        """What the folders say.

        Raises:
            DataError: They are not laid out as data have to be.
        """
        splits = _splits(self.root, self.name)
        classes = next(iter(splits.values()))
        return Listing(tuple(sorted(classes)), splits)

    def stamp(self, item: str) -> Stamp:
        """Of the file."""
        return stamp_of(self.root / item)

    def read(self, item: str) -> bytes:
        """The file."""
        return (self.root / item).read_bytes()


def open_folder(path: Path, name: str) -> Files:
    """A folder of images as a source."""
    return Files(name, _unwrapped(path))


def _unwrapped(root: Path) -> Path:
    """The folder that holds the data, where single folders are wrapped around it."""
    folders = _folders(root)
    if len(folders) == 1 and _folders(folders[0]) and split_of(folders[0].name) is None:
        return _unwrapped(folders[0])
    return root


def _splits(root: Path, name: str) -> dict[str, _Classes]:
    """Train, test and perhaps validation, each with the same classes; or all."""
    named = [(split, folder) for folder in _folders(root) if (split := split_of(folder.name))]
    folders = dict(named)
    if TRAIN not in folders and TEST not in folders:
        return {ALL: _classes(root, root, name)}
    if TRAIN not in folders or TEST not in folders or len(folders) < len(named):
        raise DataError(
            "a data folder with train/ has test/ and at most one of val/, valid/ and validation/",
            got=", ".join(f"{folder.name}/" for _, folder in named),
            allowed=LAYOUTS,
            do="rename or add the folder that is missing",
        )
    splits = {
        split: _classes(root, folders[split], f"{folders[split].name}/")
        for split in (TRAIN, TEST, VALIDATION)
        if split in folders
    }
    for split in splits:
        _check_same_classes(folders[TRAIN].name, splits[TRAIN], folders[split].name, splits[split])
    return splits


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
        f"only in {where}/: {listed(sorted(set(own) - set(against)))}"
        for where, own, against in ((name, classes, other), (other_name, other, classes))
        if set(own) - set(against)
    ]
    if differing:
        raise DataError(
            f"{name}/ and {other_name}/ hold the same classes; {', '.join(differing)}",
            do="rename, add or remove these folders",
        )


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
