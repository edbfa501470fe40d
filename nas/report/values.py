"""What a report says, as plain values; `nas.report.data` reads them from a run folder."""

from __future__ import annotations

from dataclasses import dataclass

from nas.latency.device_file import Calibration, LeftOutFamilies
from nas.latency.roofline import Roofline
from nas.report.stacks import StackBlock


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy or its mean over classes, 0 to 1, with its 95 % interval."""

    value: float
    lower: float
    upper: float
    images: int


@dataclass(frozen=True)
class Latency:
    """A latency in milliseconds, batch 1, with its interval and where it comes from.

    Attributes:
        held_ms: What the budget is held against: `upper_ms`, or the upper bound of `expected_ms`.
        expected_ms: On average over the images, of a network with exits: the others are then of an
            inference through all of it. `None` without exits.
    """

    predicted_ms: float
    lower_ms: float
    upper_ms: float
    provenance: str
    held_ms: float
    expected_ms: float | None = None

    @property
    def usual_ms(self) -> float:
        """What an inference takes, on average where there are exits."""
        return self.predicted_ms if self.expected_ms is None else self.expected_ms


@dataclass(frozen=True)
class Measured:
    """What a whole model took on the device, ms, batch 1.

    Attributes:
        latency_ms: While nothing disturbed.
        spread_ms: Median absolute deviation of the rounds' medians.
        p95_ms: 95th percentile of the runs of a quiet round.
        over_budget: It took longer than the budget.
        expected_ms: On average over the images, of a network with exits: the others are then of an
            inference through all of it.
    """

    latency_ms: float
    spread_ms: float
    p95_ms: float
    over_budget: bool
    expected_ms: float | None = None

    @property
    def usual_ms(self) -> float:
        """What an inference takes, on average where there are exits."""
        return self.latency_ms if self.expected_ms is None else self.expected_ms


@dataclass(frozen=True)
class TrialPoint:
    """A scored architecture; its accuracy is that of the search, on validation images.

    Attributes:
        latencies: On each device.
        costs: On each axis of the report.
        on_front: Whether it is on some front.
    """

    number: int
    id: str
    accuracy: float
    latencies: tuple[Latency, ...]
    costs: tuple[float, ...]
    origin: str
    on_front: bool


@dataclass(frozen=True)
class FinishedModel:
    """A finalist or a baseline: trained, exported, and scored from its file.

    Attributes:
        rank: 1 for the first of its list.
        width: The width multiplier of a baseline, `None` for a finalist.
        stack: Its blocks; empty where the search space is no longer there.
        files: Paths of the ONNX files in the run folder, of which there are several with exits;
            none for a baseline.
        latencies: On each device.
        costs: On each axis of the report.
        fronts: Numbers of the fronts that it is on.
        recommended: For some front.
        gain: Of a baseline: how much more accurate on the validation images the best finalist is
            that costs no more; `None` if none is, and for finalists.
        measured: Its latencies as a whole model; `None` where it was not measured.
        leaving: Shares of the validation images that leave at each exit and at the end; none
            without exits.
    """

    id: str
    rank: int
    resolution: int
    width: float | None
    validation: Accuracy
    test: Accuracy
    latencies: tuple[Latency, ...]
    costs: tuple[float, ...]
    params: int
    macs: int
    size_bytes: int
    peak_memory_bytes: int
    files: tuple[str, ...]
    fronts: tuple[int, ...]
    recommended: bool
    stack: tuple[StackBlock, ...]
    gain: float | None
    measured: tuple[Measured | None, ...]
    leaving: tuple[float, ...] = ()

    @property
    def dominated(self) -> bool:
        """On no front."""
        return not self.fronts


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
class DeviceFacts:
    """A device of the search.

    Attributes:
        name: As it was typed.
        table: Name of its latency table.
        fastest_ms: The lowest upper bound in the space.
        slowest_ms: The highest.
        details: `None` where the latency table is no longer there.
    """

    name: str
    table: str
    provenance: str
    precision: str
    budget: str
    budget_ms: float
    fastest_ms: float
    slowest_ms: float
    details: TableFacts | None

    @property
    def short(self) -> str:
        """The last part of a device that was given as a folder; any other as it was typed."""
        return self.name.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or self.name

    @property
    def estimated(self) -> bool:
        """Whether latencies are estimated and not measured."""
        return self.provenance == "estimated"


@dataclass(frozen=True)
class RunFacts:
    """What was searched: devices, other limits with their values, space, data, seed, versions.

    Attributes:
        supernet: What is said of it.
        scored: How trials were: `with the supernet's weights`.
        training: What finalists had: `200 steps of fine-tuning`.
        on_expected: Budgets hold what is expected on average, where there are exits.
    """

    devices: tuple[DeviceFacts, ...]
    limits: tuple[tuple[str, str], ...]
    per_device: bool
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
    scored: str
    training: str
    started: str
    versions: tuple[tuple[str, str], ...]
    balanced: bool = False
    on_expected: bool = False


@dataclass(frozen=True)
class Axis:
    """An objective beside the accuracy.

    Attributes:
        kind: `latency`, `energy`, `memory`, `size` or `macs`.
        words: Such as `file size`.
        device: Its number, for latency and energy.
        front: Number of the front whose models are marked along it.
        scale: What numbers are divided by on a figure.
        unit: Of a number that was divided.
        limit: The largest allowed value, in units of the figure.
        limit_text: The same for people.
    """

    kind: str
    words: str
    device: int | None
    front: int
    scale: float
    unit: str
    limit: float | None
    limit_text: str


@dataclass(frozen=True)
class FrontFacts:
    """Models that are compared with each other.

    Attributes:
        device: Number of the only device that counts; `None` where all do.
        recommended: Id of a model.
        axes: Numbers of the objectives.
        history: Share of the hypervolume after each trial.
    """

    device: int | None
    recommended: str
    axes: tuple[int, ...]
    history: tuple[float, ...]


@dataclass(frozen=True)
class ShortTraining:
    """What finalists were chosen from.

    Attributes:
        architectures: The best of the search, trained by themselves.
        steps: For how many optimiser steps.
        rank_correlation: Of their accuracies then with those that the search had for them.
    """

    architectures: int
    steps: int
    rank_correlation: float


@dataclass(frozen=True)
class Ranking:
    """Architectures that were trained from scratch, beside what the supernet said of them.

    Attributes:
        lines: What it comes to.
        points: Id, the supernet's accuracy and the trained one.
    """

    lines: tuple[str, ...]
    points: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class ReportData:
    """All of a report.

    Attributes:
        facts: What was searched.
        trials: Scored architectures, in the order in which they were scored.
        refused: Proposals that broke a limit.
        axes: Objectives beside the accuracy.
        fronts: One over all devices, or one for each.
        finalists: Exported models, those that cost least by the first axis first.
        baselines: Width-scaled networks within the limits, in the same order.
        notes: What could not be shown, and why.
        verified: What the measurements of the finalists say; empty where there are none.
        warnings: What of it must not be missed.
        short_training: `None` where finalists were chosen by the supernet's scores.
        ranking: `None` where that was not checked.
    """

    facts: RunFacts
    trials: tuple[TrialPoint, ...]
    refused: int
    axes: tuple[Axis, ...]
    fronts: tuple[FrontFacts, ...]
    finalists: tuple[FinishedModel, ...]
    baselines: tuple[FinishedModel, ...]
    notes: tuple[str, ...]
    verified: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    short_training: ShortTraining | None = None
    ranking: Ranking | None = None

    @property
    def recommended(self) -> FinishedModel:
        """The model to take; that of the first device, where each has one."""
        return self.recommended_on(self.fronts[0])

    def recommended_on(self, front: FrontFacts) -> FinishedModel:
        """The model of a front to take."""
        return next(model for model in self.finalists if model.id == front.recommended)

    def front_device(self, front: FrontFacts) -> DeviceFacts:
        """The device that a front is for; the first where it is for all."""
        return self.facts.devices[front.device or 0]

    @property
    def best_validation(self) -> float:
        """The best validation accuracy of the finalists."""
        return max(model.validation.value for model in self.finalists)
