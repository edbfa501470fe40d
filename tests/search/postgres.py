"""A PostgreSQL server of its own for tests, that can be stopped and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

USER = "nas"


def find_binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, also where Debian hides them."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


needs_postgres = pytest.mark.skipif(
    find_binaries() is None, reason="no PostgreSQL here: install postgresql to test shared studies"
)


class Postgres:
    """A server on this machine's loopback; anybody here may connect."""

    def __init__(self, folder: Path) -> None:
        found = find_binaries()
        assert found is not None
        self.binaries, self.folder = found, folder / "postgres"
        self.folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._as: list[str] = []
        if os.getuid() == 0:  # the server refuses to be run by root
            self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            shutil.chown(self.folder, "nobody", "nogroup")
            for parent in [*self.folder.parents][:4]:
                parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", self.data, "-U", USER, "--auth=trust", "--no-sync")
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self.binaries / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.data, "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")
