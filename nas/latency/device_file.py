"""What `device.yaml` of a latency table holds."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from nas.documents import Section
from nas.latency.roofline import Roofline

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,99}$"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class ExportSection(Section):
    """Which ONNX the device's runtime accepts."""

    opset: Annotated[int, Field(ge=13, le=21)]
    ir_version: Annotated[int, Field(ge=7, le=10)]
    hardswish: bool


class Provenance(Section):
    """Where the numbers come from."""

    kind: Literal["measured", "estimated"]
    date: datetime.date
    method: str
    sources: list[str] = []
    machine: dict[str, str | int | float | None] = {}


class SessionFacts(Section):
    """How steady the machine was while it was measured.

    Attributes:
        references_ms: Quiet latency of each model that was timed again and again.
        repeated: How many timings were done beyond the rounds, because others did not agree.
        unsettled: Share of blocks and models whose timings never agreed.
    """

    references_ms: dict[str, Positive]
    repeated: Annotated[int, Field(ge=0)]
    unsettled: Share


class Terms(NamedTuple):
    """Of a calibration: what a whole model takes beside, and instead of, the sum of its blocks."""

    constant_ms: float = 0.0
    sum_factor: float = 1.0
    per_block_ms: float = 0.0
    border_ms_per_million: float = 0.0
    mac_ms_per_billion: float = 0.0
    spill_ms_per_mb: float = 0.0
    cache_mb: float = 1.0


class WholeModels(Section):
    """A certificate of a measured table: predictions against whole models not used to make it.

    Attributes:
        models: How many.
        mape: Mean absolute error as a share of the measurement.
        within_5: Share of the models whose error is at most 5 %.
        within_10: The same for 10 %.
        rank_correlation: Spearman's.
        coverage: Share of the models under the upper bound.
        repeat_difference: Slowest over fastest of the timings of a model that count, less 1: mean.
        validated: When a later check made it.
        points: Predicted and measured, ms.
    """

    models: Annotated[int, Field(gt=0)]
    mape: NotNegative
    within_5: Share
    within_10: Share
    rank_correlation: Annotated[float, Field(ge=-1, le=1)]
    coverage: Share
    repeat_difference: NotNegative
    validated: datetime.date | None = None
    points: list[Annotated[list[Positive], Field(min_length=2, max_length=2)]] = []


class Calibration(Section):
    """How block sums become whole-model latencies, for one space, plan and some resolutions.

    `latency = constant_ms + sum_factor * sum of blocks + per_block_ms * number of blocks +
    border_ms_per_million * millions of values that enter and leave blocks + mac_ms_per_billion *
    billions of multiply-adds + spill_ms_per_mb * megabytes that do not stay in the cache`, and the
    interval is that times `lower_factor` to `upper_factor`. A block measured by itself finds its
    weights and its input in the cache; of a network's weights and of what passes between its blocks
    `cache_mb` stay there, and the rest is fetched each time (`nas.latency.predict.spilled_mb`).
    """

    space: str
    plan: str
    resolutions: list[int]
    precision: str
    constant_ms: Finite
    sum_factor: Positive
    per_block_ms: Finite
    border_ms_per_million: Finite
    mac_ms_per_billion: Finite
    spill_ms_per_mb: NotNegative
    cache_mb: Positive
    lower_factor: Annotated[float, Field(gt=0, le=1)]
    upper_factor: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    fit_models: int
    bound_models: int
    certificate: WholeModels

    @property
    def terms(self) -> Terms:
        """What turns sums into latencies."""
        return Terms(
            self.constant_ms,
            self.sum_factor,
            self.per_block_ms,
            self.border_ms_per_million,
            self.mac_ms_per_billion,
            self.spill_ms_per_mb,
            self.cache_mb,
        )


class Interpolation(Section):
    """How well blocks are predicted from the others: each measured one was left out in turn.

    Attributes:
        blocks: How many of the table's blocks are interpolated.
        median_error: Of those left out, as a share.
        p90_error: Nine of ten are within this.
    """

    blocks: Annotated[int, Field(gt=0)]
    median_error: NotNegative
    p90_error: NotNegative


class LeftOutFamily(Section):
    """Error of an estimate on a family of networks that was left out of the fit."""

    family: str
    device: str
    networks: int
    median_error: NotNegative
    largest_error: NotNegative


class LeftOutFamilies(Section):
    """The certificate of an estimated table."""

    kind: Literal["left-out-families"]
    median_error: NotNegative
    largest_error: NotNegative
    families: list[LeftOutFamily]


class DeviceFile(Section):
    """What `device.yaml` holds."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    aliases: list[str] = []
    hardware: str
    runtime: str
    runtime_version: str | None
    threads: Annotated[int, Field(gt=0)] | None
    mode: str | None
    precision: Literal["fp32", "fp16", "int8"]
    export: ExportSection
    provenance: Provenance
    session: SessionFacts | None = None
    rows: Annotated[int, Field(gt=0)] | None = None
    interpolation: Interpolation | None = None
    calibrations: list[Calibration] = []
    roofline: Roofline | None = None
    certificate: LeftOutFamilies | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> DeviceFile:
        estimated = self.provenance.kind == "estimated"
        if estimated and (self.roofline is None or self.certificate is None):
            raise ValueError("an estimated table has a roofline and a certificate")
        if not estimated and (self.rows is None or self.roofline is not None):
            raise ValueError("a measured table has rows, and no roofline")
        return self
