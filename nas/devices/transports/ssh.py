"""A board over ssh: the system's `ssh` and `scp`, with the user's configuration, keys and hops."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas.devices.transports.remote import Remote
from nas.errors import MeasurementError, OptionError

FOLDER = ".nas-agent"
OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")


@dataclass(frozen=True)
class Ssh(Remote):
    """A board that `ssh HOST` reaches without a question.

    Attributes:
        host: As `ssh` takes it: a name of the user's configuration, or `user@board`.
        python: The board's interpreter.
        options: More options for `ssh` and `scp`.
        folder: Where bundles lie, below the board's home.
    """

    host: str
    python: str = "python3"
    options: tuple[str, ...] = field(default=OPTIONS)
    folder: str = FOLDER

    def __post_init__(self) -> None:
        named = self.host.rpartition("@")[2]
        if not named or self.host[0] in "-@" or any(c.isspace() for c in self.host):
            raise OptionError(
                "--host is a name that ssh knows",
                got=self.host,
                allowed="user@board, or a name of ~/.ssh/config, which also knows ports",
                do="--host pi@raspberrypi",
            )
        for program in ("ssh", "scp"):
            if shutil.which(program) is None:
                raise OptionError(f"--host needs {program}", do="install an OpenSSH client")

    @property
    def place(self) -> str:
        """The board, for messages."""
        return self.host

    def command(self, words: Sequence[str]) -> list[str]:
        """The board's shell takes one text: every word is quoted for it."""
        return ["ssh", *self.options, "--", self.host, shlex.join(words)]

    def push(self, source: Path, target: str) -> list[str]:
        """Copy a file to the board."""
        return self._copy(str(source.absolute()), f"{self.host}:{target}")

    def pull(self, source: str, target: Path) -> list[str]:
        """Copy a file from the board."""
        return self._copy(f"{self.host}:{source}", str(target.absolute()))

    def _copy(self, source: str, target: str) -> list[str]:
        return ["scp", "-q", *self.options, "--", source, target]

    def lost(self, said: list[str]) -> MeasurementError:
        """The last line is the reason."""
        return MeasurementError(
            f"{self.host} cannot be used over ssh: {said[-1]}",
            do=f"ssh {self.host} true, which must work without a question; then the same command",
        )
