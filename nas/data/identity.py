"""What each image file is: a hash of its bytes and its size, looked at once per file.

    <cache folder>/scans/<hash of the data folder's path>.json

A file whose size, modification time and change time are as before is not read again, so a later
run on the same folder starts at once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from nas.data.cache import cache_errors
from nas.data.dataset import Progress
from nas.data.images import shorter_side
from nas.data.workers import in_order
from nas.files import cache_folder, write_text


@dataclass(frozen=True)
class FileIdentity:
    """What is known of one image file; the first three fields tell whether it changed since."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    digest: str
    shorter_side: int

    def is_current(self, path: Path) -> bool:
        """Whether the file looks untouched since it was identified."""
        stat = path.stat()
        now = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return now == (self.size_bytes, self.modified_ns, self.changed_ns)


def identify_files(
    root: Path, items: Sequence[str], progress: Progress | None = None
) -> dict[str, FileIdentity]:
    """The identity of every item below `root`, in the order of `items`.

    Raises:
        DataError: A file is no image, or the cache folder cannot be written.
        DiskFullError: No space was left to remember the result.
        OSError: A file cannot be read.
    """
    place = cache_folder() / "scans" / f"{_hash(str(root.resolve()))}.json"
    known = _remembered(place)
    unknown = [i for i in items if i not in known or not known[i].is_current(root / i)]
    read = in_order(lambda item: _identify(root, item), unknown, "looking at images", progress)
    found = {**known, **dict(zip(unknown, read, strict=True))}
    result = {item: found[item] for item in items}
    if result != known:
        _remember(place, result)
    return result


def _identify(root: Path, item: str) -> FileIdentity:
    stat = (root / item).stat()
    content = (root / item).read_bytes()
    return FileIdentity(
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ctime_ns,
        hashlib.sha256(content).hexdigest(),
        shorter_side(io.BytesIO(content), item),
    )


def _remembered(place: Path) -> dict[str, FileIdentity]:
    try:
        rows = json.loads(place.read_text(encoding="utf-8"))
        return {item: FileIdentity(*row) for item, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # absent, or damaged from outside
        return {}


def _remember(place: Path, identities: Mapping[str, FileIdentity]) -> None:
    rows = {item: astuple(identity) for item, identity in identities.items()}
    with cache_errors():
        write_text(place, json.dumps(rows))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
