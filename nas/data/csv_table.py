"""A CSV file of paths, labels and, if it likes, splits."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from nas.data.identity import stamp_of
from nas.data.source import ALL, SPLIT_NAMES, Listing, Stamp, sorted_names, split_of
from nas.errors import DataError

CSV_SUFFIXES = (".csv", ".tsv")
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "target", "class_name", "category"),
    "split": ("split", "set", "subset", "partition"),
}
"""Headings that are understood, whatever their case."""


class _Row(NamedTuple):
    line: int
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class CsvTable:
    """Image files that a table names; items are their paths as it has them.

    Attributes:
        path: The table; paths are relative to its folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """Of the table."""
        return self.path.stem

    @property
    def place(self) -> str:
        """Of the table."""
        return str(self.path.resolve())

    def listing(self) -> Listing:
        """What the table says.

        Raises:
            DataError: It says it wrongly; the message names the line.
        """
        seen: dict[str, int] = {}
        splits: dict[str, dict[str, list[str]]] = {}
        for row in _rows(self.path):
            self._check(row, seen)
            seen[row.path] = row.line
            splits.setdefault(row.split, {}).setdefault(row.label, []).append(row.path)
        names = sorted_names(label for classes in splits.values() for label in classes)
        return Listing(names, splits)

    def stamp(self, item: str) -> Stamp:
        """Of the file."""
        return stamp_of(self.path.parent / item)

    def read(self, item: str) -> bytes:
        """The file."""
        return (self.path.parent / item).read_bytes()

    def _check(self, row: _Row, seen: Mapping[str, int]) -> None:
        if row.path in seen:
            raise DataError(
                f"a table names an image once; {row.path} is in the lines {seen[row.path]} and "
                f"{row.line} of {self.path}",
                do="remove one of the lines",
            )
        place = self.path.parent / row.path
        if not place.is_file():
            raise DataError(
                f"a table names files; line {row.line} of {self.path} names {row.path}, "
                f"which {'is none' if place.exists() else 'does not exist'}",
                allowed=f"paths relative to {self.path.parent}, or absolute ones",
                do="correct the path, or remove the line",
            )


def _rows(path: Path) -> Iterator[_Row]:
    """The table's rows, each with a path, a label and a split.

    Raises:
        DataError: There is no such column, or a field is empty or not understood.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            places = _places(next(lines, []), path)
            for fields in lines:
                if fields:
                    yield _row(fields, places, lines.line_num, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"a table is a CSV file in UTF-8; {path} is not ({error})", do="save it as one"
        ) from error


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    """Where the columns are."""
    names = [name.strip().lower() for name in header]
    places = {}
    for column, known in COLUMNS.items():
        found = [place for place, name in enumerate(names) if name in known]
        if len(found) > 1 or (not found and column != "split"):
            how = "one column" if not found else "only one column"
            raise DataError(
                f"a table has {how} of {column}s, named in its first line; {path} has the columns "
                f"{', '.join(header) or 'of no name'}",
                allowed=", ".join(known),
                do="rename the columns",
            )
        if found:
            places[column] = found[0]
    return places


def _row(fields: Sequence[str], places: Mapping[str, int], line: int, path: Path) -> _Row:
    found = {c: fields[p].strip() if p < len(fields) else "" for c, p in places.items()}
    for column, value in found.items():
        if not value:
            raise DataError(
                f"every line has a {column}; line {line} of {path} has none",
                do="add it, or remove the line",
            )
    split = _split(found["split"], line, path) if "split" in found else ALL
    return _Row(line, posixpath.normpath(found["path"]), found["label"], split)


def _split(text: str, line: int, path: Path) -> str:
    if (split := split_of(text)) is not None:
        return split
    raise DataError(
        f"a split is train, validation or test; line {line} of {path} has another",
        got=text,
        allowed=", ".join(name for names in SPLIT_NAMES.values() for name in names),
        do="correct it, or leave the column out",
    )
