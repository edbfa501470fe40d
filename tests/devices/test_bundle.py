"""Bundles run by themselves and are the same for the same job; other results are refused."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.devices import result_file
from nas.devices.agent import energy
from nas.devices.agent import main as agent
from nas.devices.agent.main import SCHEMA, digest
from nas.devices.bundle import Item, Job, is_bundle, read_result, write_agent, write_bundle
from nas.errors import ResultError
from nas.export.graph import GraphTarget, build_graph, random_weights
from nas.space.blocks import make_block

from .conftest import QUICK, Board


def item(name, channels=8):
    block = make_block("head", (4, 4), 8, channels, {"activation": "relu"})
    return Item(name, (("block", block),))


JOB = Job(
    "board", "onnxruntime", 1, QUICK, 0, GraphTarget(),
    (item("reference"),), (item("one"), item("two", 16)),
)  # fmt: skip


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "bundle.zip"
    return path, write_bundle(path, JOB)


@pytest.fixture
def result(packed, tmp_path, board):
    path, job = packed
    board.run(path, job, tmp_path / "results.json", lambda *_: None)
    return tmp_path / "results.json"


def test_the_same_job_is_the_same_bundle(packed, tmp_path):
    path, job = packed
    again = tmp_path / "again.zip"
    assert write_bundle(again, JOB) == job
    assert again.read_bytes() == path.read_bytes()
    assert write_bundle(again, replace(JOB, seed=1)) != job
    assert write_bundle(again, replace(JOB, items=JOB.items[:1])) != job


def test_ctrl_c_in_the_middle_of_an_entry_is_not_hidden(tmp_path, monkeypatch):
    opened = zipfile.ZipFile._open_to_write

    def interrupted(*args, **kwargs):
        opened(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "_open_to_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "bundle.zip", JOB)
    with pytest.raises(KeyboardInterrupt):
        write_agent(tmp_path / "bundle.zip")
    assert {path.name for path in tmp_path.iterdir()} <= {"work"}, "no leftovers"


def test_models_pack_small(tmp_path):
    block = make_block("classifier", (1, 1), 960, 1000, {
        "activation": "none", "hidden": 1280, "pooling": "mean",
    })  # fmt: skip
    large = Item("large", (("block", block),))
    write_bundle(tmp_path / "bundle.zip", replace(JOB, items=(large,)))
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        info = archive.getinfo("models/1.onnx")
    assert info.file_size > 9_000_000 and info.compress_size < 0.02 * info.file_size


def run_agent(path, *options, python=sys.executable):
    """As on a board: nothing of `nas` can be imported."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [python, "-S" if python != sys.executable else "-B", str(path), *options],
        capture_output=True, text=True, cwd="/", env=environment,
    )  # fmt: skip


def test_a_bundle_runs_by_itself(packed, tmp_path):
    path, job = packed
    done = run_agent(path)
    assert done.returncode == 0, done.stdout + done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    out = tmp_path / "bundle.results.json"
    assert messages[-1] == {"result": str(out)}
    assert {"progress": [4, 4]} in messages
    found = read_result(out, JOB, job)
    assert set(found.timings) == {"one", "two"}
    assert all(len(timings) == 2 for timings in found.timings.values())
    assert found.machine["processor"] and found.version
    assert sorted(p.name for p in tmp_path.glob("bundle*")) == ["bundle.results.json", "bundle.zip"]


