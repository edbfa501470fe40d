"""kill -9 in every phase: the run goes on, loses no finished trial, and ends in the same front."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.search.study import read_trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TINY = Path(__file__).resolve().parents[1] / "files" / "tiny.yaml"
# Long enough for a checkpoint while the supernet is trained, short enough for a minute in all.
OPTIONS = [
    "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", str(TINY), "--trials",
    "32", "--finalists", "4", "--supernet-steps", "1500", "--finetune-steps", "60", "--threads",
    "1", "--seed", "3", "--json", "--out", "run",
]  # fmt: skip


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return tmp_path_factory.mktemp("homes")


@pytest.fixture
def undisturbed(homes, start):
    """The folder of a run that nobody disturbed, made once."""
    home = homes / "undisturbed"
    if not (home / "run" / "front.json").exists():
        start(OPTIONS, home).finish()
    return home / "run"


def events(run):
    path = run / "log.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["event"] for line in lines]


def in_supernet(run):
    """While it is trained, and some of it is saved."""
    saved = list((run.parent / "cache" / "supernets").glob("*.safetensors"))
    return bool(saved) and "supernet" not in events(run)


def in_search(run):
    journal = run / "study.journal"
    return journal.exists() and journal.read_bytes().count(b'"values":[') >= 10


def in_finalists(run):
    """When a model is done and the next one is being fine-tuned."""
    return len(list((run / "work").glob("*.json"))) >= 2


def assert_same(run, undisturbed):
    for name in ("front.json", "baselines.json", "data.json"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name
    models = sorted(path.name for path in (undisturbed / "models").iterdir())
    assert sorted(path.name for path in (run / "models").iterdir()) == models
    for name in models:
        assert (run / "models" / name).read_bytes() == (undisturbed / "models" / name).read_bytes()
    assert scored(run) == scored(undisturbed)
    assert not (run / "work").exists()


def scored(run):
    """All that trials hold but their numbers, which also count the ones that were cut off."""
    return [{**vars(record), "number": None} for record in read_trials(run / "study.journal")]


@pytest.mark.parametrize("phases", [
    [in_supernet], [in_search], [in_finalists], [in_supernet, in_search, in_search, in_finalists],
], ids=["supernet", "search", "finalists", "all of them"])  # fmt: skip
def test_a_killed_run_goes_on_as_if_nothing_had_happened(undisturbed, start, tmp_path, phases):
    run, before = tmp_path / "home" / "run", []
    for number, phase in enumerate(phases):
        options = [*OPTIONS, "--resume"] if number else OPTIONS
        start(options, run.parent).kill_when(lambda phase=phase: phase(run))
        assert not (run / "front.json").exists()
        records = read_trials(run / "study.journal")
        assert records[: len(before)] == before
        before = records
    printed = start([*OPTIONS, "--resume"], run.parent).finish()
    assert json.loads(printed) == json.loads((run / "front.json").read_text())
    assert read_trials(run / "study.journal")[: len(before)] == before, "a finished trial was lost"
    if phases[0] is in_supernet:
        said = (run.parent / "errors-1.txt").read_text()
        assert "Supernet continued at step " in said
    assert_same(run, undisturbed)


def test_the_same_seed_on_another_machine_like_this_one(undisturbed, start, tmp_path):
    """Empty caches, another place: the same files."""
    start(OPTIONS, tmp_path / "home").finish()
    assert_same(tmp_path / "home" / "run", undisturbed)


def test_a_run_killed_while_it_works_needs_resume(start, tmp_path):
    run = tmp_path / "home" / "run"
    start(OPTIONS, run.parent).kill_when(lambda: "start" in events(run))
    again = start(OPTIONS, run.parent)
    again.popen.communicate()
    assert again.popen.returncode == 2
    assert again.errors.read_text() == (
        "nas: run holds an unfinished run; try: the same command with --resume to continue it, or "
        "--out OTHER_FOLDER\n"
    )
