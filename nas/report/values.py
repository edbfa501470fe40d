"""What a report says, as plain values; `nas.report.data` reads them from a run folder."""

from __future__ import annotations

from dataclasses import dataclass

from nas.latency.device_file import Calibration, LeftOutFamilies
from nas.latency.roofline import Roofline
from nas.report.stacks import StackBlock


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, 0 to 1, with its 95 % Wilson interval."""

    value: float
    lower: float
    upper: float
    images: int


@dataclass(frozen=True)
class Latency:
    """A latency in milliseconds, batch 1, with its interval and where it comes from."""

    predicted_ms: float
    lower_ms: float
    upper_ms: float
    provenance: str


@dataclass(frozen=True)
class Measured:
    """What a whole model took on the device, ms, batch 1.

    Attributes:
        latency_ms: While nothing disturbed.
        spread_ms: Median absolute deviation of the rounds' medians.
        p95_ms: 95th percentile of the runs of a quiet round.
        over_budget: It took longer than the budget.
    """

    latency_ms: float
    spread_ms: float
    p95_ms: float
    over_budget: bool


@dataclass(frozen=True)
class TrialPoint:
    """A scored architecture; its accuracy is the supernet's on validation images."""

    number: int
    id: str
    accuracy: float
    latency: Latency
    origin: str
    on_front: bool


@dataclass(frozen=True)
class FinishedModel:
    """A finalist or a baseline: trained, exported, and scored from its file.

    Attributes:
        rank: 1 for the fastest of its list.
        width: The width multiplier of a baseline, `None` for a finalist.
        stack: Its blocks; empty where the search space is no longer there.
        file: Path of the ONNX file in the run folder, `None` for a baseline.
        gain: Of a baseline: how much more accurate on the validation images the best finalist is
            that is no slower; `None` if none is, and for finalists.
        measured: Its latency as a whole model; `None` where it was not measured.
    """

    id: str
    rank: int
    resolution: int
    width: float | None
    validation: Accuracy
    test: Accuracy
    latency: Latency
    params: int
    macs: int
    size_bytes: int
    peak_memory_bytes: int
    file: str | None
    dominated: bool
    recommended: bool
    stack: tuple[StackBlock, ...]
    gain: float | None = None
    measured: Measured | None = None


@dataclass(frozen=True)
class RunFacts:
    """What was searched: device as typed, its table, budget, space, data, seed, versions."""

    device: str
    table: str
    provenance: str
    precision: str
    budget: str
    budget_ms: float
    space: str
    plan: str
    data: str
    classes: tuple[str, ...]
    train_images: int
    validation_images: int
    test_images: int
    seed: int
    sampler: str
    supernet: str
    finetune_steps: int
    fastest_ms: float
    slowest_ms: float
    started: str
    versions: tuple[tuple[str, str], ...]

    @property
    def estimated(self) -> bool:
        """Whether latencies are estimated and not measured."""
        return self.provenance == "estimated"


@dataclass(frozen=True)
class TableFacts:
    """The device behind the latencies, and how far its table was from the truth.

    Attributes:
        calibrations: With the certificates of a measured table, for the space and plan of the run.
        families: The certificate of an estimated table.
        roofline: Its coefficients.
    """

    hardware: str
    runtime: str
    date: str
    method: str
    sources: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    families: LeftOutFamilies | None
    roofline: Roofline | None


@dataclass(frozen=True)
class ReportData:
    """All of a report.

    Attributes:
        facts: What was searched.
        trials: Scored architectures, in the order in which they were scored.
        refused: Proposals that were over the budget.
        history: Share of the hypervolume after each trial.
        finalists: Exported models, fastest first.
        baselines: Width-scaled networks within the budget, fastest first.
        table: `None` where the latency table is no longer there.
        notes: What could not be shown, and why.
        verified: What the measurements of the finalists say; empty where there are none.
        warnings: What of it must not be missed.
    """

    facts: RunFacts
    trials: tuple[TrialPoint, ...]
    refused: int
    history: tuple[float, ...]
    finalists: tuple[FinishedModel, ...]
    baselines: tuple[FinishedModel, ...]
    table: TableFacts | None
    notes: tuple[str, ...]
    verified: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def recommended(self) -> FinishedModel:
        """The model to take."""
        return next(model for model in self.finalists if model.recommended)

    @property
    def best_validation(self) -> float:
        """The best validation accuracy of the front."""
        return max(model.validation.value for model in self.finalists)