def test_engines_are_kept_until_the_result_is_written(tmp_path, trtexec):
    """As on a Jetson, with the tests' trtexec: stopped after the first round, it goes on."""
    path, target = tmp_path / "bundle.zip", GraphTarget(opset=13, ir_version=7, hardswish=False)
    job = replace(JOB, runtime="tensorrt", target=target)
    job_id = write_bundle(path, job)
    work = tmp_path / "bundle.results.json.work"
    in_the_way = tmp_path / "bundle.results.json.tmp"
    in_the_way.mkdir()  # the result cannot be written: everything stays
    assert run_agent(path).returncode == 1
    assert len(list(work.glob("*.engine"))) == 3
    in_the_way.rmdir()
    done = run_agent(path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_result(tmp_path / "bundle.results.json", job, job_id)
    assert found.version == "8.2.1"
    assert {len(timings) for timings in found.timings.values()} == {2}
    commands = trtexec.read_text().splitlines()
    assert sum("--onnx" in command for command in commands) == 3, "each engine is built once"
    assert not work.exists()
    assert sorted(p.name for p in tmp_path.glob("bundle*")) == ["bundle.results.json", "bundle.zip"]


def test_two_agents_do_not_measure_for_the_same_result(packed, tmp_path, monkeypatch, capsys):
    """Also where the bundle was written anew in between."""
    monkeypatch.setattr(agent, "PATIENCE_S", 0.0)
    out = tmp_path / "r.json"
    command = ["--bundle", str(packed[0]), "--out", str(out)]
    with agent.claim(f"{out}.lock"):
        write_bundle(packed[0], JOB)
        assert agent.main(command) == 1
        assert json.loads(capsys.readouterr().out)["error"] == (
            "another process on this machine measures this bundle; try: the same command when it "
            "has ended"
        )
    assert agent.main(command) == 0
    assert not list(tmp_path.glob("*.lock"))


def test_an_agent_that_waited_for_another_takes_its_result(packed, tmp_path, monkeypatch):
    out = tmp_path / "r.json"
    other = agent.claim(f"{out}.lock")
    other.__enter__()

    def other_ends(_):
        out.write_text("theirs")
        other.__exit__(None, None, None)

    monkeypatch.setattr(agent.time, "sleep", other_ends)
    assert agent.main(["--bundle", str(packed[0]), "--out", str(out)]) == 0
    assert out.read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.glob("r.json*")) == ["r.json"]


def test_a_result_that_could_not_be_written_is_said_before_anything_is_timed(
    packed, tmp_path, capsys
):
    out = tmp_path / "folder"
    out.mkdir()
    assert agent.main(["--bundle", str(packed[0]), "--out", str(out)]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "error": f"{out} cannot be used: Is a directory; its folder needs space and rights"
    }


