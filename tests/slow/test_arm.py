"""`nas profile` with a 64-bit Arm board at the other end: the path, not the speed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nas.cli.main import main
from nas.devices.agent.timing import Effort
from nas.devices.quality import QUALITIES
from nas.files import cache_folder
from nas.latency.table import read_table

from .arm_board import HOST, ArmBoard, arm_board, missing

pytestmark = pytest.mark.slow

# (2 + 4 + 8) x (3 + 9 + 27) = 546 networks of few blocks: 190 of them are measured.
SPACE = """\
schema: 1
name: tiny
description: for tests
plans:
  small: {resolutions: [8], stem_stride: 1, strides: [2, 2]}
stem: {channels: 8, activation: relu}
stages:
  - {op: depthwise_separable, channels: 8, depth: [1, 2, 3], kernel: [3, 5], activation: relu}
  - {channels: 16, depth: [1, 2, 3], expand: [1, 2, 3], activation: relu}
"""
EFFORT = Effort(
    rounds=2,
    warmup_runs=0,
    min_runs=1,
    min_time_ms=0.0,
    agreement=1e9,
    repeats=0.0,
    most_unsettled=1.0,
)
"""Timings under emulation mean nothing: as few as make a table, and none is done again."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArmBoard]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with arm_board(cache_folder() / "tests", tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def profile(board: ArmBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`nas profile` of the small space, with the few timings that make sense here."""
    quick = replace(QUALITIES["normal"], share=1.0, effort=EFFORT)
    monkeypatch.setitem(QUALITIES, "normal", quick)
    monkeypatch.setenv("PATH", f"{board.programs}:{os.environ['PATH']}")
    (tmp_path / "tiny.yaml").write_text(SPACE)
    out = str(tmp_path / "tables")
    always = ("--device", "arm", "--space", str(tmp_path / "tiny.yaml"), "--out", out)
    return lambda *options: main(["profile", *always, *options])


class Watch(threading.Thread):
    """Looks at the journal on the board until `stop`; calls `act` once it holds `lines` timings."""

    def __init__(self, board: ArmBoard, lines: float = float("inf"), act: object = None) -> None:
        super().__init__(daemon=True)
        self.board, self.lines, self.act = board, lines, act
        self.journal: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            found = self.board.journal()
            self.journal = found or self.journal
            if callable(self.act) and len(found) >= self.lines:
                self.act()
                self.act = None

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


def test_a_profile_over_ssh_that_is_cut_half_way(
    board: ArmBoard,
    profile: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Watch(board, 120, board.cut):
        assert profile("--host", HOST) == 1
    said = capsys.readouterr().err
    assert f"nas: the measurement on {HOST} was cut off: " in said
    assert said.endswith("; try: the same command goes on where it was\n")
    kept = board.journal()
    assert len(kept) >= 120 and board.leftovers(), "what was timed stays on the board"

    with Watch(board) as second:
        assert profile("--host", HOST) == 0
    assert second.journal[: len(kept)] == kept, "what was timed is kept"
    keys = [tuple(json.loads(line)[:2]) for line in second.journal]
    assert len(keys) > len(kept) and len(set(keys)) == len(keys), "nothing is timed twice"
    assert board.leftovers() == []

    table = read_table(tmp_path / "tables" / "arm")
    machine = table.device.provenance.machine
    assert machine["architecture"] == "aarch64" and str(machine["python"]).startswith("3.11.")
    assert table.device.runtime_version == "1.27.0"
    assert table.device.calibrations[0].certificate.models == 30
    assert "architecture: aarch64" in (table.folder / "device.yaml").read_text()
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["arm"]


def test_a_bundle_that_is_carried_there_and_back(
    board: ArmBoard, profile: Callable[..., int], tmp_path: Path
) -> None:
    assert profile("--bundle", str(tmp_path / "board.zip")) == 0
    shutil.copy(tmp_path / "board.zip", board.root / "root")
    ssh = [str(board.programs / "ssh"), HOST]
    done = subprocess.run([*ssh, "python3 board.zip"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"result": "board.results.json"}
    result = board.root / "root" / "board.results.json"
    assert board.leftovers() == [result, board.root / "root" / "board.zip"]
    assert profile("--import", str(result)) == 0
    device = read_table(tmp_path / "tables" / "arm").device
    assert device.provenance.machine["architecture"] == "aarch64"
    assert (device.export.opset, device.export.ir_version) == (13, 7)
