"""The real command in this process, with a space, a table and data sets that take seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.cli.main import main
from tests.speeds import known_speeds

__all__ = ["known_speeds"]

FILES = Path(__file__).resolve().parents[1] / "files"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def nas(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`nas("devices", "--json")` runs the command."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leave:  # --help and --version
            code = int(leave.code or 0)
        return Answer(code, *capsys.readouterr())

    return run


def everything_in(*folders: Path) -> dict[Path, bytes | None]:
    """Every file with its content, and every folder."""
    return {
        path: path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else None
        for folder in folders
        for path in folder.rglob("*")
    }


@pytest.fixture
def refused(nas: Callable[..., Answer], tmp_path: Path) -> Callable[..., str]:
    """Runs a command that bad input ends: one line, exit 2, nothing written; returns the line."""

    def run(*arguments: object) -> str:
        folders = [path for path in tmp_path.iterdir() if path.name != "user-cache"]
        before = everything_in(*folders), sorted(tmp_path.iterdir())
        answer = nas(*arguments)
        assert answer.code == 2, answer.err
        assert answer.out == ""
        *news, line = answer.err.splitlines()
        assert line.startswith("nas: ")
        assert not [text for text in news if text.startswith(("nas: ", "Traceback"))]
        now = [path for path in tmp_path.iterdir() if path.name != "user-cache"]
        assert everything_in(*folders) == before[0]
        assert sorted(now) == [path for path in before[1] if path.name != "user-cache"]
        leftovers = [path for path in (tmp_path / "user-cache").rglob(".*")]
        assert not leftovers
        return line.removeprefix("nas: ")

    return run


@pytest.fixture
def tiny() -> str:
    """The file of a space of 144 networks."""
    return str(FILES / "tiny.yaml")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A copy of a measured table for that space; upper bounds from 0.1 to 0.6 ms."""
    folder = tmp_path / "tables" / "tiny-onnxruntime"
    shutil.copytree(FILES / "latency_tables" / "tiny-onnxruntime", folder)
    return folder


@pytest.fixture
def quick(tiny: str) -> list[str]:
    """A search that takes seconds."""
    return [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", tiny, "--trials", "8",
        "--finalists", "2", "--supernet-steps", "5", "--finetune-steps", "2", "--threads", "1",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `quick`, shared: do not write into it."""
    folder = tmp_path_factory.mktemp("finished")
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", FILES / "tiny.yaml",
        "--trials", "8", "--finalists", "2", "--supernet-steps", "5", "--finetune-steps", "2",
        "--threads", "1", "--out", folder / "run",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder / "cache"))
        patch.setenv("NAS_DATA_DIR", str(folder / "data"))
        patch.chdir(folder)
        assert main([os.fspath(option) for option in options]) == 0
    return folder / "run"


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """`make_images({"train/cat": 4, ...})` writes that many images per folder."""

    def make(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "photos"
        root.mkdir()
        for number, (name, count) in enumerate(counts.items()):
            (root / name).mkdir(parents=True)
            rng = np.random.default_rng(number)
            for position in range(count):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{position:03d}.png")
        return root

    return make
