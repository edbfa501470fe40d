"""Folders that work leaves: who may write to one, and its log."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from nas.errors import RunFolderError
from nas.files import disk_errors

LOCK, LOG = ".lock", "log.jsonl"


def is_new(path: Path, first: str) -> bool:
    """Whether nothing is there but what work leaves that was stopped before it had begun.

    Args:
        path: The folder.
        first: Name of the file that is written first.
    """
    return not path.exists() or _is_empty(path, first)


def _is_empty(path: Path, first: str) -> bool:
    return path.is_dir() and all(
        file.name == LOCK or file.name.startswith(f".{first}.") for file in path.iterdir()
    )


@contextlib.contextmanager
def locked(path: Path, first: str) -> Iterator[None]:
    """Be the only process that works in a folder; nothing stays if nothing was written.

    Args:
        path: The folder; made where there is none.
        first: Name of the file that is written first.

    Raises:
        RunFolderError: Another one does, or the folder cannot be made.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0)
    with disk_errors(path):
        try:
            lock.acquire()
        except Timeout as cause:  # an OSError too, but not the disk's
            raise RunFolderError(
                f"another process is working in {path}",
                do="wait for it, or choose another --out",
            ) from cause
    try:
        yield
    finally:
        lock.release()
        if _is_empty(path, first):
            with contextlib.suppress(OSError):
                for file in path.iterdir():
                    file.unlink()
                for folder in made:
                    folder.rmdir()


def append_log(path: Path, event: str, **facts: Any) -> None:
    """Append one line about an event to a log."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
    with disk_errors(path), path.open("ab+") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        # A killed process may have left half a line, which must not swallow this one.
        start = b"\n" if file.read() not in (b"", b"\n") else b""
        file.write(start + line.encode() + b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a log; none if there is no log."""
    found = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # cut off by a killed process
            content = json.loads(line)
            if isinstance(content, dict) and "event" in content:
                found.append(content)
    return found


def without_none(value: Any) -> Any:
    """The same without keys that hold nothing."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value


def to_yaml(content: dict[str, Any]) -> str:
    """As YAML, in the order of the keys."""
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def file_entries(names: Sequence[str]) -> dict[str, Any]:
    """The `files` of a model: its ONNX file; with exits the first one, and all `segments`."""
    found: dict[str, Any] = {"onnx": names[0]}
    return found if len(names) == 1 else {**found, "segments": list(names)}


def onnx_files(entry: Mapping[str, Any]) -> list[str]:
    """Names of a model's ONNX files, in the order in which they run.

    Args:
        entry: Of `front.json`, or content of `model.json`.
    """
    files = entry["files"]
    return [str(name) for name in files.get("segments") or [files["onnx"]]]
