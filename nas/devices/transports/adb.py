"""An Android phone or board over the system's `adb`, by cable or by network.

Since Android 7, `adb shell` gives the exit code of the command and keeps its two outputs apart.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.devices.transports.remote import Remote
from nas.errors import MeasurementError, OptionError

FOLDER = "/data/local/tmp/nas-agent"
"""The user of `adb shell` may write and run programs below /data/local/tmp, and nowhere else."""


@dataclass(frozen=True)
class Adb(Remote):
    """A device that `adb devices` lists.

    Attributes:
        serial: As listed there.
        python: The device's interpreter.
        folder: Where bundles lie on it.
    """

    serial: str
    python: str = "python3"
    folder: str = FOLDER

    def __post_init__(self) -> None:
        if not self.serial or self.serial.startswith("-") or any(c.isspace() for c in self.serial):
            raise OptionError(
                "--adb is the serial of a device",
                got=self.serial,
                do="adb devices, which lists them",
            )
        if shutil.which("adb") is None:
            raise OptionError(
                "--adb needs adb, which is not on the PATH",
                do="install the Android platform tools (Debian: apt install adb)",
            )

    @property
    def place(self) -> str:
        """The device, for messages."""
        return self.serial

    def command(self, words: Sequence[str]) -> list[str]:
        """The device's shell takes one text: every word is quoted for it."""
        return [*self._adb, "shell", shlex.join(words)]

    def push(self, source: Path, target: str) -> list[str]:
        """Copy a file to the device."""
        return [*self._adb, "push", str(source.absolute()), target]

    def pull(self, source: str, target: Path) -> list[str]:
        """Copy a file from the device."""
        return [*self._adb, "pull", source, str(target.absolute())]

    @property
    def _adb(self) -> list[str]:
        return ["adb", "-s", self.serial]

    def lost(self, said: list[str]) -> MeasurementError:
        """What `adb` says is looked up; its first line that is no notice is the reason."""
        reasons = [line for line in said if not line.startswith("*")] or said
        text = " ".join(reasons)
        known = [advice for words, advice in _ADVICE.items() if words in text]
        again = f"adb -s {shlex.quote(self.serial)} shell true, which must work"
        reason = reasons[0].removeprefix("adb: ").removeprefix("error: ").rstrip(".")
        return MeasurementError(
            f"{self.serial} cannot be used over adb: {reason}",
            do=f"{known[0] if known else again}; then the same command",
        )


_ADVICE = {
    "unauthorized": "unlock the device and allow USB debugging for this computer",
    "authorizing": "unlock the device and allow USB debugging for this computer",
    "offline": "adb reconnect offline, or unplug it and plug it in again",
    "' not found": "adb devices, which lists the serials there are (over the network: adb connect)",
    "permissions": "give this user the device: udev rules (Debian: apt install "
    "android-sdk-platform-tools-common) and the group plugdev",
    "No space left": "free some space below /data/local/tmp",
}
"""What to do by what `adb` says (its transport.cpp, adb_client.cpp and file_sync_client.cpp)."""
