"""Every test has its own user folders and works in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from nas.threads import spin_briefly

from .boards import adb, adb_board, adbd, far, ssh_board, sshd

__all__ = ["adb", "adb_board", "adbd", "far", "ssh_board", "sshd", "user_folders"]

# Shared machines stall: how long an example takes says nothing, so there is no deadline.
settings.register_profile("nas", deadline=None)
settings.load_profile("nas")

LONGEST = ("test_profile.py", "test_ray_workers.py", "test_front.py", "test_readme.py")
"""Files to begin with: the last one to begin is waited for by the other process."""

spin_briefly()  # before any test loads torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first; the others stay in their order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups start in the working folder and go on in the user's: both are empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("NAS_CACHE_DIR", str(tmp_path / "user-cache"))
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "user-data"))
