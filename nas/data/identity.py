"""What each image is: a hash of its content, its size and form, looked at once per image.

    <cache folder>/scans/<hash of the source's place and of the decoder>.json

An image whose file's size, modification time and change time are as before is not read again, so a
later run on the same data starts at once.
"""

from __future__ import annotations

import hashlib
import json
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nas.data.cache import DECODER, cache_errors
from nas.data.dataset import Progress
from nas.data.images import look_at
from nas.data.source import Content, Source, Stamp
from nas.data.workers import in_order
from nas.errors import DataError
from nas.files import cache_folder, write_text


class Identity(NamedTuple):
    """What is known of one image; the first three fields tell whether it changed since.

    A plain tuple, as there may be many of them. `shorter_side`, `form` and `problem` are those of
    `nas.data.images.Look`.
    """

    size_bytes: int
    modified_ns: int
    changed_ns: int
    digest: str
    shorter_side: int
    form: str
    problem: str | None


def identify(
    source: Source, items: Sequence[str], progress: Progress | None = None
) -> dict[str, Identity]:
    """The identity of every item, broken ones too, in the order of `items`.

    Raises:
        DataError: The cache folder cannot be written.
        DiskFullError: No space was left to remember the result.
        OSError: A file cannot be read.
    """
    place = memory_file(source)
    known = _remembered(place)
    unknown = [i for i in items if i not in known or known[i][:3] != source.stamp(i)]
    read = in_order(lambda item: _identify(source, item), unknown, "looking at images", progress)
    found = {**known, **dict(zip(unknown, read, strict=True))}
    result = {item: found[item] for item in items}
    if result != known:
        with cache_errors():
            write_text(place, json.dumps(result))
    return result


def memory_file(source: Source) -> Path:
    """Where it is remembered; another version of the decoder may find other images broken."""
    text = f"{source.place} {DECODER}"
    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "scans" / f"{name}.json"


def _identify(source: Source, item: str) -> Identity:
    stamp = source.stamp(item)
    content = source.read(item)
    look = look_at(content)
    return Identity(*stamp, _digest(content), look.shorter_side, look.form, look.problem)


def _digest(content: Content) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    shaped = hashlib.sha256(repr(content.shape).encode())
    shaped.update(content.tobytes())
    return shaped.hexdigest()


def _remembered(place: Path) -> dict[str, Identity]:
    try:
        rows: Mapping[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return {item: _from_row(*row) for item, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # absent, or damaged from outside
        return {}


def _from_row(
    size: int, modified: int, changed: int, digest: str, side: int, form: str, problem: str | None
) -> Identity:
    return Identity(size, modified, changed, digest, side, sys.intern(form), problem)


def stamp_of(path: Path) -> Stamp:
    """Of a file.

    Raises:
        DataError: It is none: reading a pipe may wait for ever.
        OSError: It is gone.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError(
            "an image is a file", got=f"{path}, a pipe, a socket or a device", do="remove it"
        )
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
