"""onnxruntime reports to nobody where `nas` uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
import nas
from nas.export.graph import GraphTarget, random_weights
from nas.export.onnx_file import write_onnx
from nas.space import sample
import onnxruntime

space = nas.load_space("mobilenetv3")
network = space.network(sample.smallest(space, "small"), 10)
[file] = write_onnx(Path(sys.argv[1]), network, random_weights(0), GraphTarget(), {})
onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
"""


# onnxruntime is silent by itself where it takes itself to be in somebody's CI.
OTHERS = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME")


def run(program: str, *arguments: str, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**kept, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_onnxruntime_keeps_no_identifier_to_report_with(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run(PROGRAM, str(tmp_path / "model.onnx"), HOME=str(home))
    assert not list(home.rglob("deviceid"))


def test_who_wants_to_report_may() -> None:
    program = "import os, nas; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(program) == "1\n"
    assert run(program, ORT_DISABLE_TELEMETRY="0") == "0\n"
