"""Unpack an archive of images safely: only images, only inside, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from nas.data.cache import cache_errors
from nas.data.images import SUFFIXES
from nas.errors import DataError
from nas.files import cache_folder, map_disk_error

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")

DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)
"""What the standard library raises on damaged or encrypted archives."""


@dataclass(frozen=True)
class _Member:
    """A file or folder in an archive; `content` is read at once, members come in order."""

    name: str
    kind: str  # "file", "folder" or "other"
    content: IO[bytes] | None


def archive_name(path: Path) -> str:
    """The archive's name without its suffix."""
    suffix = next(s for s in ARCHIVE_SUFFIXES if path.name.lower().endswith(s))
    return path.name[: -len(suffix)]


def extract(path: Path) -> Path:
    """The folder in the cache that holds the images of the archive, unpacked once per content.

    Raises:
        DataError: The archive is damaged, or a member would land outside of the folder or is a
            link or a device.
        DiskFullError: No space is left.
    """

    def unpack(folder: Path) -> None:
        for member in _members(path):
            _write(member, folder, path)

    return unpacked(path, "archives", unpack)


def unpacked(path: Path, kind: str, unpack: Callable[[Path], None]) -> Path:
    """The folder in the cache that `unpack` has filled, once for this content of the file `path`.

    Args:
        path: An archive.
        kind: Of its content: the name of a folder of the cache.
        unpack: Fills the folder that it is given.

    Raises:
        DataError: The archive or the cache folder cannot be used.
        DiskFullError: No space is left.
    """
    target = cache_folder() / kind / _content_hash(path)
    if target.is_dir():
        return target
    with cache_errors(), _temporary_folder(target) as temporary:
        unpack(temporary)
        # Another process may have finished the same archive meanwhile; its result is as good.
        if not target.is_dir():
            temporary.rename(target)
    return target


def _content_hash(path: Path) -> str:
    total = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    except OSError as error:
        raise damaged(path, error) from error
    return total.hexdigest()[:32]


@contextlib.contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise map_disk_error(error, target) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(path: Path) -> Iterator[_Member]:
    opened = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    try:
        yield from opened(path)
    except DAMAGE as error:
        raise damaged(path, error) from error


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            if info.is_dir():
                yield _Member(info.filename, "folder", None)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield _Member(info.filename, "other", None)
            else:
                with archive.open(info) as content:
                    yield _Member(info.filename, "file", content)


def _tar_members(path: Path) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
            content = archive.extractfile(info) if info.isreg() else None
            yield _Member(info.name, kind, content)
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    # `tarfile` takes a damaged or cut header for the end; the real end is a block of zeros. And a
    # compressed file's checksum is compared only when its own end is read.
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")
    while file.read(1 << 20):
        pass


def _write(member: _Member, folder: Path, archive: Path) -> None:
    place = folder.joinpath(*_safe_parts(member, archive))
    is_image = member.kind == "file" and place.suffix.lower() in SUFFIXES
    parent = place if member.kind == "folder" else place.parent
    content = _read(member, archive) if is_image else b""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        if is_image:
            place.write_bytes(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _hostile(archive, member, "is both a file and a folder") from error
    except OSError as error:
        raise map_disk_error(error, place) from error


def _read(member: _Member, archive: Path) -> bytes:
    if member.content is None:
        return b""
    try:
        return member.content.read()
    except DAMAGE as error:
        raise damaged(archive, error) from error


def _safe_parts(member: _Member, archive: Path) -> tuple[str, ...]:
    name = member.name.replace("\\", "/")
    drive = os.path.splitdrive(member.name)[0] or name[1:2] == ":"
    if member.kind == "other":
        raise _hostile(archive, member, "is a link or a device")
    if name.startswith("/") or drive or "\0" in name:
        raise _hostile(archive, member, "has an absolute name")
    parts = PurePosixPath(name).parts
    if ".." in parts:
        raise _hostile(archive, member, "would land outside of the folder")
    return parts


def _hostile(archive: Path, member: _Member, why: str) -> DataError:
    return DataError(
        f"an archive holds files and folders below its top; in {archive} {member.name!r} {why}",
        allowed="plain files and folders with relative names",
        do="unpack it yourself and pass the folder",
    )


def damaged(archive: Path, error: Exception) -> DataError:
    """The error of an archive that cannot be read to its end."""
    return DataError(
        f"an archive can be read to its end; {archive} cannot ({str(error) or 'it is truncated'})",
        do="download or pack it again",
    )
