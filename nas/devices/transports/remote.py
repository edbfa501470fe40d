"""What boards behind a program have in common: a shell, copies there and back, one folder.

The bundle lies in one folder on the board while it is measured, and is removed with the folder
when the result is here. A cut connection leaves it: the next call goes on from there.
"""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.devices.agent.main import DAMAGED, digest
from nas.devices.bundle import write_agent
from nas.devices.lines import Progress, listen
from nas.errors import MeasurementError
from nas.files import cache_folder

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes of a POSIX shell."""


class Remote(ABC):
    """A transport through a program that runs words on a board and copies files.

    Attributes:
        python: The board's interpreter.
        folder: Where the bundles lie on it; removed when it is empty again.
    """

    python: str
    folder: str

    @property
    @abstractmethod
    def place(self) -> str:
        """The board, for messages."""

    @abstractmethod
    def command(self, words: Sequence[str]) -> list[str]:
        """The command line here that runs words on the board."""

    @abstractmethod
    def push(self, source: Path, target: str) -> list[str]:
        """The command line that copies a file to the board."""

    @abstractmethod
    def pull(self, source: str, target: Path) -> list[str]:
        """The command line that copies a file from the board."""

    @abstractmethod
    def lost(self, said: list[str]) -> MeasurementError:
        """What a failed command means, from the lines that it wrote."""

    def describe(self, runtime: str) -> dict[str, Any]:
        """What the board says of itself; the agent is there only meanwhile."""
        path = cache_folder() / "agents" / "agent.zip"
        write_agent(path)
        self._check_python()
        folder = f"{self.folder}/describe-{digest({'place': self.place})[:12]}"
        self._do(self.command(["mkdir", "-p", folder]))
        try:
            self._do(self.push(path, f"{folder}/agent.zip"))
            words = [self.python, f"{folder}/agent.zip", "--describe", runtime]
            return listen(self.command(words), self.place)
        finally:
            self._remove(folder)

    def run(self, bundle: Path, job: str, result: Path, progress: Progress) -> None:
        """Measure on the board."""
        folder = f"{self.folder}/{job[:16]}"
        there, out = f"{folder}/bundle.zip", f"{folder}/results.json"
        self._do(self.command(["mkdir", "-p", folder]))
        present = self._do(self.command(["ls", folder])).split()
        if "bundle.zip" not in present:
            self._do(self.push(bundle, f"{there}.part"))
            self._do(self.command(["mv", f"{there}.part", there]))
        if "results.json" not in present:  # else the connection was cut just before the end
            words = [self.python, there, "--bundle", there, "--out", out]
            try:
                listen(self.command(words), self.place, progress)
            except MeasurementError as error:
                if DAMAGED in str(error):
                    self._remove(folder)  # the next call sends it again
                raise
        result.parent.mkdir(parents=True, exist_ok=True)
        fetched = result.with_name(f"{result.name}.fetched")  # a cut leaves a part of it
        self._do(self.pull(out, fetched))
        fetched.replace(result)
        self._remove(folder)

    def _check_python(self) -> None:
        done = _run(self.command([self.python, "-c", ""]))
        if done.returncode in (NOT_FOUND, NOT_EXECUTABLE):
            raise MeasurementError(
                f"{self.place} cannot run the interpreter {self.python}: {_lines(done)[-1]}",
                allowed="Python 3.6 or newer, with the runtime that is measured",
                do="--python /path/to/python3",
            )
        if done.returncode != 0:
            raise self.lost(_lines(done))

    def _do(self, command: Sequence[str]) -> str:
        done = _run(command)
        if done.returncode != 0:
            raise self.lost(_lines(done))
        return done.stdout.decode("utf-8", "replace")

    def _remove(self, folder: str) -> None:
        """The folder, and the one above it if that is empty then."""
        self._do(self.command(["rm", "-r", "-f", folder]))
        _run(self.command(["rmdir", self.folder]))


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)


def _lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """What it said: `adb pull` gives its reasons on standard output."""
    said = done.stderr.strip() or done.stdout.strip() or b"no reason given"
    return said.decode("utf-8", "replace").splitlines()
