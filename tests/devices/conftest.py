"""A board that measures nothing: its timings follow from the items, its machine is told."""

import json
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pytest

from nas.devices.agent.main import digest, read_job, write_result
from nas.devices.agent.session import Entry, Measured
from nas.devices.agent.timing import Effort, Timing
from nas.errors import MeasurementError

QUICK = Effort(
    rounds=2,
    warmup_runs=0,
    min_runs=2,
    min_time_ms=0.0,
    agreement=1e9,
    repeats=0.0,
    most_unsettled=1.0,
)


@dataclass
class Board:
    """A transport that answers from `latency_ms(item, round)`.

    Attributes:
        processor: What the board calls itself.
        version: Of its runtime.
        after: What it says of its conditions at the end.
        before: What it says of them at the start, where that is something else.
        lost_after: Timings after which the connection is lost, once.
        measured: What it was asked for, and had not measured before.
        reference_ms: Of the first, second, .. job.
        energy_mj: Of an item, where the board has a meter.
        meter: What that is called.
    """

    latency_ms: Callable[[str, int], float] = lambda item, number: (
        1.0 + 0.001 * (crc32(item.encode()) % 97)
    )
    processor: str = "a board"
    version: str = "1.30.0"
    after: dict = field(default_factory=lambda: {"load": 0.2})
    before: dict | None = None
    lost_after: int | None = None
    measured: list = field(default_factory=list)
    kept: dict = field(default_factory=dict)
    reference_ms: Callable[[int], float] = lambda jobs: 1.0
    place: str = "board"
    energy_mj: Callable[[str], float] | None = None
    meter: str = "RAPL package-0"

    def describe(self, runtime):
        machine = {"processor": self.processor, "architecture": "aarch64"}
        named = {"name": runtime, "version": self.version}
        return {"machine": machine, "conditions": self.before or self.after, "runtime": named}

    def run(self, bundle, job, result, progress):
        with zipfile.ZipFile(bundle) as archive:
            content = read_job(archive)
        assert content["id"] == job
        keys = [(n, i["id"]) for n in range(content["effort"][0]) for i in content["items"]]
        jobs = {of for of, _ in self.kept} | {job}
        reference_ms = self.reference_ms(len(jobs))
        for key in keys:
            if (job, key) not in self.kept:
                if len(self.measured) == self.lost_after:
                    self.lost_after = None
                    raise MeasurementError("the measurement on board was cut off")
                latency_ms = float(self.latency_ms(key[1], key[0]))
                self.kept[job, key] = Entry(
                    Timing(latency_ms, latency_ms, 1.2 * latency_ms, 5), reference_ms
                )
                self.measured.append(key)
            progress(sum(1 for k in keys if (job, k) in self.kept), len(keys))
        references_ms = dict.fromkeys(content["beside"].values(), reference_ms)
        found = Measured({key: self.kept[job, key] for key in keys}, references_ms, 0, 0.0)
        facts = self.describe(content["runtime"])
        result.parent.mkdir(parents=True, exist_ok=True)
        conditions = {"before": {"load": 0.1}, "after": self.after}
        energy = None
        if self.energy_mj is not None:
            told = {item["id"]: self.energy_mj(item["id"]) for item in content["items"]}
            energy = {"meter": self.meter, "millijoules": told}
        write_result(str(result), content, facts["runtime"], found, conditions, energy)
        written = result.read_text()
        # `write_result` describes the machine it runs on: this board is another one.
        told = json.loads(written)
        told["machine"] = facts["machine"]
        told["sha256"] = digest({k: v for k, v in told.items() if k != "sha256"})
        result.write_text(json.dumps(told))


@pytest.fixture
def board():
    return Board()


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    """A `trtexec` on PATH (`agent/trtexec.py`); the file with the commands that it was given."""
    program = Path(__file__).with_name("agent") / "trtexec.py"
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    log = tmp_path / "commands.txt"
    monkeypatch.setenv("TRTEXEC_LOG", str(log))
    return log