def test_a_bundle_with_a_changed_byte_is_damaged(packed, tmp_path):
    """Whatever the archive's own checks make of it."""
    path, whole = packed[0], packed[0].read_bytes()
    for place in range(0, len(whole), len(whole) // 12):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        done = run_agent(path)
        if done.returncode == 0 or not done.stdout:
            continue  # in a part that is not read, or Python itself refuses the archive
        assert done.returncode == 2, done.stdout + done.stderr
        assert "is not what was packed" in json.loads(done.stdout.splitlines()[-1])["error"]


def test_a_bundle_describes_the_machine(packed):
    done = run_agent(packed[0], "--describe", "onnxruntime")
    told = json.loads(done.stdout)
    assert told["machine"]["python"] and told["runtime"]["name"] == "onnxruntime"


def test_a_runtime_that_is_missing_is_an_error_in_one_line(packed, tmp_path):
    write_bundle(packed[0], replace(JOB, runtime="abacus"))
    done = run_agent(packed[0])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no such runtime: abacus" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("name", ["models/1.onnx", "job.json"])
def test_a_bundle_that_was_changed_is_refused_by_the_agent(packed, tmp_path, name):
    path, _ = packed
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == name:
                content = content.replace(b'"seed": 0', b'"seed": 7') + b" "
            new.writestr(info.filename, content)
    done = run_agent(changed)
    assert done.returncode == 2
    assert f"{name} is not what was packed" in json.loads(done.stdout.splitlines()[-1])["error"]


def test_a_result_is_read(result, packed):
    found = read_result(result, JOB, packed[1])
    assert found.machine == {"processor": "a board", "architecture": "aarch64"}
    assert (found.version, found.references_ms, found.repeated) == ("1.30.0", {"reference": 1.0}, 0)


def refused(path, job):
    with pytest.raises(ResultError) as caught:
        read_result(path, JOB, job)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message and "try: " in message
    return message


def test_a_result_of_another_bundle_is_refused(result):
    assert "is the result of another bundle; got " in refused(result, "0" * 64)


def resign(path, change):
    content = json.loads(path.read_text())
    change(content)
    content["sha256"] = digest({k: v for k, v in content.items() if k != "sha256"})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["timings"].pop(), "timings of two are missing"),
        (
            lambda c: c["timings"].append(c["timings"][0]),
            "that was not asked for: 'one', 0",
        ),
        (lambda c: c["timings"][0].__setitem__(1, "three"), "was not asked for: 'three', 0"),
        (lambda c: c["timings"][0].__setitem__(0, 30), "was not asked for: 'one', 30"),
        (lambda c: c["timings"][0].__setitem__(2, float("nan")), "above zero and finite"),
        (lambda c: c["timings"][0].__setitem__(2, -1.0), "above zero and finite"),
        (lambda c: c["timings"][0].__setitem__(3, 1e99), "above zero and finite"),
        (lambda c: c["timings"][0].__setitem__(2, "fast"), "a timing has another form"),
        (lambda c: c["timings"].__setitem__(0, {}), "a timing has another form"),
        (lambda c: c.update(schema=1), "it is not a result of this version"),
        (lambda c: c.pop("machine"), "machine is missing or of a wrong type"),
        (
            lambda c: c["machine"].update(processor=["x"]),
            "not described by short texts",
        ),
        (lambda c: c["machine"].update(processor="x\nname: y"), "not described by short texts"),
        (lambda c: c["runtime"].pop("version"), "the runtime has no version"),
        (lambda c: c["references_ms"].update(reference=-1.0), "references_ms is not what its timi"),
        (lambda c: c["references_ms"].update(reference=0.5), "references_ms is not what its timi"),
        (lambda c: c["references_ms"].update(reference=None), "references_ms is not what its ti"),
        (lambda c: c["references_ms"].update(other=1.0), "references_ms is not what its timings"),
        (lambda c: c.update(repeated=-5), "repeated is not what its timings say"),
        (lambda c: c.update(repeated=10**400), "repeated is not what its timings say"),
        (lambda c: c.update(unsettled=0.9), "unsettled is not what its timings say"),
        (lambda c: c.update(unsettled=float("nan")), "unsettled is not what its timings say"),
        (lambda c: c.update(threads=64), "of another runtime or number of threads"),
        (lambda c: c["runtime"].update(name="openvino"), "of another runtime or number of threads"),
        (lambda c: c["runtime"].update(version="\x1b[31mx"), "the runtime has no version"),
        (lambda c: c["runtime"].update(version="1" * 1000), "the runtime has no version"),
        (lambda c: c["machine"].update(cores=True), "not described by short texts"),
        (lambda c: c["machine"].update(cores=10**400), "not described by short texts"),
        (lambda c: c["machine"].update({"\x1b[31m": 1}), "not described by short texts"),
        (lambda c: c["conditions"].pop("after"), "its conditions are not those before and after"),
        (lambda c: c["conditions"]["after"].update(power_mode=5), "its power_mode is not a text"),
        (lambda c: c["timings"][0].__setitem__(2, 1e-300), "above zero and finite"),
        (lambda c: c["timings"][0].__setitem__(5, 10**300), "the number of runs of 'one' is out"),
    ],
)
def test_a_hostile_result_is_refused(result, packed, change, reason):
    resign(result, change)
    assert reason in refused(result, packed[1])


def told(**changes):
    return lambda c: c.update(energy={"meter": "RAPL", "millijoules": {"one": 1.5}, **changes})


def test_energies_are_read_where_a_meter_told_them(result, packed):
    assert read_result(result, JOB, packed[1]).energies == {}
    resign(result, told())
    found = read_result(result, JOB, packed[1])
    assert (found.energies, found.meter) == ({"one": 1.5}, "RAPL")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (told(millijoules={"one": float("nan")}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": float("inf")}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": 0.0}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": -1.0}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": 1e99}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": True}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"one": "1"}), "above zero and finite, that of 'one' is not"),
        (told(millijoules={"three\n": 1.0}), "was not asked for: 'three\\n'"),
        (told(millijoules=[1.0]), "its energies have another form"),
        (told(meter=None), "its energies have another form"),
        (told(meter="x\nname: y"), "its energies have another form"),
        (told(more=1), "its energies have another form"),
        (lambda c: c.update(energy=[]), "its energies have another form"),
    ],
)
def test_a_hostile_energy_is_refused(result, packed, change, reason):
    resign(result, change)
    assert reason in refused(result, packed[1])


