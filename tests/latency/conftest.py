"""A small measured table, and a way to write one that is broken."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.latency.device_file import Calibration, DeviceFile, WholeModels
from nas.latency.table import LatencyTable, Row, write_table
from nas.space.blocks import BlockKey, make_block

SPATIAL = {"activation": "relu", "kernel": 3, "stride": 1}
NAME = "nuc-onnxruntime"


def blocks() -> list[BlockKey]:
    linear = {"activation": "none", "hidden": 0, "pooling": "mean"}
    return [
        BlockKey(make_block("stem", (16, 16), 3, 16, SPATIAL)),
        BlockKey(make_block("depthwise_separable", (16, 16), 16, 32, {**SPATIAL, "stride": 2})),
        BlockKey(make_block("classifier", (8, 8), 32, 10, linear)),
    ]


def calibration(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "space": "tiny", "plan": "small", "resolutions": [16], "precision": "fp32",
        "constant_ms": 0.01, "sum_factor": 0.9, "per_block_ms": -0.001,
        "border_ms_per_million": -0.02, "mac_ms_per_billion": 3, "spill_ms_per_mb": 0.5,
        "cache_mb": 0.01,
        "lower_factor": 0.95, "upper_factor": 1.08, "fit_models": 12, "bound_models": 50,
        "certificate": WholeModels(
            models=30, mape=0.02, within_5=0.9, within_10=1, rank_correlation=0.99, coverage=0.97,
            repeat_difference=0.01, points=[[1.0, 1.1], [2.0, 2.05]],
        ),
    }  # fmt: skip
    return Calibration(**{**values, **changes})


def device(rows: int, **changes: Any) -> DeviceFile:
    values: dict[str, Any] = {
        "schema": 1, "name": NAME, "aliases": ["nuc"],
        "hardware": "a processor: with a colon", "runtime": "onnxruntime",
        "runtime_version": "1.31.1", "threads": 1, "mode": None, "precision": "fp32",
        "export": {"opset": 17, "ir_version": 8, "hardswish": True},
        "provenance": {
            "kind": "measured", "date": datetime.date(2026, 3, 1), "method": "median of 5 rounds",
            "machine": {"cores": 4, "governor": None, "system": "Linux"},
        },
        "rows": rows, "calibrations": [calibration()],
    }  # fmt: skip
    return DeviceFile.model_validate({**values, **changes})


def table(folder: Path, rows: dict[BlockKey, Row] | None = None, **changes: Any) -> LatencyTable:
    if rows is None:
        rows = {key: Row(0.1 * (i + 1), 0.001, 0.0, 100) for i, key in enumerate(blocks())}
    return LatencyTable(device(len(rows), **changes), rows, folder)


@pytest.fixture(scope="session")
def make_table() -> Callable[..., LatencyTable]:
    return table


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of tables."""
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "mine"))
    return tmp_path / "mine" / "latency_tables"


@pytest.fixture
def written(tables: Path) -> Path:
    """The folder of a table on disk."""
    folder = tables / NAME
    write_table(table(folder))
    return folder
