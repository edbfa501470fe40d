"""Hugging Face `datasets`: a folder that `save_to_disk` wrote, or a data set by its name.

Needs the extra `nas[datasets]`. Names go to the library, which honours its own offline cache
(`HF_HUB_OFFLINE`, `HF_DATASETS_OFFLINE`, `HF_DATASETS_CACHE`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.identity import stamp_of
from nas.data.source import ALL, TEST, TRAIN, VALIDATION, Listing, Stamp, sorted_names, split_of
from nas.errors import DataError

PREFIX = "hf:"
MARKS = (("dataset_dict.json",), ("state.json", "dataset_info.json"))
"""Files that a folder has which `save_to_disk` wrote: with splits, and without."""
LABEL_COLUMNS = ("label", "labels", "class", "target", "fine_label")
"""Columns of labels that are taken where there are several of classes, the first one first."""
_NOTE = "Without a test split, the validation split is the test; validation is split off train."


@dataclass(frozen=True)
class HuggingFace:
    """Rows of a data set; items are `train/000042`, the split and the row.

    Attributes:
        name: Of the data set.
        place: Of the source.
        tables: Rows by split as the library has them, images encoded.
        stamps: Of the files behind each split.
        image: Column of the images.
        label: Column of the labels.
    """

    name: str
    place: str
    tables: Mapping[str, Any]
    stamps: Mapping[str, Stamp]
    image: str
    label: str

    def listing(self) -> Listing:
        """Which rows are of which class.

        Raises:
            DataError: A row has no label.
        """
        own = {split: self._classes(split) for split in self.tables}
        feature = next(iter(self.tables.values())).features[self.label]
        named = getattr(feature, "names", None)
        names = tuple(named) if named else sorted_names(n for c in own.values() for n in c)
        if len(own) == 1:
            return Listing(names, {ALL: next(iter(own.values()))})
        splits = {split_of(split) or split: classes for split, classes in own.items()}
        if set(splits) == {TRAIN, VALIDATION}:
            return Listing(names, {TRAIN: splits[TRAIN], TEST: splits[VALIDATION]}, _NOTE)
        return Listing(names, splits)

    def stamp(self, item: str) -> Stamp:
        """Of all files of its split."""
        return self.stamps[item.partition("/")[0]]

    def read(self, item: str) -> bytes:
        """The encoded image; empty where the row has none."""
        split, _, row = item.partition("/")
        found = self.tables[split][int(row)][self.image]
        if found is None:
            return b""
        return bytes(found["bytes"]) if found["bytes"] else Path(found["path"]).read_bytes()

    def _classes(self, split: str) -> dict[str, list[str]]:
        table = self.tables[split]
        names = getattr(table.features[self.label], "names", None)
        classes: dict[str, list[str]] = {}
        labels = table.select_columns([self.label])[:][self.label]
        for row, label in enumerate(labels):
            if label is None or (isinstance(label, int) and label < 0):
                raise DataError(
                    f"every row has a label; row {row} of {split} of {self.name} has none",
                    do="save the data set without that split or row, and give the folder",
                )
            name = names[label] if names else str(label)
            classes.setdefault(name, []).append(f"{split}/{row:06d}")
        return classes


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return any(all((folder / name).is_file() for name in names) for names in MARKS)


def open_saved(folder: Path) -> HuggingFace:
    """A folder that `save_to_disk` wrote.

    Raises:
        DataError: The library is not installed, or the folder is not sound.
    """
    with _errors(str(folder)):
        import datasets

        found = datasets.load_from_disk(str(folder))
    return _source(folder.resolve().name, str(folder.resolve()), found)


def open_named(text: str) -> HuggingFace:
    """`hf:NAME` or `hf:NAME:CONFIG`.

    Raises:
        DataError: The library is not installed, or it does not find the data set.
    """
    name, _, config = text.removeprefix(PREFIX).partition(":")
    with _errors(name):
        import datasets

        found = datasets.load_dataset(name, config or None)
    return _source(name.rstrip("/").rpartition("/")[2], text, found)


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(
            f"Hugging Face data sets are read by a library of theirs ({error})",
            do="pip install -c constraints.txt '.[datasets]' in the checkout",
        ) from error
    except (OSError, ValueError, RuntimeError, LookupError, TypeError) as error:
        raise DataError(
            f"the library datasets opens {name}; it cannot ({type(error).__name__}: {error})",
            allowed=f"a folder of save_to_disk, {PREFIX}NAME or {PREFIX}NAME:CONFIG",
            do="check the name; offline, only what is in its cache can be opened",
        ) from error


def _source(name: str, place: str, found: Any) -> HuggingFace:
    import datasets

    tables = dict(found) if isinstance(found, datasets.DatasetDict) else {ALL: found}
    features = next(iter(tables.values())).features
    image = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    classes = [column for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    label = [column for column in LABEL_COLUMNS if column in features] or classes
    if len(image) != 1 or not label:
        raise DataError(
            f"a data set has one column of images and one of labels; {name} has "
            f"{', '.join(f'{c} ({type(kind).__name__})' for c, kind in features.items())}",
            allowed=f"one Image, and ClassLabel or one of {', '.join(LABEL_COLUMNS)}",
            do="rename or remove columns, save_to_disk, and give the folder",
        )
    encoded = {
        split: table.cast_column(image[0], datasets.Image(decode=False)).with_format(None)
        for split, table in tables.items()
    }
    stamps = {split: _stamp(table) for split, table in tables.items()}
    return HuggingFace(name, place, encoded, stamps, image[0], label[0])


def _stamp(table: Any) -> Stamp:
    """Of all files of a split: their size together, and the youngest times."""
    stamps = [stamp_of(Path(file["filename"])) for file in table.cache_files]
    sizes, modified, changed = zip(*stamps, strict=True) if stamps else ((0,), (0,), (0,))
    return sum(sizes), max(modified), max(changed)
