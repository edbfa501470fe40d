"""TensorRT's trtexec: what is asked of it, and what is read from the times that it exports.

No GPU and no TensorRT is needed: `trtexec.py` beside this file takes the same command line.
"""

import json
import stat

import pytest

from nas.devices.agent.runtimes import RefusedError, trtexec
from nas.devices.agent.session import REFERENCE
from nas.devices.agent.timing import Effort
from nas.devices.targets import BOARDS
from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.space.blocks import make_block

EFFORT = Effort(3, 0, 7, 2500.0, 1.0, 0.0, 1.0)

# In the form of `exportJSONTrace` of the releases 8.2 and 10.3; numbers of a Jetson Nano's size.
OLD = """\
[
  { "startEnqMs" : 0.0078, "endEnqMs" : 5.1, "startH2dMs" : 0.02, "endH2dMs" : 0.02, \
"startComputeMs" : 0.03, "endComputeMs" : 95.2, "startD2hMs" : 95.2, "endD2hMs" : 95.2, \
"h2dMs" : 0, "computeMs" : 95.17, "d2hMs" : 0, "latencyMs" : 95.17, "endToEndMs" : 95.2 }
, { "startEnqMs" : 199.9, "endEnqMs" : 201.2, "startH2dMs" : 200, "endH2dMs" : 200, \
"startComputeMs" : 200, "endComputeMs" : 290.1, "startD2hMs" : 290.1, "endD2hMs" : 290.1, \
"h2dMs" : 0, "computeMs" : 90.1, "d2hMs" : 0, "latencyMs" : 90.1, "endToEndMs" : 90.2 }
, { "startEnqMs" : 290.3, "endEnqMs" : 295.2, "startH2dMs" : 290.3, "endH2dMs" : 290.3, \
"startComputeMs" : 290.4, "endComputeMs" : 380.2, "startD2hMs" : 380.2, "endD2hMs" : 380.2, \
"h2dMs" : 0, "computeMs" : 89.8125, "d2hMs" : 0, "latencyMs" : 89.8125, "endToEndMs" : 89.9 }
]
"""
NEW = """\
[
  { "startEnqMs" : 200.111, "endEnqMs" : 200.2, "startH2dMs" : 200.1, "endH2dMs" : 200.1, \
"startComputeMs" : 200.15, "endComputeMs" : 201.4, "startD2hMs" : 201.4, "endD2hMs" : 201.4, \
"h2dMs" : 0, "computeMs" : 1.25, "d2hMs" : 0, "latencyMs" : 1.25 }
, { "startEnqMs" : 201.5, "endEnqMs" : 201.6, "startH2dMs" : 201.5, "endH2dMs" : 201.5, \
"startComputeMs" : 201.5, "endComputeMs" : 202.7, "startD2hMs" : 202.7, "endD2hMs" : 202.7, \
"h2dMs" : 0, "computeMs" : 1.20001, "d2hMs" : 0, "latencyMs" : 1.20001 }
]
"""


@pytest.mark.parametrize(
    ("text", "times"), [(OLD, [90.1, 89.8125]), (NEW, [1.25, 1.20001])], ids=["8.2", "10.3"]
)
def test_exported_times_are_read_without_the_warm_up(tmp_path, text, times):
    path = tmp_path / "times.json"
    path.write_text(text)
    assert trtexec.read_times(str(path), 200) == times


@pytest.mark.parametrize(
    "text",
    [
        "",
        OLD[:200],
        OLD[: OLD.rindex("]")],
        "{}",
        "[]\n",
        "[1, 2]",
        '[{"computeMs": 1.0}]',
        NEW.replace("computeMs", "gpuMs"),
        NEW.replace("1.25", "nan"),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : NaN'),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : Infinity'),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : -1.25'),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : 0'),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : null'),
        NEW.replace('"computeMs" : 1.25', '"computeMs" : "fast"'),
        NEW.replace("20", "1"),
        "[" * 99999,
    ],
)
def test_what_are_no_times_is_refused(tmp_path, text):
    path = tmp_path / "times.json"
    path.write_text(text)
    with pytest.raises(RefusedError) as caught:
        trtexec.read_times(str(path), 200)
    assert str(caught.value).startswith("tensorrt: what trtexec exported are no times: ")
    assert "\n" not in str(caught.value)


def test_times_that_were_not_written_are_refused(tmp_path):
    with pytest.raises(RefusedError, match="are no times: FileNotFoundError"):
        trtexec.read_times(str(tmp_path / "none"), 200)


def model(channels=8, target=BOARDS):
    block = make_block("conv", (8, 8), 8, channels, {"activation": "hardswish", "kernel": 3,
                                                     "stride": 1})  # fmt: skip
    return build_graph([("block", block)], random_weights(0), target).SerializeToString()


def commands(log):
    return [line for line in log.read_text().splitlines() if line != "--help"]


