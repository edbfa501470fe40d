"""What is known of how a run's supernet ranks, in words."""

from __future__ import annotations

from typing import Any

FEWEST = 10
"""Architectures of which ranks are compared."""
CHECK = "supernet check"
"""What `log.jsonl` calls a supernet's scores beside those of a linear model."""


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
    longer = _longer(supernet)
    return [
        told,
        "The supernet ranks worse than counting multiply-adds does: its scores are no ground to "
        f"choose by. Try {longer}, or more --check-epochs if these trainings were short.",
    ]


def supernet_lines(found: dict[str, Any], supernet: str | None = None) -> list[str]:
    """What is to be said of a supernet that was trained for too short a time; else nothing.

    Args:
        found: The line about the check in `log.jsonl`; empty where there is none.
        supernet: The file that was given, if one was.
    """
    values = found.get("networks")
    if not values or sum(values) / len(values) > found["linear"]:
        return []
    return [
        "The supernet has learned too little for its scores to be a ground to choose by: with its "
        f"weights, {len(values)} random architectures have {100 * min(values):.1f} to "
        f"{100 * max(values):.1f} % on {found['images']} validation images (mean "
        f"{100 * sum(values) / len(values):.1f} %), and a linear model on 8 x 8 pixels has "
        f"{100 * found['linear']:.1f} %. Try {_longer(supernet)}."
    ]


def _longer(supernet: str | None) -> str:
    return "a supernet that was trained for longer" if supernet else "more --supernet-steps"


def _tau(found: dict[str, float]) -> str:
    return f"{found['tau']:.2f} (95 % interval {found['lower']:.2f} to {found['upper']:.2f})"
