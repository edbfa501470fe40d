"""How threads wait for one another."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let OpenMP threads sleep instead of spin while they wait. Call before torch is loaded.

    Spinning wins a little on an idle machine and loses much on a shared one: with one of two cores
    taken by another process, a training step took 4.3 to 6.2 s spinning and 0.8 s sleeping
    (docs/decisions/0004-supernet-recipe.md). A value that the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