def test_an_engine_is_built_once_and_loaded_for_every_timing(trtexec, tmp_path):
    runtime, work = load_runtime(), tmp_path / "engines"
    for _ in range(2):
        found = runtime.load(model(), 1, str(work)).time(EFFORT)
        assert found.runs == 7
        assert 0 < found.latency_ms <= found.p95_ms < 1e5, "without the warm-up"
    build, *loads = commands(trtexec)
    [engine] = work.glob("*.engine")
    assert build == (
        f"--onnx={engine}.onnx --saveEngine={engine}.part --fp16 "
        f"--timingCacheFile={work}/timing-8.2.1.cache --buildOnly --workspace=1024"
    )
    assert loads == 2 * [
        f"--loadEngine={engine} --noDataTransfers --useSpinWait --warmUp=200 --iterations=7 "
        f"--duration=2 --exportTimes={engine}.times.json"
    ]
    left = {path.name for path in work.iterdir()}
    assert left == {engine.name, "timing-8.2.1.cache"}, "no leftovers"


def test_a_newer_version_is_asked_in_its_own_words(trtexec, tmp_path, monkeypatch):
    monkeypatch.setenv("TRTEXEC_VERSION", "100300")
    runtime = load_runtime()
    assert runtime.version() == "10.3.0"
    assert runtime.load(model(target=GraphTarget(hardswish=False)), 1, str(tmp_path)).time(EFFORT)
    assert commands(trtexec)[0].endswith("timing-10.3.0.cache --skipInference")


def test_two_models_have_two_engines_and_one_timing_cache(trtexec, tmp_path):
    runtime = load_runtime()
    for channels in (8, 16):
        runtime.load(model(channels), 1, str(tmp_path))
    assert len(list(tmp_path.glob("*.engine"))) == 2
    assert (tmp_path / "timing-8.2.1.cache").read_text() == "kernels\nkernels\n"


def test_the_reference_is_of_as_many_runs_as_elsewhere(trtexec, tmp_path):
    timing = load_runtime().load(model(), 1, str(tmp_path)).time(REFERENCE)
    assert timing.runs == REFERENCE.fewest_runs == 6


def test_another_version_builds_its_own_engine(trtexec, tmp_path, monkeypatch):
    load_runtime().load(model(), 1, str(tmp_path))
    monkeypatch.setenv("TRTEXEC_VERSION", "8205")
    load_runtime().load(model(), 1, str(tmp_path)).time(EFFORT)
    assert len(list(tmp_path.glob("*.engine"))) == 2


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (GraphTarget(), r'\[HardSwish -> "logits"\]: ... Engine set up failed$'),
        (GraphTarget(hardswish=False), "opset 17, IR 8 are too new$"),
    ],
)
def test_what_8_2_does_not_read_is_refused(trtexec, tmp_path, target, reason):
    with pytest.raises(RefusedError, match=f"^tensorrt refuses the model: .*{reason}"):
        load_runtime().load(model(target=target), 1, str(tmp_path))
    assert not list(tmp_path.glob("*.engine")), "nothing half built is taken for an engine"


def test_an_engine_that_was_damaged_is_refused(trtexec, tmp_path):
    engine = load_runtime().load(model(), 1, str(tmp_path))
    next(tmp_path.glob("*.engine")).write_bytes(b"something else")
    with pytest.raises(RefusedError) as caught:
        engine.time(EFFORT)
    assert str(caught.value) == (
        "tensorrt refuses the model: [TRT] 1: [stdArchiveReader.cpp::35] Error Code 1: "
        "Serialization (Version tag does not match) ... Engine set up failed"
    )


def program(tmp_path, monkeypatch, script):
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tool.parent))
    trtexec._version.cache_clear()
    return tool


def load_runtime():
    """Its version is remembered by the path of the program."""
    trtexec._version.cache_clear()
    return trtexec


def test_without_trtexec(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError) as caught:
        trtexec.version()
    assert str(caught.value) == (
        "tensorrt needs trtexec, which is neither on PATH nor /usr/src/tensorrt/bin/trtexec; "
        "try: on a Jetson sudo apt install libnvinfer-bin, elsewhere NVIDIA's TensorRT"
    )


def test_where_jetpack_has_it(tmp_path, monkeypatch):
    tool = program(tmp_path, monkeypatch, "echo '&&&& RUNNING TensorRT.trtexec [TensorRT v8201] #'")
    monkeypatch.setattr(trtexec, "JETPACK", str(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trtexec.version() == "8.2.1"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo hello", "tensorrt: .*bin/trtexec does not say which version it is"),
        ("exit 127", "tensorrt: trtexec --help failed: trtexec ended with code 127"),
        ("kill -9 $$", "tensorrt: trtexec --help failed: trtexec ended with code -9"),
        ("echo '[1] [E] no\x07 CUDA'; exit 1", "tensorrt: trtexec --help failed: no CUDA$"),
    ],
)
def test_a_trtexec_that_does_not_work(tmp_path, monkeypatch, script, message):
    program(tmp_path, monkeypatch, script)
    with pytest.raises(RefusedError, match=message):
        trtexec.version()


def test_a_trtexec_that_cannot_be_started(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "").write_bytes(b"\x7fELF of another machine")
    with pytest.raises(RefusedError, match="trtexec cannot be started: "):
        trtexec.version()


def test_the_samples_are_what_json_reads():
    assert set(json.loads(OLD)[0]) - set(json.loads(NEW)[0]) == {"endToEndMs"}
