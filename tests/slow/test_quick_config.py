"""The shipped configuration that shows every part works."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_quick_configuration_runs_to_the_end(start, tmp_path):
    command = ["search", "--config", "quick", "--json"]
    printed = start(command, tmp_path / "home").finish()
    [run] = (tmp_path / "home" / "runs").iterdir()
    assert run.name.startswith("jetson-nano-9ms-")
    front = json.loads(printed)
    assert front == json.loads((run / "front.json").read_text())
    assert 1 <= len(front["models"]) <= 4
    for model in front["models"]:
        assert model["latency_ms"]["jetson-nano"]["upper"] <= 9
        assert (run / model["files"]["onnx"]).is_file()
    assert (run / "report.html").stat().st_size > 100_000
    assert json.loads(start(command, tmp_path / "home").finish()) == front
