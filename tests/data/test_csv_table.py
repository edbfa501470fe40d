"""Tables of paths and labels: what is understood, and every refusal's text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.data import load_dataset, load_image, scan
from nas.errors import DataError


def _table(pets: Path, header: str, sep: str = ",", *, split: bool = True) -> Path:
    """A table beside `pets` that says what its folders say."""
    rows = [header]
    for file in sorted(pets.rglob("*.*")):
        own, label, _ = file.relative_to(pets).parts
        fields = [str(file.relative_to(pets.parent)), label, *([own] if split else [])]
        rows.append(sep.join(fields))
    path = pets.parent / "labels.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _write(pets: Path, *rows: str) -> Path:
    path = pets / "labels.csv"
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def _error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_splits_of_a_table(pets: Path) -> None:
    dataset = load_dataset(_table(pets, "path,label,split"), 0, resolutions=[8])
    assert (dataset.name, dataset.classes) == ("labels", ("cat", "dog"))
    assert [np.bincount(s.labels).tolist() for s in dataset.splits()] == [[18, 11], [2, 1], [5, 4]]
    for split in dataset.splits():
        named = [dataset.classes[label] for label in split.labels]
        assert [item.split("/")[2] for item in split.items] == named
        expected = [load_image(pets.parent / item, 8) for item in split.items]
        assert np.array_equal(split.at(8), np.stack(expected))


@pytest.mark.parametrize(
    ("header", "sep"),
    [("Image,Class,Set", ","), ("filename;target;subset", ";"), ("\ufefffile\tLABEL\tSplit", "\t")],
)
def test_headings_and_separators(pets: Path, header: str, sep: str) -> None:
    expected = scan(_table(pets, "path,label,split"), 0).fingerprint
    assert scan(_table(pets, header, sep), 0).fingerprint == expected


def test_without_splits_the_images_are_divided(pets: Path) -> None:
    index = scan(_table(pets, "path,label", split=False), 0)
    assert [len(split.items) for split in index.splits()] == [29, 6, 6]
    assert index.fingerprint != scan(index.source.path, 1).fingerprint  # type: ignore[union-attr]


def test_a_table_may_be_moved_with_its_files(pets: Path, tmp_path: Path) -> None:
    table = _table(pets, "path,label,split")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copytree(pets, moved / "pets")
    shutil.copy(table, moved)
    assert scan(moved / table.name, 0).fingerprint == scan(table, 0).fingerprint


def test_names_of_splits_other_columns_quotes_and_empty_lines(pets: Path) -> None:
    names = ("001.jpg", "002.JPEG", "003.bmp")
    rows = [
        f'7,"./{split}/{label}/{name}",{label},{told}'
        for split, label in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog"))
        for name, told in zip(names, ("Train", "VAL", "dev") if split == "train" else ("Test",) * 3,
                              strict=True)
    ]  # fmt: skip
    index = scan(_write(pets, "id,file,label,split", *rows, "", ""), 0)
    assert [len(split.items) for split in index.splits()] == [2, 4, 6]
    assert "train/cat/001.jpg" in index.train.items


def test_numbers_are_ordered_as_numbers(pets: Path) -> None:
    files = sorted((pets / "train" / "cat").iterdir())[:9]
    rows = [f"train/cat/{f.name},{(2, 10, 1)[n % 3]}" for n, f in enumerate(files)]
    assert scan(_write(pets, "path,label", *rows), 0).classes == ("1", "2", "10")


def test_a_broken_file_of_a_table(pets: Path) -> None:
    table = _table(pets, "path,label,split")
    (pets / "train" / "cat" / "000.png").write_bytes(b"")
    assert "left out; pets/train/cat/000.png: it is empty; got '1 of 41 images" in _error(table)


def test_a_file_that_does_not_exist(pets: Path) -> None:
    table = _write(pets, "path,label", "train/cat/000.png,cat", "train/cat/gone.png,cat")
    assert _error(table) == (
        f"a table names files; line 3 of {table} names train/cat/gone.png, which does not exist;"
        f" allowed: paths relative to {pets}, or absolute ones; "
        "try: correct the path, or remove the line"
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [("train/cat", "names train/cat, which is none;"), ("a\0b", "names a\\x00b, which does not")],
)
def test_what_is_no_file(pets: Path, name: str, told: str) -> None:
    assert told in _error(_write(pets, "path,label", "train/cat/000.png,cat", f"{name},cat"))


@pytest.mark.parametrize(
    ("header", "rule", "has", "allowed"),
    [
        ("name,label", "one column of paths", "name, label", "path, file, filename, "),
        ("path,kind", "one column of labels", "path, kind", "label, class, target, "),
        ("", "one column of paths", "of no name", "path, file, "),
        ("path,file,label", "only one column of paths", "path, file, label", "path, file, "),
    ],
)
def test_columns(pets: Path, header: str, rule: str, has: str, allowed: str) -> None:
    table = _write(pets, header, "train/cat/000.png,cat,")
    text = _error(table)
    assert text.startswith(
        f"a table has {rule}, named in its first line; {table} has the columns {has}; "
        f"allowed: {allowed}"
    )
    assert text.endswith("; try: rename the columns")


def test_an_unknown_split(pets: Path) -> None:
    table = _write(pets, "path,label,split", "train/cat/000.png,cat,trian")
    assert _error(table) == (
        f"a split is train, validation or test; line 2 of {table} has another; got 'trian'; "
        "allowed: train, training, validation, valid, val, dev, test, testing; "
        "try: correct it, or leave the column out"
    )


@pytest.mark.parametrize(
    ("row", "column"),
    [("train/cat/000.png,,train", "label"), (",cat,train", "path"),
     ("train/cat/000.png,cat", "split"), ("train/cat/000.png,cat, ", "split")],
)  # fmt: skip
def test_an_empty_field(pets: Path, row: str, column: str) -> None:
    table = _write(pets, "path,label,split", row)
    assert _error(table) == (
        f"every line has a {column}; line 2 of {table} has none; try: add it, or remove the line"
    )


def test_an_image_that_is_named_twice(pets: Path) -> None:
    table = _write(pets, "path,label", "train/cat/000.png,cat", "train/cat/../cat/000.png,dog")
    assert _error(table) == (
        "a table names an image once; train/cat/000.png is in the lines 2 and 3 of "
        f"{table}; try: remove one of the lines"
    )


def test_splits_without_a_test(pets: Path) -> None:
    rows = [f"train/{c}/000.png,{c},train" for c in ("cat", "dog")]
    assert _error(_write(pets, "path,label,split", *rows)) == (
        "data with splits have train and test; got 'train'; allowed: train and test, validation if "
        "you like; or no splits at all; try: add the split that is missing, or leave the splits out"
    )


def test_a_class_without_an_image_in_a_split(pets: Path) -> None:
    rows = [f"train/{c}/00{n}.{s},{c},train" for c in ("cat", "dog")
            for n, s in enumerate(("png", "jpg"))]  # fmt: skip
    assert _error(_write(pets, "path,label,split", *rows, "test/cat/000.png,cat,test")) == (
        "every class has an image in train, validation and test; dog has none in test; "
        "try: add images, or remove the class from all splits"
    )


@pytest.mark.parametrize("rows", [["train/cat/000.png,cat"], []])
def test_one_class_or_none(pets: Path, rows: list[str]) -> None:
    got = "only cat" if rows else "no images at all"
    assert _error(_write(pets, "path,label", *rows)) == (
        f"data hold at least two classes; got '{got}'; try: add images of another class"
    )


def test_a_table_that_is_none(pets: Path) -> None:
    table = pets / "labels.csv"
    table.write_bytes("path,label\na.png,Kätzchen\n".encode("latin-1"))
    assert _error(table).startswith(
        f"a table is a CSV file in UTF-8; {table} is not ('utf-8' codec"
    )
    table.write_text('path,label\n"a.png,cat\n')
    assert _error(table) == (
        f"a table is a CSV file in UTF-8; {table} is not (unexpected end of data); "
        "try: save it as one"
    )
