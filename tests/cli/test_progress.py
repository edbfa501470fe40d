"""Progress on standard error: lines for files and pipes, bars on a terminal."""

import io
import sys

import pytest

from nas.cli import progress
from nas.cli.progress import TerminalWatcher
from nas.search.watch import TrialWatcher


@pytest.fixture
def clock(monkeypatch):
    """Time that moves when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_first_and_the_last_of_a_stage_and_now_and_then_one(capsys, clock):
    with TerminalWatcher() as watcher:
        for done in range(101):
            watcher.progress("supernet", done, 100)
            clock[0] += 1.0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "supernet 0/100",
        "supernet 15/100, 1 min 25 s left",
        "supernet 30/100, 1 min 10 s left",
        "supernet 45/100, 55 s left",
        "supernet 60/100, 40 s left",
        "supernet 75/100, 25 s left",
        "supernet 90/100, 10 s left",
        "supernet 100/100",
    ]


def test_a_continued_stage_is_judged_by_what_was_done_here(capsys, clock):
    with TerminalWatcher() as watcher:
        watcher.progress("supernet", 80, 100)
        clock[0] += 20.0
        watcher.progress("supernet", 90, 100)
    assert capsys.readouterr().err.splitlines() == [
        "supernet 80/100",
        "supernet 90/100, 20 s left",
    ]


def test_a_trial_that_takes_long_shows_its_steps(capsys, clock):
    with TerminalWatcher() as terminal:
        watcher = TrialWatcher(terminal)
        watcher.step(1, 4)  # nothing has begun
        watcher.progress("search", 0, 12)
        for step in range(1, 5):
            watcher.step(step, 4)
            clock[0] += 8.0
        watcher.progress("search", 1, 12, "front 1")
        for step in range(1, 5):
            clock[0] += 8.0
            watcher.step(step, 4)
    assert capsys.readouterr().err.splitlines() == [
        "search 0/12",
        "search 0/12, 5 min 04 s left; training step 3 of 4",
        "search 1/12, 5 min 52 s left; front 1",
        "search 1/12, 6 min 04 s left; front 1; training step 3 of 4",
    ]


def test_the_last_trial_is_done_when_it_is_scored(capsys, clock):
    with TerminalWatcher() as terminal:
        watcher = TrialWatcher(terminal)
        watcher.progress("search", 11, 12)
        for step in range(1, 5):
            watcher.step(step, 4)
            clock[0] += 16.0
        watcher.progress("search", 12, 12)
    assert capsys.readouterr().err.splitlines() == [
        "search 11/12",
        "search 11/12, 24 s left; training step 2 of 4",
        "search 11/12, 21 s left; training step 3 of 4",
        "search 11/12, 12 s left; training step 4 of 4",
        "search 12/12",
    ]


def test_what_is_said_is_a_line(capsys):
    with TerminalWatcher() as watcher:
        watcher.say("This takes about [1 min]")
    assert capsys.readouterr().err == "This takes about [1 min]\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with TerminalWatcher() as watcher:
        watcher.progress("search", 3, 12)
        watcher.say("a [line] above")
        watcher.progress("search", 12, 12, "front 3, best 71.2 %")
    text = terminal.getvalue()
    assert "search" in text and "12/12" in text and "a [line] above" in text
    assert text.index("12/12") < text.index("front 3, best 71.2 %")


def test_a_bar_tells_the_time_left_of_trials_that_take_minutes(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with TerminalWatcher() as bars:
        watcher = TrialWatcher(bars)
        watcher.progress("search", 4, 12)
        for step in range(1, 4):
            watcher.step(step, 4)
            clock[0] += 60.0
    assert "4/12" in terminal.getvalue()
    assert "24 min 40 s left" in terminal.getvalue()


def test_a_note_ends_the_line(capsys):
    with TerminalWatcher() as watcher:
        watcher.progress("search", 12, 12, "front 3, best 71.2 %")
    assert capsys.readouterr().err == "search 12/12; front 3, best 71.2 %\n"
