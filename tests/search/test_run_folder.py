"""A run folder is absent, unfinished or finished, and one process works in it at a time."""

import json
import subprocess
import sys

import pytest

from nas.errors import RunFolderError
from nas.search.folders import LOCK
from nas.search.run_folder import RunFolder, check_state


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "runs" / "one")


def begin(run, settings):
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_run({"schema": 1, "settings": settings.model_dump(mode="json", by_alias=True)})


def test_states(run, make_settings):
    assert run.state == "absent"
    run.path.mkdir(parents=True)
    assert run.state == "absent"
    begin(run, make_settings())
    assert run.state == "unfinished"
    run.front.write_text("{}")
    assert run.state == "finished"


def test_a_lock_or_a_half_written_run_file_alone_is_no_run(run, make_settings):
    run.path.mkdir(parents=True)
    (run.path / LOCK).touch()
    (run.path / ".run.yaml.x1y2").write_text("schema")
    assert check_state(run, make_settings(), resume=False) == "absent"


def refused(run, settings, resume=False):
    with pytest.raises(RunFolderError) as caught:
        check_state(run, settings, resume)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_something_else_is_left_alone(run, make_settings):
    run.path.mkdir(parents=True)
    (run.path / "thesis.tex").write_text("mine")
    for resume in (False, True):
        assert refused(run, make_settings(), resume) == (
            f"{run.path} holds something that is not a run; allowed: a new or empty folder, or "
            "one that nas search made; try: --out OTHER_FOLDER"
        )
    assert [path.name for path in run.path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_run(tmp_path, make_settings):
    (tmp_path / "file").write_text("mine")
    message = refused(RunFolder(tmp_path / "file"), make_settings())
    assert message.startswith(f"{tmp_path / 'file'} holds something that is not a run; ")


def test_an_unfinished_run_is_continued_only_when_asked(run, make_settings):
    begin(run, make_settings())
    assert refused(run, make_settings()) == (
        f"{run.path} holds an unfinished run; try: the same command with --resume to continue "
        "it, or --out OTHER_FOLDER"
    )
    assert check_state(run, make_settings(), resume=True) == "unfinished"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_refused_and_named(run, make_settings, finished, resume):
    begin(run, make_settings(seed=4))
    if finished:
        run.front.write_text("{}")
    assert refused(run, make_settings(seed=5), resume) == (
        f"{run.path} holds a run with other settings; got 'seed 4 there, 5 now'; try: --out "
        "OTHER_FOLDER, or the settings in its run.yaml"
    )
    assert check_state(run, make_settings(seed=4), resume=True) != "absent"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: [", "while parsing"),
        ("- 1", "it is not a run of this version"),
        ("schema: 2", "it is not a run of this version"),
        ("", "it is not a run of this version"),
    ],
)
def test_a_broken_run_file_is_refused(run, make_settings, content, reason):
    run.path.mkdir(parents=True)
    run.run_file.write_text(content)
    message = refused(run, make_settings())
    assert message.startswith(f"{run.run_file} cannot be read as a run: {reason}")
    assert message.endswith(
        "; allowed: a folder that nas search made; try: another --out for a new run"
    )


def test_an_empty_folder_does_not_stay(run):
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    assert not run.path.exists() and not run.path.parent.exists()


def test_a_folder_that_was_there_stays(run):
    run.path.mkdir(parents=True)
    with run.locked():
        pass
    assert run.path.is_dir() and not list(run.path.iterdir())


def test_what_was_written_stays(run):
    with pytest.raises(ZeroDivisionError), run.locked():
        run.log("start")
        raise ZeroDivisionError
    assert run.logged("start")["event"] == "start"


HOLD = """
import sys
from pathlib import Path
from nas.search.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(run):
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunFolderError) as caught, run.locked():
            pass
        assert str(caught.value) == (
            f"another process is working in {run.path}; try: wait for it, or choose another --out"
        )
        other.kill()  # nothing is cleaned up, as after a power cut
        other.wait()
    with run.locked():
        run.log("mine")
    assert run.logged("mine")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    run = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(RunFolderError) as caught, run.locked():
        pass
    assert str(caught.value) == (
        f"{run.path} cannot be written: Not a directory; allowed: a folder that this user may "
        "write; try: another place"
    )


def test_the_log_is_read_past_a_line_that_was_cut_off(run):
    run.path.mkdir(parents=True)
    run.log("search", trials=3)
    run.log("search", trials=5)
    run.log("finished")
    with (run.path / "log.jsonl").open("a") as file:
        file.write('[]\n5\n{"time": 1.0}\n{"time": 1.0, "event": "sea')
    with (run.path / "log.jsonl").open("ab") as file:
        file.write(b"\xff\xfe")
    assert run.logged("search")["trials"] == 5
    assert run.logged("never") == {}


def test_a_line_after_a_cut_off_one_is_whole(run):
    run.path.mkdir(parents=True)
    (run.path / "log.jsonl").write_text('{"time": 1.0, "event": "sea')
    run.log("search", trials=7)
    assert run.logged("search")["trials"] == 7
    lines = (run.path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["trials"] == 7


def test_a_missing_front_says_what_to_do(run):
    with pytest.raises(
        RunFolderError, match=r"front\.json cannot be read: .*; try: delete .*--resume"
    ):
        run.read_front()
