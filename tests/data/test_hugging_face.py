"""Data sets of Hugging Face's library: made with it, saved by it, read back from real folders."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.data import load_dataset, scan
from nas.errors import DataError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="pip install datasets")


def _photo(format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)).save(file, format)
    return file.getvalue()


def _rows(datasets: Any, number: int, **changes: Any) -> Any:
    columns = {
        "image": [{"bytes": _photo(), "path": None} for _ in range(number)],
        "label": [row % 2 for row in range(number)],
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dog", "cat"])}
    kinds |= {name: kind for name, (kind, _) in changes.items()}
    columns |= {name: values for name, (_, values) in changes.items()}
    return datasets.Dataset.from_dict(columns, datasets.Features(kinds))


def _save(datasets: Any, folder: Path, **splits: Any) -> Path:
    datasets.DatasetDict(splits).save_to_disk(str(folder / "pets"))
    return folder / "pets"


def _error(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        scan(path, 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_saved_folder_with_splits(datasets: Any, tmp_path: Path) -> None:
    rows = {"train": _rows(datasets, 20), "test": _rows(datasets, 6)}
    path = _save(datasets, tmp_path, **rows)
    dataset = load_dataset(path, 0, resolutions=[5])
    assert (dataset.name, dataset.classes) == ("pets", ("dog", "cat"))
    assert [len(split) for split in dataset.splits()] == [18, 2, 6]
    for item, label, pixels in zip(
        dataset.test.items, dataset.test.labels, dataset.test.at(5), strict=True
    ):
        row = rows["test"][int(item.removeprefix("test/"))]
        assert row["label"] == label
        assert np.array_equal(pixels, row["image"].resize((5, 5), Image.Resampling.BILINEAR))
    assert scan(path, 0).forms.counts == {"RGB": 26}


def test_a_saved_table_is_divided(datasets: Any, tmp_path: Path) -> None:
    _rows(datasets, 20).save_to_disk(str(tmp_path / "pets"))
    assert [len(split.items) for split in scan(tmp_path / "pets", 0).splits()] == [12, 4, 4]


def test_a_validation_split_stands_for_a_test_that_is_missing(
    datasets: Any, tmp_path: Path
) -> None:
    path = _save(datasets, tmp_path, train=_rows(datasets, 20), validation=_rows(datasets, 4))
    index = scan(path, 0)
    assert [split.items[0].partition("/")[0] for split in index.splits()] == [
        "train", "train", "validation",
    ]  # fmt: skip
    assert index.note.startswith("Without a test split, the validation split is the test")


@pytest.mark.parametrize("values", [[3, 7], ["ant", "bee"]])
def test_labels_without_names(datasets: Any, tmp_path: Path, values: list[Any]) -> None:
    kind = datasets.Value("int64" if values == [3, 7] else "string")
    rows = _rows(datasets, 20, target=(kind, values * 10)).remove_columns("label")
    rows.save_to_disk(str(tmp_path / "pets"))
    assert scan(tmp_path / "pets", 0).classes == tuple(map(str, values))


def test_images_that_are_files(datasets: Any, tmp_path: Path) -> None:
    paths = []
    for number in range(8):
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(_photo("JPEG"))
    kinds = datasets.Features({"photo": datasets.Image(), "class": datasets.Value("int32")})
    rows = {"photo": [str(path) for path in paths], "class": [0, 1] * 4}
    datasets.Dataset.from_dict(rows, kinds).save_to_disk(str(tmp_path / "pets"))
    assert scan(tmp_path / "pets", 0).source_size == 7


def test_broken_and_missing_images(datasets: Any, tmp_path: Path) -> None:
    images = [{"bytes": _photo(), "path": None} for _ in range(110)]
    images[4], images[9] = None, {"bytes": _photo()[:60], "path": None}
    rows = _rows(datasets, 110, image=(datasets.Image(), images))
    rows.save_to_disk(str(tmp_path / "pets"))
    index = scan(tmp_path / "pets", 0)
    assert list(index.left_out) == ["all/000004", "all/000009"]
    assert index.left_out["all/000004"] == "it is empty"


def test_a_changed_folder_is_seen_and_an_unchanged_one_not_read_again(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(datasets, tmp_path, train=_rows(datasets, 8), test=_rows(datasets, 4))
    first = scan(path, 0).fingerprint
    with monkeypatch.context() as patch:
        patch.setattr("nas.data.hugging_face.HuggingFace.read", None)
        assert scan(path, 0).fingerprint == first
    other = tmp_path / "other"
    _save(datasets, other, train=_rows(datasets, 8), test=_rows(datasets, 4))
    assert scan(other / "pets", 0).fingerprint != first


def test_a_name_is_found_in_the_offline_cache(
    datasets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library leaves after a download is made from a file, and put under a name."""
    cache = tmp_path / "hub"
    _rows(datasets, 20).to_parquet(str(tmp_path / "pets.parquet"))
    datasets.load_dataset("parquet", data_files=str(tmp_path / "pets.parquet"), cache_dir=cache)
    (made,) = (cache / "parquet").iterdir()
    (cache / "someone___pets").mkdir()
    made = made.rename(cache / "someone___pets" / "default")
    (table,) = made.rglob("parquet-train.arrow")
    table.rename(table.with_name("pets-train.arrow"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    index = scan(Path("hf:someone/pets"), 0)
    assert (index.name, index.classes) == ("pets", ("dog", "cat"))
    assert sum(len(split.items) for split in index.splits()) == 20
    text = _error(Path("hf:someone/plants"))
    assert text.startswith("the library datasets opens someone/plants; it cannot (")
    assert text.endswith("try: check the name; offline, only what is in its cache can be opened")


def test_a_row_without_a_label(datasets: Any, tmp_path: Path) -> None:
    rows = _rows(datasets, 8, label=(datasets.ClassLabel(names=["dog", "cat"]), [-1] * 8))
    path = _save(datasets, tmp_path, train=_rows(datasets, 8), test=rows)
    assert _error(path) == (
        "every row has a label; row 0 of test of pets has none; "
        "try: save the data set without that split or row, and give the folder"
    )


def test_other_columns(datasets: Any, tmp_path: Path) -> None:
    rows = _rows(datasets, 8, second=(datasets.Image(), [None] * 8))
    rows.save_to_disk(str(tmp_path / "pets"))
    assert _error(tmp_path / "pets") == (
        "a data set has one column of images and one of labels; pets has image (Image), "
        "label (ClassLabel), second (Image); allowed: one Image, and ClassLabel or one of label, "
        "labels, class, target, fine_label; "
        "try: rename or remove columns, save_to_disk, and give the folder"
    )


def test_a_damaged_folder(datasets: Any, tmp_path: Path) -> None:
    _rows(datasets, 8).save_to_disk(str(tmp_path / "pets"))
    (tmp_path / "pets" / "state.json").write_text("{")
    text = _error(tmp_path / "pets")
    assert text.startswith(f"the library datasets opens {tmp_path / 'pets'}; it cannot (")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").write_text("{}")
    for path in (tmp_path, Path("hf:someone/pets")):
        text = _error(path)
        assert text.startswith("Hugging Face data sets are read by a library of theirs (")
        assert text.endswith("; try: pip install -c constraints.txt '.[datasets]' in the checkout")
