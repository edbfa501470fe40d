"""The folder of a training: what is in it, and in which state it is."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from nas.errors import RunFolderError
from nas.files import write_text
from nas.search.folders import LOG, is_new, locked, to_yaml
from nas.search.training.settings import TrainSettings

State = Literal["absent", "unfinished", "finished"]


@dataclass(frozen=True)
class TrainFolder:
    """Paths of a training, and reading and writing of its small files."""

    path: Path

    @property
    def train_file(self) -> Path:
        """Settings, versions, and what else was fixed when it was begun; written first."""
        return self.path / "train.yaml"

    @property
    def model(self) -> Path:
        """The exported model."""
        return self.path / "model.onnx"

    @property
    def result(self) -> Path:
        """What is known of the model; its presence means that the training is finished."""
        return self.path / "model.json"

    @property
    def data(self) -> Path:
        """Which image is in which split, and what was left out."""
        return self.path / "data.json"

    @property
    def checkpoint(self) -> Path:
        """Where the training is; removed when it is finished."""
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """A line for each epoch."""
        return self.path / LOG

    @property
    def state(self) -> State:
        """Whether there is a training here, and whether it is finished.

        Raises:
            RunFolderError: There is something else here.
        """
        if is_new(self.path, self.train_file.name):
            return "absent"
        if not self.train_file.is_file():
            raise RunFolderError(
                f"{self.path} is no folder of a training",
                allowed="a new or empty folder, or one that nas train made",
                do="--out OTHER_FOLDER",
            )
        return "finished" if self.result.is_file() else "unfinished"

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Be the only process that works in this folder; nothing stays if nothing was written."""
        return locked(self.path, self.train_file.name)

    def read(self) -> dict[str, Any]:
        """Content of `train.yaml`.

        Raises:
            RunFolderError: It cannot be read.
        """
        try:
            content = yaml.safe_load(self.train_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
            raise self._unreadable(self.train_file, str(cause)) from cause
        if not isinstance(content, dict) or content.get("schema") != 1:
            raise self._unreadable(self.train_file, "it is not of this version")
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Write `train.yaml` whole or not at all."""
        write_text(self.train_file, to_yaml(content))

    def clear(self) -> None:
        """Take away what an unfinished training has written."""
        for file in (self.checkpoint, self.data, self.log, self.train_file):
            file.unlink(missing_ok=True)

    def read_result(self) -> dict[str, Any]:
        """Content of `model.json`.

        Raises:
            RunFolderError: It cannot be read.
        """
        try:
            return dict(json.loads(self.result.read_text(encoding="utf-8")))
        except (OSError, ValueError) as cause:
            raise self._unreadable(self.result, str(cause)) from cause

    def _unreadable(self, file: Path, reason: str) -> RunFolderError:
        return RunFolderError(f"{file} cannot be read: {reason}", do="--out OTHER_FOLDER")


def check_state(folder: TrainFolder, settings: TrainSettings, resume: bool) -> State:
    """Whether the folder can be used: `absent`, `unfinished` (and resumed) or `finished`.

    Raises:
        RunFolderError: It cannot.
    """
    state = folder.state
    if state == "absent":
        return state
    found, wanted = folder.read().get("settings"), settings.to_json()
    if found != wanted:
        known = found if isinstance(found, dict) else {}
        name = next((n for n in wanted if known.get(n) != wanted[n]), "an unknown setting")
        raise RunFolderError(
            f"{folder.path} holds a training with other settings",
            got=f"{name} {known.get(name)} there, {wanted.get(name)} now",
            do="--out OTHER_FOLDER, or the settings in its train.yaml",
        )
    if state == "unfinished" and not resume:
        raise RunFolderError(
            f"{folder.path} holds an unfinished training",
            do="the same command with --resume to continue it, or --out OTHER_FOLDER",
        )
    return state
