"""A search space, a latency table and a data set with which a whole search takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data import Dataset, load_dataset
from nas.latency.predict import Predictor
from nas.latency.table import read_table
from nas.search.settings import SearchSettings, read_settings
from nas.space import SearchSpace, load_space
from tests.speeds import known_speeds

__all__ = ["known_speeds"]

FILES = Path(__file__).resolve().parents[1] / "files"
TINY = FILES / "tiny.yaml"
TINY_TABLE = FILES / "latency_tables" / "tiny-onnxruntime"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Training on one thread: the same numbers wherever the tests run."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    """144 networks."""
    return load_space(TINY)


@pytest.fixture(scope="session")
def exits_space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    """The same with an exit behind its first stage."""
    path, text = tmp_path_factory.mktemp("space") / "tiny.yaml", TINY.read_text()
    old = "kernel: [3, 5], activation: relu, default: {depth: 2}}"
    assert text.count(old) == 1
    path.write_text(text.replace(old, old.replace("default", "exit: [0, 1], default")))
    return load_space(path)


@pytest.fixture
def predictor(space: SearchSpace) -> Predictor:
    """Of a measured table: upper bounds from 0.1 to 0.6 ms, half of them above 0.25 ms."""
    return Predictor(read_table(TINY_TABLE), space, "small", 10)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """The digits at the tiny space's resolutions."""
    return load_dataset(None, 0, resolutions=(16, 20))


@pytest.fixture
def make_settings() -> Callable[..., SearchSettings]:
    """Settings of a search that takes seconds."""

    def make(**changes: Any) -> SearchSettings:
        values = {
            "device": str(TINY_TABLE), "budget": "0.25ms", "space": str(TINY), "trials": 12,
            "finalists": 3, "supernet_steps": 6, "finetune_steps": 2, "threads": 1,
        }  # fmt: skip
        return read_settings(None, {**values, **changes})

    return make


class Listener:
    """Remembers what a run says and how far it is."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stages: list[str] = []
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def progress(self, stage: str, done: int, total: int, note: str = "") -> None:
        self.notes.append(note)
        if stage not in self.stages:
            self.stages.append(stage)


@pytest.fixture
def listener() -> Listener:
    return Listener()
