"""What every way to a board does: measure, go on after a cut, leave nothing behind."""

import time
from dataclasses import replace

import psutil
import pytest

from nas.devices.bundle import Item, Job, read_result, write_bundle
from nas.devices.profile import profile
from nas.errors import MeasurementError
from nas.export.graph import GraphTarget
from nas.space.blocks import make_block

from ..conftest import QUICK
from ..test_profile import DEVICE, settings


def item(name, channels=8):
    block = make_block("head", (4, 4), 8, channels, {"activation": "relu"})
    return Item(name, (("block", block),))


JOB = Job(
    "board", "onnxruntime", 1, QUICK, 0, GraphTarget(), (item("reference"),),
    tuple(item(f"item {n}", 8 * n) for n in range(1, 6)),
)  # fmt: skip


def test_it_describes_the_board(far):
    told = far.transport.describe("onnxruntime")
    assert told["machine"]["processor"] and told["machine"]["cores"]
    assert told["runtime"]["name"] == "onnxruntime" and told["runtime"]["version"]
    assert far.leftovers() == []


def test_it_measures_a_bundle_and_leaves_nothing_behind(far, tmp_path):
    job = write_bundle(tmp_path / "bundle.zip", JOB)
    seen = []
    far.transport.run(tmp_path / "bundle.zip", job, tmp_path / "r.json", lambda *n: seen.append(n))
    found = read_result(tmp_path / "r.json", JOB, job)
    assert set(found.timings) == {one.id for one in JOB.items}
    assert seen[-1] == (10, 10)
    assert far.leftovers() == []


def test_a_whole_profile(far, tmp_path):
    table = profile(settings(), far.transport, tmp_path / "tables")
    assert table.device.hardware and table.provenance == "measured"
    assert [path.name for path in (tmp_path / "tables").iterdir()] == [DEVICE]
    assert far.leftovers() == []


def test_a_cut_connection_is_picked_up(far, tmp_path):
    """Cut half-way: the board keeps what it has, and nothing is timed twice."""
    items = tuple(item(f"item {n}", 8 * n) for n in range(1, 9))
    job = replace(JOB, items=items, effort=QUICK._replace(min_time_ms=60.0, rounds=4))
    job_id = write_bundle(tmp_path / "bundle.zip", job)
    arguments = (tmp_path / "bundle.zip", job_id, tmp_path / "r.json")
    cuts = []

    def cut(done, total):
        if done >= 8 and not cuts:
            cuts.append(done)
            far.cut(job_id)

    with pytest.raises(MeasurementError, match=r"was cut off: .*; try: the same command goes on"):
        far.transport.run(*arguments, cut)
    assert far.leftovers(), "what was timed is kept"
    far.mend()
    seen = []
    far.transport.run(*arguments, lambda done, total: seen.append(done))
    assert seen[0] > 8 and seen[-1] == 32
    assert len(read_result(tmp_path / "r.json", job, job_id).timings) == 8
    assert far.leftovers() == []


def test_a_result_that_was_not_fetched_is_not_measured_again(far, tmp_path, monkeypatch):
    job_id = write_bundle(tmp_path / "bundle.zip", JOB)
    arguments = (tmp_path / "bundle.zip", job_id, tmp_path / "r.json")
    with monkeypatch.context() as cut:
        cut.setattr(type(far.transport), "pull", lambda *_: ["false"])
        with pytest.raises(MeasurementError, match="no reason given"):
            far.transport.run(*arguments, lambda *_: None)
    seen = []
    far.transport.run(*arguments, lambda *n: seen.append(n))
    assert seen == []
    assert len(read_result(tmp_path / "r.json", JOB, job_id).timings) == 5
    assert far.leftovers() == []


def test_a_board_without_the_runtime(far):
    with pytest.raises(MeasurementError, match=rf"^{far.name}: no such runtime: abacus"):
        far.transport.describe("abacus")
    assert far.leftovers() == []


def test_a_board_without_python(far):
    with pytest.raises(MeasurementError) as caught:
        far.with_python("python-of-nobody").describe("onnxruntime")
    message = str(caught.value)
    assert message.startswith(f"{far.name} cannot run the interpreter python-of-nobody: ")
    assert message.endswith(
        "not found; allowed: Python 3.6 or newer, with the runtime that is measured; "
        "try: --python /path/to/python3"
    )
    assert far.leftovers() == []


def test_a_python_that_may_not_be_run(far, tmp_path):
    (tmp_path / "python3").write_text("")
    with pytest.raises(MeasurementError, match="cannot run the interpreter .*ermission denied; "):
        far.with_python(str(tmp_path / "python3")).describe("onnxruntime")


def test_the_agent_ends_with_the_connection(far, tmp_path):
    """No process stays on the board after the client is gone."""
    job = replace(JOB, effort=QUICK._replace(min_time_ms=100.0, rounds=50))
    job_id = write_bundle(tmp_path / "bundle.zip", job)

    def cut(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        far.transport.run(tmp_path / "bundle.zip", job_id, tmp_path / "r.json", cut)
    end = time.monotonic() + 20
    while _agents(job_id):
        assert time.monotonic() < end, "the agent goes on without anyone listening"
        time.sleep(0.1)


def _agents(job_id):
    processes = psutil.process_iter(["cmdline"])
    return [p for p in processes if f"nas-agent/{job_id[:16]}" in " ".join(p.info["cmdline"] or [])]
