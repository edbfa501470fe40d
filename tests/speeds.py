"""Speeds that searches in a test's own process take as given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nas.search.work import Speeds


@pytest.fixture(scope="session", autouse=True)
def known_speeds() -> Iterator[None]:
    """They do not time the machine first: commands of their own do, and `test_work`."""
    speeds = Speeds(0.05, score_image=5e-4, finetune_step=0.02, file_image=5e-4, trial_step=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.search.resolved.time_speeds", lambda *_: speeds)
        patch.setattr("nas.search.resolved.time_training", lambda *_: speeds)
        yield
