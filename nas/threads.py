"""How many threads there are, and how they wait for one another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import Any


def usable_cores() -> int:
    """Cores that this process may run on: of a container or a job fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spin_briefly() -> None:
    """Let OpenMP threads spin only briefly before they sleep. Call before torch is loaded.

    Long spinning, GNU OpenMP's default, wins nothing on an idle machine and loses much on a shared
    one (docs/decisions/0004-supernet-recipe.md). Values that the user has set stay.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


@contextlib.contextmanager
def one_linear_algebra_thread() -> Iterator[None]:
    """Numpy's matrix products on one thread: on small ones many threads only wait for each other.

    Beside busy workers that costs several times the work (320 proposals on two cores with 16
    workers: 106 s instead of 44 s).
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
