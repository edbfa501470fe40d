"""TensorRT in fp16, through the `trtexec` that belongs to it and times by itself.

Options are those of version 8.2 (JetPack 4.6) and of newer ones. Facts about them are from the
source of trtexec in the releases 8.2 to 10 (`samples/common` of NVIDIA's TensorRT repository).
"""

import functools
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
from typing import List, Tuple

from ..timing import Effort, SelfTimed, Timing, summary
from . import RefusedError

JETPACK = "/usr/src/tensorrt/bin/trtexec"
WORKSPACE_MB = 1024
"""What a layer may need besides. 8.2 allows 16 unless told, too little for its better kernels."""
WORKSPACE_SINCE = (8, 4)
"""From here on all memory is allowed, and `--workspace` is on its way out."""
SKIP_SINCE = (8, 6)
"""`--buildOnly` became `--skipInference`."""
WARM_UP_MS = 200
LONGEST_REASON = 300

Version = Tuple[int, int, int]


def version() -> str:
    """TensorRT's version, such as 8.2.1."""
    return ".".join(str(number) for number in _version(_program()))


def load(model: bytes, threads: int, work: str) -> SelfTimed:
    """The model's engine, which is built once and kept in `work`; takes up to a minute."""
    del threads
    program = _program()
    found = _version(program)
    os.makedirs(work, exist_ok=True)
    name = "{}-{}.{}.{}".format(hashlib.sha256(model).hexdigest()[:32], *found)
    engine = os.path.join(work, name + ".engine")
    if not os.path.exists(engine):
        _build(program, found, model, engine)
    return Engine(program, engine)


class Engine(SelfTimed):
    """A built engine. Each timing is a process: that of one model cannot disturb another's."""

    def __init__(self, program: str, path: str) -> None:
        self.program, self.path = program, path

    def time(self, effort: Effort) -> Timing:
        """Times of the GPU alone, without copies to and from it."""
        times = self.path + ".times.json"
        _run([
            self.program, "--loadEngine=" + self.path, "--noDataTransfers", "--useSpinWait",
            f"--warmUp={WARM_UP_MS}", f"--iterations={effort.fewest_runs}",
            f"--duration={int(effort.min_time_ms // 1000)}", "--exportTimes=" + times,
        ])  # fmt: skip
        found = read_times(times, WARM_UP_MS)
        os.remove(times)
        return summary(found)


def read_times(path: str, warm_up_ms: float) -> List[float]:
    """Times of the GPU in milliseconds, as `--exportTimes` writes them.

    What began during the warm-up is left out: 8.2 writes it, too, newer versions do not.

    Raises:
        RefusedError: They are not such times.
    """
    try:
        with open(path, encoding="utf-8") as file:
            runs = json.load(file)
        times = [
            float(run["computeMs"]) for run in runs if float(run["startComputeMs"]) >= warm_up_ms
        ]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as cause:
        raise RefusedError(f"tensorrt: {_NO_TIMES}: {cause!r}"[:LONGEST_REASON]) from cause
    if not times or not all(time > 0 and math.isfinite(time) for time in times):
        raise RefusedError(f"tensorrt: {_NO_TIMES}: none, or not above zero and finite")
    return times


_NO_TIMES = "what trtexec exported are no times"


def _build(program: str, found: Version, model: bytes, engine: str) -> None:
    """Whole or not at all; kernels that were timed for one model are not timed for the next."""
    onnx, part = engine + ".onnx", engine + ".part"
    with open(onnx, "wb") as file:
        file.write(model)
    cache = os.path.join(os.path.dirname(engine), "timing-{}.{}.{}.cache".format(*found))
    _run([
        program, "--onnx=" + onnx, "--saveEngine=" + part, "--fp16", "--timingCacheFile=" + cache,
        "--skipInference" if found >= SKIP_SINCE else "--buildOnly",
        *([] if found >= WORKSPACE_SINCE else [f"--workspace={WORKSPACE_MB}"]),
    ])  # fmt: skip
    os.remove(onnx)
    os.replace(part, engine)


def _program() -> str:
    found = shutil.which("trtexec") or shutil.which(JETPACK)
    if found is None:
        raise RefusedError(
            f"tensorrt needs trtexec, which is neither on PATH nor {JETPACK}; try: on a Jetson "
            "sudo apt install libnvinfer-bin, elsewhere NVIDIA's TensorRT"
        )
    return found


@functools.lru_cache(maxsize=8)
def _version(program: str) -> Version:
    """From its first line: `TensorRT v8201` is 8.2.1, `TensorRT v100300` is 10.3.0."""
    banner = _run([program, "--help"], ": trtexec --help failed")
    said = re.search(r"\[TensorRT v(\d{4,6})\]", banner)
    if said is None:
        raise RefusedError(f"tensorrt: {program} does not say which version it is")
    number = int(said.group(1))
    large = 10000 if number >= 10000 else 1000
    return number // large, number % large // 100, number % 100


def _run(command: List[str], failed: str = " refuses the model") -> str:
    """What the program says.

    Raises:
        RefusedError: It failed.
    """
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)  # fmt: skip
    except OSError as cause:
        raise RefusedError(f"tensorrt: {command[0]} cannot be started: {cause}") from cause
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise RefusedError(f"tensorrt{failed}: {_reason(said, done.returncode)}")
    return said


def _reason(said: str, code: int) -> str:
    """The first error tells what was wrong, the last one what became of it."""
    errors = [line.partition("[E]")[2].strip() for line in said.splitlines() if "[E]" in line]
    if not errors:
        return f"trtexec ended with code {code}"
    reason = errors[0] if len(errors) == 1 else f"{errors[0]} ... {errors[-1]}"
    return "".join(c for c in reason if c.isprintable())[:LONGEST_REASON]
