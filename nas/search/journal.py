"""The journal file of a run, which holds its studies."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.study import Study


class _Lock(BaseJournalFileLock):
    """Optuna's lock, which its holder may take again.

    Attributes:
        lock: That one, which takes itself from a holder that has died.
    """

    def __init__(self, path: str) -> None:
        self.lock = JournalFileSymlinkLock(path)
        self._depth = 0

    def acquire(self) -> bool:
        """Waits for others, not for itself."""
        if self._depth == 0:
            self.lock.acquire()
        self._depth += 1
        return True

    def release(self) -> None:
        """Once for each time it was taken."""
        self._depth -= 1
        if self._depth == 0:
            self.lock.release()


class JournalFile(JournalFileBackend):
    """Optuna's file, to which many changes can be added by one write.

    Each write waits for the disk: one for each of a trial's fifty parameters and attributes takes
    longer than proposing them.

    Args:
        path: Of the file, made if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._alone = _Lock(str(path))
        super().__init__(str(path), self._alone)
        self._kept: list[dict[str, Any]] | None = None
        self._first: int | None = None

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What is changed within is read from memory, and is in the file at the end.

        Others wait with their changes meanwhile.
        """
        if self._kept is not None:  # within another, at whose end all of it is written
            yield
            return
        with get_lock_file(self._alone):
            self._kept = []
            try:
                yield
            finally:
                kept, first = self._kept, self._first
                self._kept = self._first = None
                if kept:
                    self.append_logs(kept)
                    for _ in self.read_logs(first or 0):
                        pass  # so that the file knows where the next one begins

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add changes."""
        if self._kept is None:
            super().append_logs(logs)
        else:
            self._kept += json.loads(json.dumps(logs))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Changes from one on, by number."""
        if self._kept is None:
            yield from super().read_logs(log_number_from)
            return
        if self._first is None:  # what others added before the lock was taken
            for log in super().read_logs(log_number_from):
                log_number_from += 1
                yield log
            self._first = log_number_from
        yield from self._kept[log_number_from - self._first :]


@contextlib.contextmanager
def together(study: Study) -> Iterator[None]:
    """Changes of a study within are one write at the end, if a file holds it."""
    backend = getattr(study._storage, "_backend", None)
    with backend.together() if isinstance(backend, JournalFile) else contextlib.nullcontext():
        yield


def open_storage(journal: Path) -> JournalStorage:
    """The Optuna storage in a journal file; reading it begins here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return JournalStorage(JournalFile(journal))


def mend_journal(journal: Path) -> None:
    """Remove what a killed process left: a half-written last line, a lock that nobody holds."""
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        with journal.open("rb+") as file:
            file.truncate(content.rfind(b"\n") + 1)
