"""Files: where they are looked up, and writing them whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from nas.errors import DiskFullError, RunFolderError


def data_folder() -> Path:
    """The user's data folder (own tables and spaces); `NAS_DATA_DIR` overrides it."""
    return Path(os.environ.get("NAS_DATA_DIR") or platformdirs.user_data_dir("nas"))


def cache_folder() -> Path:
    """The user's cache folder (supernets, decoded images); `NAS_CACHE_DIR` overrides it."""
    return Path(os.environ.get("NAS_CACHE_DIR") or platformdirs.user_cache_dir("nas"))


def shipped_folder() -> Path:
    """Where `latency_tables/`, `search_spaces/` and `configs/` of this installation are."""
    package = Path(__file__).resolve().parent
    installed = package / "_shipped"
    return installed if installed.is_dir() else package.parent


def search_folders(kind: str) -> list[Path]:
    """Folders that may hold `kind` (`search_spaces`, ...), in the order of look-up."""
    return [Path.cwd() / kind, data_folder() / kind, shipped_folder() / kind]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into one-line errors.

    Raises:
        DiskFullError: No space is left, or the quota is used up.
        RunFolderError: The place cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        raise map_disk_error(error, path) from error


def map_disk_error(error: OSError, path: Path) -> DiskFullError | RunFolderError:
    """The `nas` error that says what `error` means for writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"the disk is full: {path} could not be written, finished files are kept",
            do="free some space, then the same command again (nas search: with --resume)",
        )
    return RunFolderError(
        f"{path} cannot be written: {error.strerror or error}",
        allowed="a folder that this user may write",
        do="another place",
    )


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def file_digest(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]
