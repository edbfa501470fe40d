"""Real image files in a temporary folder, and a cache folder that is empty for every test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NAS_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder({"train/cat": 4, ...})` writes that many different images per folder."""

    def make(
        counts: Mapping[str, int], name: str = "pets", size: tuple[int, int] = (12, 9)
    ) -> Path:
        root = tmp_path / name
        root.mkdir()
        for number, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True)
            rng = np.random.default_rng(number)
            for position in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                suffix = ("png", "jpg", "JPEG", "bmp", "webp", "gif", "ppm", "tif")[position % 8]
                Image.fromarray(pixels).save(root / folder / f"{position:03d}.{suffix}")
        return root

    return make


@pytest.fixture
def pets(make_folder: MakeFolder) -> Path:
    """Two classes, train and test given, validation to be split off."""
    return make_folder({"train/cat": 20, "train/dog": 12, "test/cat": 5, "test/dog": 4})
