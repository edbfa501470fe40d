"""The folder of a run: what is in it, who may write to it, in which state it is."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from nas.errors import RunFolderError
from nas.files import disk_errors, write_json, write_text

LOCK = ".lock"
State = Literal["absent", "unfinished", "finished"]


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run, and reading and writing of its small files."""

    path: Path

    @property
    def run_file(self) -> Path:
        """Resolved settings, versions, what was fixed before the work began."""
        return self.path / "run.yaml"

    @property
    def journal(self) -> Path:
        """The Optuna storage."""
        return self.path / "study.journal"

    @property
    def front(self) -> Path:
        """The result; its presence means that the run is finished."""
        return self.path / "front.json"

    @property
    def models(self) -> Path:
        """Exported models."""
        return self.path / "models"

    @property
    def work(self) -> Path:
        """Intermediate results of finalists, removed when the run is finished."""
        return self.path / "work"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def state(self) -> State:
        """Whether there is a run here, and whether it is finished.

        Raises:
            RunFolderError: There is something else here.
        """
        if not self.path.exists() or self._is_empty():
            return "absent"
        if not self.run_file.is_file():
            raise RunFolderError(
                f"{self.path} holds something that is not a run",
                allowed="a new or empty folder, or one that nas search made",
                do="--out OTHER_FOLDER",
            )
        return "finished" if self.front.is_file() else "unfinished"

    def read_run(self) -> dict[str, Any]:
        """Content of `run.yaml`.

        Raises:
            RunFolderError: It cannot be read.
        """
        try:
            content = yaml.safe_load(self.run_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as cause:
            raise self._not_a_run(str(cause)) from cause
        if not isinstance(content, dict) or content.get("schema") != 1:
            raise self._not_a_run("it is not a run of this version")
        return content

    def write_run(self, content: dict[str, Any]) -> None:
        """Write `run.yaml` whole or not at all."""
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        write_text(self.run_file, text)

    def read_front(self) -> dict[str, Any]:
        """Content of `front.json`."""
        return self._read_json(self.front)

    def read_baselines(self) -> list[dict[str, Any]]:
        """Models of `baselines.json`."""
        return list(self._read_json(self.path / "baselines.json")["models"])

    def write_baselines(self, models: list[dict[str, Any]]) -> None:
        """Write the width-scaled networks that the front is compared with."""
        write_json(self.path / "baselines.json", {"schema": 1, "models": models})

    def log(self, event: str, **facts: Any) -> None:
        """Append one line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        path = self.path / "log.jsonl"
        with disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that works in this folder.

        Raises:
            RunFolderError: Another one does, or the folder cannot be made.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            with disk_errors(self.path):
                lock.acquire()
        except Timeout as cause:
            raise RunFolderError(
                f"another process is working in {self.path}",
                do="wait for it, or choose another --out",
            ) from cause
        try:
            yield
        finally:
            lock.release()

    def _is_empty(self) -> bool:
        """Nothing but the lock of a run that had not begun."""
        return self.path.is_dir() and all(p.name == LOCK for p in self.path.iterdir())

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as cause:
            raise RunFolderError(f"{path} cannot be read: {cause}", do="run the search") from cause
        return dict(content)

    def _not_a_run(self, reason: str) -> RunFolderError:
        return RunFolderError(
            f"{self.run_file} cannot be read as a run: {reason}",
            allowed="a folder that nas search made",
        )
