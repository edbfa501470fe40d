"""The folder of a run: what is in it, who may write to it, in which state it is."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from nas.errors import RunFolderError
from nas.files import write_json, write_text
from nas.search.folders import LOG, append_log, is_new, locked, read_log, to_yaml, without_none
from nas.search.settings import SearchSettings

RANKED = ("kendall_tau", "kendall_tau_macs", "difference")
"""What `ranking.json` has intervals of."""
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
    def space(self) -> Path:
        """The search space as it was when the run was begun."""
        return self.path / "space.yaml"

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
    def staying(self) -> Path:
        """Which share of images passes the exits of each stage, by the search's first look."""
        return self.path / "staying.json"

    @property
    def ranking(self) -> Path:
        """How the supernet ranks, where that was checked."""
        return self.path / "ranking.json"

    @property
    def verification(self) -> Path:
        """Bundle and timings of models that are being measured, removed when they are done."""
        return self.path / "verification"

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
        if is_new(self.path, self.run_file.name):
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
        write_text(self.run_file, to_yaml(content))

    def write_space(self, content: dict[str, Any]) -> None:
        """Write `space.yaml`: with it the run's architectures can be read anywhere."""
        write_text(self.space, to_yaml(without_none(content)))

    def read_front(self) -> dict[str, Any]:
        """Content of `front.json`; its recommended model is one of its models.

        Raises:
            RunFolderError: It cannot be read.
        """
        content = self._read_json(self.front)
        if content.get("recommended") not in [model.get("id") for model in content["models"]]:
            raise self._broken(self.front, "it recommends none of its models")
        return content

    def read_baselines(self) -> list[dict[str, Any]]:
        """Models of `baselines.json`."""
        return list(self._read_json(self.path / "baselines.json")["models"])

    def write_baselines(self, models: list[dict[str, Any]]) -> None:
        """Write the width-scaled networks that the front is compared with."""
        write_json(self.path / "baselines.json", {"schema": 1, "models": models})

    def ranking_after(self, epochs: int) -> Path:
        """Where a ranking of so many epochs is kept once another takes its place."""
        return self.ranking.with_name(f"ranking-{epochs}-epochs.json")

    def read_ranking(self, path: Path | None = None) -> dict[str, Any] | None:
        """Content of `ranking.json` or of one that is kept beside it, if it is there.

        Raises:
            RunFolderError: It cannot be read.
        """
        path = path or self.ranking
        if not path.exists():
            return None
        try:
            content = self._read_json(path)
            _ = content["epochs"], [content[name]["lower"] for name in RANKED]
        except (RunFolderError, KeyError, TypeError) as cause:
            raise RunFolderError(
                f"{path} cannot be read",
                do=f"delete {shlex.quote(str(path))}, then the same search with "
                "--check-ranking makes it anew",
            ) from cause
        return content

    def logged(self, event: str) -> dict[str, Any]:
        """The last line of `log.jsonl` about an event; empty if there is none."""
        found = [line for line in read_log(self.path / LOG) if line["event"] == event]
        return found[-1] if found else {}

    def log(self, event: str, **facts: Any) -> None:
        """Append one line to `log.jsonl`."""
        append_log(self.path / LOG, event, **facts)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Be the only process that works in this folder; nothing stays if nothing was written.

        Raises:
            RunFolderError: Another one does, or the folder cannot be made.
        """
        return locked(self.path, self.run_file.name)

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as cause:
            raise self._broken(path, str(cause)) from cause
        models = content.get("models") if isinstance(content, dict) else None
        if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
            raise self._broken(path, "it has no list of models")
        return dict(content)

    def _broken(self, path: Path, reason: str) -> RunFolderError:
        return RunFolderError(
            f"{path} cannot be read: {reason}",
            do=f"delete {shlex.quote(str(self.front))}, then the same search with --resume makes "
            "it anew",
        )

    def _not_a_run(self, reason: str) -> RunFolderError:
        return RunFolderError(
            f"{self.run_file} cannot be read as a run: {reason}",
            allowed="a folder that nas search made",
            do="another --out for a new run",
        )


def check_run(run: RunFolder) -> None:
    """Refuse a folder to read from that is no run's.

    Raises:
        RunFolderError: There is no run in it.
    """
    if not run.run_file.is_file():
        raise RunFolderError(
            f"{run.path} is not the folder of a run" if run.path.exists()
            else f"{run.path} does not exist",
            allowed="a folder that nas search made, which has a run.yaml",
            do="the folder that nas search printed, by default one in runs/",
        )  # fmt: skip


def check_finished(run: RunFolder) -> None:
    """Refuse a folder to read from that has no result.

    Raises:
        RunFolderError: There is no run in it, or it is not finished.
    """
    check_run(run)
    if not run.front.is_file():
        folder = shlex.quote(str(run.path))
        raise RunFolderError(
            f"{run.path} holds no finished run",
            got=run.state,
            allowed="a folder whose nas search has ended",
            do=f"nas search with the same settings, --resume and --out {folder}; "
            f"nas dashboard {folder} while it runs",
        )


def check_state(run: RunFolder, settings: SearchSettings, resume: bool) -> State:
    """Whether the folder can be used: `absent`, `unfinished` (and resumed) or `finished`.

    Raises:
        RunFolderError: It cannot.
    """
    state = run.state
    if state == "absent":
        return state
    found = run.read_run().get("settings")
    if found != settings.model_dump(mode="json", by_alias=True):
        raise RunFolderError(
            f"{run.path} holds a run with other settings",
            got=_first_difference(found, settings),
            do="--out OTHER_FOLDER, or the settings in its run.yaml",
        )
    if state == "unfinished" and not resume:
        raise RunFolderError(
            f"{run.path} holds an unfinished run",
            do="the same command with --resume to continue it, or --out OTHER_FOLDER",
        )
    return state


def _first_difference(found: Any, settings: SearchSettings) -> str:
    wanted = settings.model_dump(mode="json", by_alias=True)
    for name, value in wanted.items():
        other = found.get(name) if isinstance(found, dict) else None
        if other != value:
            return f"{name} {other} there, {value} now"
    return "unknown settings"
