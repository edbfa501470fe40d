"""How threads wait for one another."""

from __future__ import annotations

import os


def spin_briefly() -> None:
    """Let OpenMP threads spin only briefly before they sleep. Call before torch is loaded.

    Long spinning, GNU OpenMP's default, wins nothing on an idle machine and loses much on a shared
    one (docs/decisions/0004-supernet-recipe.md). Values that the user has set stay.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
