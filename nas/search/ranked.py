"""What is known of how a run's supernet ranks, in words."""

from __future__ import annotations

from typing import Any

from nas.units import plural

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
    each = f"{plural(epochs, 'epoch')} each"
    by_loss = all("loss" in model["supernet"] for model in content["models"])
    scores = "the supernet's losses" if by_loss else "the supernet's scores"
    told = (
        f"Ranking: over {number} random architectures trained from scratch ({each}), Kendall's tau "
        f"is {_tau(content['kendall_tau'])} for {scores} and "
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


def supernet_lines(found: dict[str, Any], supernet: str | None = None) -> list[str]:
    """What is to be said of a supernet that was trained for too short a time; else nothing.

    Args:
        found: The line about the check in `log.jsonl`; empty where there is none.
        supernet: The file that was given, if one was.
    """
    values = found.get("networks")
    if not values or not sum(values) / len(values) < found["linear_interval"][0]:
        return []
    mean, low, high = (100 * v for v in (sum(values) / len(values), min(values), max(values)))
    what = "a balanced accuracy" if found["metric"] == "balanced" else "an accuracy"
    longer = (
        "Give it one that was trained for longer"
        if supernet
        else f"Train it for longer (more than {found['steps']} --supernet-steps, or a longer "
        "--time-limit)"
    )
    return [
        f"The supernet has learned too little after {found['steps']} steps: {len(values)} random "
        f"architectures with its weights have {what} of {mean:.1f} % on average ({low:.1f} to "
        f"{high:.1f} %, {found['images']} validation images), where a linear model on 8 x 8 pixels "
        f"has {100 * found['linear']:.1f} %. How it ranks architectures cannot be trusted. {longer}"
        ", or do without one: --evaluator training."
    ]


def _tau(found: dict[str, float]) -> str:
    return f"{found['tau']:.2f} (95 % interval {found['lower']:.2f} to {found['upper']:.2f})"
