"""What `ranking.json` says, in words."""

from __future__ import annotations

from typing import Any

FEWEST = 10
"""Architectures of which ranks are compared."""


def ranking_lines(content: dict[str, Any], supernet: str | None = None) -> list[str]:
    """What it comes to; where the supernet ranks worse than counting does, that is said, too.

    Args:
        content: Of `ranking.json`.
        supernet: The file that was given, if one was.
    """
    number, epochs = len(content["models"]), content["epochs"]
    each = f"{epochs} epoch{'' if epochs == 1 else 's'} each"
    told = (
        f"Ranking: over {number} random architectures trained from scratch ({each}), Kendall's tau "
        f"is {_tau(content['kendall_tau'])} for the supernet's scores and "
        f"{_tau(content['kendall_tau_macs'])} for multiply-adds (1: the same order, 0: none)."
    )
    difference = content["difference"]
    if difference["lower"] > 0:
        return [f"{told} The supernet ranks better than counting does."]
    if difference["upper"] >= 0:
        return [
            f"{told} So few cannot tell whether the supernet ranks better than counting does: more "
            "architectures (--check-ranking) would."
        ]
    longer = "a supernet that was trained for longer" if supernet else "more --supernet-steps"
    return [
        told,
        "The supernet ranks worse than counting multiply-adds does: its scores are no ground to "
        f"choose by. Try {longer}, or more --check-epochs if these trainings were short.",
    ]


def _tau(found: dict[str, float]) -> str:
    return f"{found['tau']:.2f} (95 % interval {found['lower']:.2f} to {found['upper']:.2f})"
