"""Ways to a device, one file each, behind one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from nas.devices.lines import Progress


class Transport(Protocol):
    """Runs the agent on a device."""

    @property
    def place(self) -> str:
        """The device in words, for messages."""
        ...

    def describe(self, runtime: str) -> dict[str, Any]:
        """What the device says: `{"machine": .., "conditions": .., "runtime": ..}`.

        Raises:
            MeasurementError: It cannot be reached, or has no such runtime.
        """
        ...

    def run(self, bundle: Path, job: str, result: Path, progress: Progress) -> None:
        """Have a bundle measured and write its result; called again, it goes on where it was.

        Args:
            bundle: The bundle's file.
            job: Its id, which names its folder on the device.
            result: Where to write the result.
            progress: Called with the number of finished and of all timings.

        Raises:
            MeasurementError: The device is lost, or cannot be measured.
        """
        ...
