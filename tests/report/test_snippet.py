"""The program for one photo, really run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from nas.data import load_image
from nas.export.onnx_file import run_onnx
from nas.report.snippet import usage_snippet
from nas.search.run_folder import RunFolder

CLASSES = ["zero", "Größe", "a b", "<3", *"456789"]


def photo(path: Path) -> Path:
    """A picture that is not square and lies on its side, as phones write them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 14, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((280, 180), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    return path


def transparent(path: Path) -> Path:
    """A picture that can be seen through, with another one where it cannot be seen."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (60, 60, 4), dtype=np.uint8)
    pixels[..., 3] = np.linspace(0, 255, 60)[:, None]
    Image.fromarray(pixels).save(path)
    return path


def test_it_prints_what_the_scored_file_says(
    run: RunFolder, tmp_path: Path, real_file: Callable[[RunFolder, str, Sequence[str]], Path]
) -> None:
    recommended = run.read_front()["recommended"]
    file = real_file(run, recommended, CLASSES)
    program = run.path / "classify.py"
    program.write_text(usage_snippet(f"models/{recommended}.onnx"), encoding="utf-8")
    for picture in (photo(tmp_path / "photo.jpg"), transparent(tmp_path / "photo.png")):
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-W", "error", program.name, picture],
            cwd=run.path, capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == expected(file, picture)


def expected(file: Path, picture: Path) -> str:
    """The same by the functions that accuracies are computed with."""
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    steps = json.loads(metadata["nas.preprocessing"])
    pixels = load_image(picture, steps["resolution"])[None]
    logits = run_onnx([file], pixels, steps["mean"], steps["std"])[-1, 0]
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return f"{CLASSES[int(chances.argmax())]}  {chances.max():.1%}"


@pytest.mark.parametrize("path", ["models/a.onnx", "C:\\runs\\a.onnx", "a'\"b.onnx", "ü.onnx"])
def test_any_path_is_a_literal_of_the_program(path: str) -> None:
    literals = [node.value for node in ast.walk(ast.parse(usage_snippet(path)))
                if isinstance(node, ast.Constant)]  # fmt: skip
    assert path in literals


def test_it_is_short() -> None:
    assert len([line for line in usage_snippet("m.onnx").splitlines() if line]) <= 20
