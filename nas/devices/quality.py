"""How much is measured: `nas profile --quality`."""

from __future__ import annotations

from dataclasses import dataclass

from nas.devices.agent.timing import Effort

NORMAL = Effort(
    rounds=3,
    warmup_runs=2,
    min_runs=4,
    min_time_ms=2.0,
    agreement=1.03,
    repeats=3.0,
    most_unsettled=0.25,
    energy=True,
    most_time_ms=40.0,
)

SELF_TIMED = Effort(
    rounds=3,
    warmup_runs=0,
    min_runs=30,
    min_time_ms=1000.0,
    agreement=1.05,
    repeats=0.5,
    most_unsettled=0.5,
)
"""For trtexec: each timing starts a process, which takes seconds on a Jetson Nano."""


def effort_of(runtime: str, effort: Effort = NORMAL) -> Effort:
    """How long each item is timed: as long as `effort` says where the agent does the timing."""
    return SELF_TIMED if runtime == "tensorrt" else effort


def few_models_effort(runtime: str) -> Effort:
    """For some whole models alone: patient, because it takes little time; without energies."""
    return effort_of(runtime)._replace(repeats=10.0, most_unsettled=0.3, energy=False)


@dataclass(frozen=True)
class Quality:
    """What a profile measures of what its space needs.

    Attributes:
        share: Of the blocks that are measured; the others are interpolated.
        error: Nine of ten measured blocks are predicted from the others within this, or more of
            them are measured.
        models: Whole models: to fit on, for the bound, for the certificate.
        effort: How long each item is timed.
    """

    share: float
    error: float
    models: int
    effort: Effort = NORMAL


QUALITIES = {
    "quick": Quality(share=0.15, error=0.15, models=95, effort=NORMAL._replace(agreement=1.05)),
    "normal": Quality(share=0.35, error=0.1, models=190),
    "full": Quality(share=1.0, error=0.0, models=190),
}
MEASURED_WHOLE = 40
"""Of an op with so few distinct blocks all are measured: its stem, head and classifiers."""