def test_an_agent_on_a_board_with_a_meter(packed, tmp_path, monkeypatch):
    """The agent itself, in this process, with a processor's counter that moves as it is read."""
    path = tmp_path / "bundle.zip"
    job = replace(JOB, effort=QUICK._replace(energy=True))
    job_id = write_bundle(path, job)
    monkeypatch.setattr(energy, "ROOT", f"{tmp_path}/")
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("5\n")
    monkeypatch.setattr(energy, "COUNTER_S", 0.0)
    monkeypatch.setattr(energy, "_used_uj", lambda zone, before: 2500)
    said = []
    monkeypatch.setattr(agent, "say", said.append)
    out = tmp_path / "results.json"
    agent.measure(str(path), str(out))
    found = read_result(out, job, job_id)
    assert (found.energies, found.meter) == ({"one": 2.5, "two": 2.5}, "RAPL package-0")
    assert said[-1] == {"progress": [6, 6]}, "two rounds of two items, then their energy"
    assert not list(tmp_path.glob("*.part"))
    (zone / "energy_uj").unlink()
    agent.measure(str(path), str(out))
    assert "energy" not in json.loads(out.read_text())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 3}', b"[" * 99999])
def test_what_is_no_result_is_refused(result, packed, content):
    result.write_bytes(content)
    assert "cannot be used as a result" in refused(result, packed[1])


def test_a_result_that_was_changed_or_cut_off_is_refused(result, packed):
    text = result.read_text()
    result.write_text(text.replace("1.2", "1.1", 1))
    assert "its hash does not fit" in refused(result, packed[1])
    result.write_text(text[: len(text) // 2])
    assert "it is not JSON" in refused(result, packed[1])
    result.unlink()
    assert "No such file" in refused(result, packed[1])


def test_a_result_that_claims_to_be_huge_is_not_read(result, packed, monkeypatch):
    monkeypatch.setattr("nas.devices.result_file.LARGEST_RESULT", 100)
    assert "it is larger than 100 bytes" in refused(result, packed[1])


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)))  # fmt: skip
def test_no_json_gets_through(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("results") / "results.json"
    path.write_text(json.dumps({**content, "schema": SCHEMA}))
    refused(path, "0" * 64)


def test_boards_that_answer_the_same_make_the_same_result(packed, tmp_path):
    path, job = packed
    results = []
    for name in ("a", "b"):
        Board().run(path, job, tmp_path / name, lambda *_: None)
        results.append(read_result(tmp_path / name, JOB, job))
    assert results[0] == results[1]


def test_a_file_is_packed_as_it_is(tmp_path):
    model = build_graph(item("any").blocks, random_weights(3), JOB.target, {"of": "a search"})
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    job = replace(JOB, items=(Item("file", file=tmp_path / "model.onnx"), *JOB.items))
    job_id = write_bundle(tmp_path / "bundle.zip", job)
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        packed = archive.read("models/1.onnx")
    assert packed == (tmp_path / "model.onnx").read_bytes()
    done = run_agent(tmp_path / "bundle.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_result(tmp_path / "bundle.results.json", job, job_id)
    assert set(found.timings) == {"file", "one", "two"}
    (tmp_path / "model.onnx").write_bytes(packed + b"\x00")
    assert write_bundle(tmp_path / "bundle.zip", job) != job_id


def test_only_regular_files_of_a_sane_size_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    monkeypatch.setattr(result_file, "LARGEST_RESULT", 10)
    for name, reason in [
        ("pipe", "it is not a regular file"), (".", "it is not a regular file"),
        ("large", "it is larger than 10 bytes"), ("none", "No such file or directory"),
    ]:  # fmt: skip
        assert reason in refused(tmp_path / name, "0" * 64)


def test_what_is_a_bundle(packed, tmp_path):
    (tmp_path / "thesis.zip").write_bytes(b"PK years of work")
    assert is_bundle(packed[0])
    assert not any(is_bundle(tmp_path / name) for name in ("thesis.zip", ".", "none"))
