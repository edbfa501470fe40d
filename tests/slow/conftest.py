"""`nas` in a process of its own, with user folders of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT_S = 600
COMMAND = [sys.executable, "-c", "import sys; from nas.cli.main import main; sys.exit(main())"]


class Process:
    """A running `nas` command."""

    def __init__(self, options: list[str], home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.errors = home / f"errors-{len(list(home.glob('errors-*')))}.txt"
        own = {"NAS_CACHE_DIR": str(home / "cache"), "NAS_DATA_DIR": str(home / "data")}
        with self.errors.open("w") as errors:
            self.popen = subprocess.Popen(
                [*COMMAND, *options],
                cwd=home,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **own},
            )

    def finish(self) -> str:
        """What it printed, once it ended well."""
        out, _ = self.popen.communicate(timeout=LIMIT_S)
        assert self.popen.returncode == 0, self.errors.read_text()
        return out

    def kill_when(self, condition: Callable[[], bool]) -> None:
        """SIGKILL as soon as `condition` holds: nothing is cleaned up."""
        end = time.monotonic() + LIMIT_S
        try:
            while not condition():
                assert self.popen.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            self.popen.kill()
            self.popen.communicate()


@pytest.fixture
def start() -> Callable[[list[str], Path], Process]:
    return Process
