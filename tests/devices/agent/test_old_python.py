"""The agent under the oldest Python at hand: on JetPack 4.6 it is 3.6, with onnxruntime 1.10.

`NAS_OLD_PYTHON=/path/to/python3.6` names one with onnxruntime; else those on the PATH are tried.
"""

import json
import os
import shutil
import subprocess

import pytest

from nas.devices.bundle import Item, Job, read_result, write_bundle
from nas.devices.targets import BOARDS
from nas.space import load_space
from nas.space.sample import smallest

from ..conftest import QUICK

NAMES = ("python3.6", "python3.7", "python3.8", "python3.9")


@pytest.fixture(scope="module")
def old_python():
    """The interpreter and its version."""
    named = os.environ.get("NAS_OLD_PYTHON")
    for program in [named] if named else filter(None, map(shutil.which, NAMES)):
        told = _run(program, "-c", "import onnxruntime, platform; print(platform.python_version())")
        if told.returncode == 0:
            return program, told.stdout.split()[-1]
        assert not named, f"NAS_OLD_PYTHON={named} does not import onnxruntime: {told.stderr}"
    pytest.skip(
        f"no {', '.join(NAMES)} with onnxruntime on the PATH: NAS_OLD_PYTHON=/path/to/python3.6"
    )


def _run(program, *arguments):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([program, *arguments], env=plain, capture_output=True, text=True)


def test_it_describes_the_machine(old_python, tmp_path):
    program, version = old_python
    write_bundle(tmp_path / "board.zip", _job())
    done = _run(program, str(tmp_path / "board.zip"), "--describe", "onnxruntime")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["python"] == version
    assert told["runtime"]["name"] == "onnxruntime" and told["runtime"]["version"]


def test_it_measures_a_bundle_from_end_to_end(old_python, tmp_path):
    program, version = old_python
    job = _job()
    job_id = write_bundle(tmp_path / "board.zip", job)
    done = _run(program, str(tmp_path / "board.zip"))
    assert done.returncode == 0, done.stdout + done.stderr
    result = tmp_path / "board.results.json"
    assert json.loads(done.stdout.splitlines()[-1]) == {"result": str(result)}
    found = read_result(result, job, job_id)
    assert set(found.timings) == {"smallest", "reference network"}
    assert found.machine["python"] == version
    assert not list(tmp_path.glob("*.part"))


def test_stopped_it_goes_on(old_python, tmp_path):
    """What the journal holds is not timed again."""
    program, _ = old_python
    job = _job()
    job_id = write_bundle(tmp_path / "board.zip", job)
    kept = [0, "smallest", 1e-6, 1e-6, 12.5, 3, 1e-6]
    journal = tmp_path / "board.results.json.part"
    journal.write_text(f"{job_id}\n{json.dumps(kept)}\n[1, cut o")
    done = _run(program, str(tmp_path / "board.zip"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_result(tmp_path / "board.results.json", job, job_id)
    assert found.timings["smallest"][0].latency_ms == 1e-6, "the fastest timings count"


def _job():
    """Whole networks in the form for old boards: hard-swish, squeeze-and-excitation, skips."""
    space = load_space("mobilenetv3")
    least = space.network(smallest(space, "small"), 10)
    items = (Item("smallest", least.blocks),
             Item("reference network", space.reference("mobilenet_v3_small").blocks))  # fmt: skip
    return Job(
        "board", "onnxruntime", 1, QUICK, 0, BOARDS, (Item("reference", least.blocks),), items
    )
