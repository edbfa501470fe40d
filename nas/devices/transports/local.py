"""This machine: the agent in a process of its own, without torch and its threads."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.devices.lines import Progress, listen


@dataclass(frozen=True)
class Local:
    """This machine, with the Python that runs `nas`."""

    place: str = "this machine"

    def describe(self, runtime: str) -> dict[str, Any]:
        """What this machine says of itself."""
        return listen([*_AGENT, "--describe", runtime], self.place)

    def run(self, bundle: Path, job: str, result: Path, progress: Progress) -> None:
        """Measure here."""
        del job
        command = [sys.executable, str(bundle), "--bundle", str(bundle), "--out", str(result)]
        listen(command, self.place, progress)


_AGENT = [
    sys.executable,
    "-c",
    "import sys; from nas.devices.agent.main import main; sys.exit(main(sys.argv[1:]))",
]
