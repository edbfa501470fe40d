"""Ctrl-C stops cleanly with exit 130, says how to resume, and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nas.search.study import read_trials

LIMIT_S = 120


def start(options, folder, before="pass"):
    """`nas` in a process of its own that hears Ctrl-C, however the tests were started."""
    code = f"{before}; import sys; from nas.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        [*command, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition, process):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupt(process, number=signal.SIGINT):
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    return err


@pytest.mark.slow
def test_ctrl_c_during_training_and_during_the_search(tiny, tmp_path):
    run, cache = tmp_path / "run", tmp_path / "user-cache"
    options = [
        "search", "--device", "jetson-nano", "--budget", "2.7ms", "--space", tiny, "--trials", "12",
        "--finalists", "1", "--supernet-steps", "40", "--finetune-steps", "1", "--threads", "1",
        "--out", str(run),
    ]  # fmt: skip
    advice = (
        f"Stopped. What is finished is in {run}; the same command with --resume goes on from "
        "there.\nnas: stopped\n"
    )
    process = start(options, tmp_path)
    lock = cache / "supernets"  # made when training begins
    wait_until(lambda: lock.is_dir() and "start" in log_of(run), process)
    assert interrupt(process).endswith(advice)
    process = start([*options, "--resume"], tmp_path)
    wait_until(lambda: trials_in(run) >= 3, process)
    assert interrupt(process).endswith(advice)
    before = read_trials(run / "study.journal")
    assert 3 <= len(before) < 12 and not (run / "front.json").exists()
    process = start([*options, "--resume", "--json"], tmp_path)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err
    assert json.loads(out) == json.loads((run / "front.json").read_text())
    assert read_trials(run / "study.journal")[: len(before)] == before


def lines(path):
    return path.read_text().count("\n")


def log_of(run):
    path = run / "log.jsonl"
    return path.read_text() if path.exists() else ""


def trials_in(run):
    """Scored ones, from the lines of the storage."""
    journal = run / "study.journal"
    text = journal.read_text() if journal.exists() else ""
    return text.count('"values":[')


def test_ctrl_c_before_anything_was_written_leaves_nothing(nas, quick, tmp_path, monkeypatch):
    from nas.search import resolved

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(resolved, "time_speeds", stop)
    answer = nas(*quick, "--out", tmp_path / "run")
    assert (answer.code, answer.out) == (130, "")
    *data, stopped = answer.err.splitlines()
    assert stopped == "nas: stopped" and data[0].startswith("Data digits: ")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_during_a_profile_goes_on_from_there(tiny, tmp_path):
    """A real agent in a process of its own: it ends with the command and keeps what it has."""
    tables = tmp_path / "tables"
    process = start(
        ["profile", "--device", "mine", "--space", tiny, "--out", str(tables)], tmp_path
    )
    partial = tables / ".mine.partial"
    wait_until(lambda: any(lines(path) > 20 for path in partial.glob("*.part")), process)
    err = interrupt(process)
    assert err.endswith("Stopped. The same command goes on from there.\nnas: stopped\n")
    assert not (tables / "mine").exists()
    [journal] = partial.glob("*.json.part")
    assert lines(journal) > 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_as_ctrl_c_does(tmp_path, number):
    """What `docker stop` and a closed terminal send, while a file of seconds is being written."""
    bundle = tmp_path / "board.zip"
    process = start(["profile", "--device", "mine", "--bundle", str(bundle)], tmp_path)
    wait_until(lambda: any(tmp_path.glob(".board.zip.*")), process)
    assert interrupt(process, number) == "nas: stopped\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"work"}, "no leftovers"
