"""What `ranking.json` says, in words."""

from __future__ import annotations

from typing import Any


def ranking_lines(content: dict[str, Any]) -> list[str]:
    """What it comes to, in words; the second line is a warning."""
    tau, macs = content["kendall_tau"], content["kendall_tau_macs"]
    epochs, number = content["epochs"], len(content["models"])
    told = (
        f"Ranking: Kendall's tau of the supernet's scores with {number} random architectures "
        f"trained from scratch ({epochs} {'epoch' if epochs == 1 else 'epochs'} each) is "
        f"{tau['tau']:.2f} (95 % interval {tau['lower']:.2f} to {tau['upper']:.2f}); of their MACs "
        f"{macs['tau']:.2f}."
    )
    if tau["tau"] > macs["tau"]:
        return [told]
    return [
        told,
        "The supernet ranks them no better than counting multiply-adds does: it was trained for "
        "too short a time for these scores to choose by (--supernet-steps or --time-limit).",
    ]
