"""A board over ssh: the system's `ssh` and `scp`, with the user's own configuration, keys and hops.

The bundle lies in one folder below the board's home while it is measured, and is removed with
the folder when the result is here. A cut connection leaves it: the next call goes on from there.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.devices.agent.main import digest
from nas.devices.bundle import write_agent
from nas.devices.lines import Progress, listen
from nas.errors import MeasurementError, OptionError
from nas.files import cache_folder

FOLDER = ".cache/nas-agent"
OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")


@dataclass(frozen=True)
class Ssh:
    """A board that `ssh HOST` reaches without a question.

    Attributes:
        host: As `ssh` takes it: a name of the user's configuration, or `user@board`.
        python: The board's interpreter.
        options: More options for `ssh` and `scp`.
    """

    host: str
    python: str = "python3"
    options: tuple[str, ...] = field(default=OPTIONS)

    def __post_init__(self) -> None:
        if not self.host or self.host.startswith("-") or any(c.isspace() for c in self.host):
            raise OptionError(
                "--host is a name that ssh knows", got=self.host, allowed="user@board"
            )
        for program in ("ssh", "scp"):
            if shutil.which(program) is None:
                raise OptionError(f"--host needs {program}", do="install an OpenSSH client")

    @property
    def place(self) -> str:
        """The board, for messages."""
        return self.host

    def describe(self, runtime: str) -> dict[str, Any]:
        """What the board says of itself; the agent is there only meanwhile."""
        path = cache_folder() / "agents" / "agent.zip"
        write_agent(path)
        folder = f"{FOLDER}/describe-{digest({'host': self.host})[:12]}"
        self._ssh(["mkdir", "-p", folder])
        try:
            self._copy(str(path), f"{self.host}:{folder}/agent.zip")
            return listen(
                self._command([self.python, f"{folder}/agent.zip", "--describe", runtime]),
                self.place,
            )
        finally:
            self._remove(folder)

    def run(self, bundle: Path, job: str, result: Path, progress: Progress) -> None:
        """Measure on the board."""
        folder = f"{FOLDER}/{job[:16]}"
        there = f"{folder}/bundle.zip"
        if not self._is_there(there):
            self._ssh(["mkdir", "-p", folder])
            self._copy(str(bundle), f"{self.host}:{there}.part")
            self._ssh(["mv", f"{there}.part", there])
        out = f"{folder}/results.json"
        listen(self._command([self.python, there, "--bundle", there, "--out", out]), self.place,
               progress)  # fmt: skip
        result.parent.mkdir(parents=True, exist_ok=True)
        self._copy(f"{self.host}:{out}", str(result))
        self._remove(folder)

    def _command(self, words: Sequence[str]) -> list[str]:
        """The board's shell takes one text: every word is quoted for it."""
        return ["ssh", *self.options, "--", self.host, shlex.join(words)]

    def _is_there(self, path: str) -> bool:
        done = subprocess.run(
            self._command(["test", "-f", path]), stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode == 255:
            raise self._lost(done.stderr)
        return done.returncode == 0

    def _ssh(self, words: Sequence[str]) -> None:
        done = subprocess.run(self._command(words), stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            raise self._lost(done.stderr)

    def _copy(self, source: str, target: str) -> None:
        command = ["scp", "-q", *self.options, "--", source, target]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode != 0:
            raise self._lost(done.stderr)

    def _remove(self, folder: str) -> None:
        """The folder, and those above it that are empty then."""
        self._ssh(["rm", "-r", "-f", folder])
        subprocess.run(
            self._command(["rmdir", FOLDER]), stdin=subprocess.DEVNULL, capture_output=True
        )

    def _lost(self, said: bytes) -> MeasurementError:
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return MeasurementError(
            f"{self.host} cannot be used over ssh: {lines[-1] if lines else 'no reason given'}",
            do=f"ssh {self.host} true, which must work without a question; then the same command",
        )
