"""A session on a machine whose speed the test turns, with a clock that only its runs move."""

import json
import weakref

import numpy as np
import pytest

from nas.devices.agent import session as sessions
from nas.devices.agent.session import (
    DisturbedError,
    Entry,
    Session,
    by_item,
    is_settled,
    read_journal,
    to_line,
)
from nas.devices.agent.timing import Effort, SelfTimed, Timing

EFFORT = Effort(
    rounds=4, warmup_runs=1, min_runs=3, min_time_ms=0, agreement=1.02, repeats=2.0,
    most_unsettled=0.1,
)  # fmt: skip
ONE_RUN = Effort(4, 0, 1, 0, 1.02, 1.0, 1.0)
ITEMS = [str(number) for number in range(2, 12)]
REFERENCE = "1"
BESIDE = dict.fromkeys(ITEMS, REFERENCE)


class Machine:
    """An item's run takes as many milliseconds as its name says, times how slow the machine is.

    `slowness` is a function of the seconds since the start, `burst` one of the item that runs.
    """

    def __init__(self, slowness=lambda seconds: 1.0, burst=lambda name: 1.0):
        self.slowness, self.burst, self.now, self.loaded = slowness, burst, 0.0, []

    def load(self, name):
        self.loaded.append(name)

        def run():
            self.now += 1e-3 * int(name) * self.slowness(self.now) * self.burst(name)

        return run

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def session(machine, tmp_path, effort=EFFORT, seed=0):
    return Session(
        machine.load, effort, seed, str(tmp_path / "journal"), "job", machine.clock, machine.sleep
    )


def measure(machine, tmp_path, progress=lambda *_: None, beside=BESIDE, **options):
    return session(machine, tmp_path, **options).measure(beside, progress)


def assert_true(found):
    """The timings that count are those of a quiet machine."""
    entries = by_item(found.entries)
    for item in ITEMS:
        fastest = [entry.timing.latency_ms for entry in entries[item]][: EFFORT.rounds]
        assert fastest == pytest.approx([float(item)] * EFFORT.rounds)


def test_a_quiet_machine_is_measured_once(tmp_path):
    seen = []
    found = measure(Machine(), tmp_path, lambda *n: seen.append(n))
    assert_true(found)
    assert (found.repeated, found.unsettled) == (0, 0.0)
    assert found.references_ms == {REFERENCE: pytest.approx(1.0)}
    assert seen == [(n, 40) for n in range(1, 41)] + [(40, 40)]


def test_the_reference_is_timed_between_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "REFERENCE", ONE_RUN)
    machine = Machine()
    measure(machine, tmp_path, effort=ONE_RUN)
    items_ms = 4 * sum(range(2, 12))
    assert machine.now == pytest.approx(1e-3 * (items_ms + 41)), "41 references of 1 ms"


def test_nothing_is_loaded_while_the_reference_is_timed(tmp_path):
    """Threads of a loaded model that wait busily for its next call would slow it."""
    machine, alive = Machine(), []

    def load(name):
        run = machine.load(name)

        def checked():
            assert name != REFERENCE or not any(item() for item in alive)
            run()

        alive.extend([weakref.ref(checked)] if name != REFERENCE else [])
        return checked

    timer = session(machine, tmp_path)
    timer.load = load
    assert_true(timer.measure(BESIDE, lambda *_: None))
    assert len(alive) == 40


def test_it_says_that_it_is_alive_while_it_waits(tmp_path):
    """Nobody hears that a connection was cut but who speaks."""
    machine, seen = Machine(lambda seconds: 1.6 if 1.0 < seconds < 9.0 else 1.0), []
    assert_true(measure(machine, tmp_path, lambda *n: seen.append((machine.now, *n))))
    waits = [now for now, done, _ in seen if 1.0 < now < 9.0]
    assert len(waits) > 100 and max(np.diff(waits)) < 0.1
    assert len({done for now, done, _ in seen if 1.2 < now < 9.0}) == 1, "nothing is timed"


@pytest.mark.parametrize(("patience_s", "share"), [(30.0, 0.5), (0.0, 0.5), (0.0, 2.0)])
def test_it_does_not_wait_for_ever(tmp_path, monkeypatch, patience_s, share):
    """Waits take a share of the rest, or so many seconds in a short session."""
    monkeypatch.setattr(sessions, "PATIENCE_S", patience_s)
    monkeypatch.setattr(sessions, "WAIT_SHARE", share)
    machine = Machine(lambda seconds: 1.6 if seconds > 1.0 else 1.0)
    timer = session(machine, tmp_path, EFFORT._replace(agreement=9.0, most_unsettled=1.0))
    timer.measure(BESIDE, lambda *_: None)
    rest_s = machine.now - timer.waited_s
    assert timer.waited_s == pytest.approx(max(patience_s, share * rest_s), rel=0.1)


def test_what_comes_and_goes_while_a_model_is_loaded(tmp_path):
    """Another program takes turns of 50 ms: a timing of several stretches has some without it."""
    turns = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.08, 9999))

    class SlowLoader(Machine):
        def load(self, name):
            self.now += 0.03  # what the reference told no longer holds
            return super().load(name)

    def timed(most_time_ms):
        folder = tmp_path / str(most_time_ms)
        folder.mkdir()
        machine = SlowLoader(lambda seconds: 1.5 if np.searchsorted(turns, seconds) % 2 else 1.0)
        effort = EFFORT._replace(min_runs=1, repeats=4.0, most_time_ms=most_time_ms)
        return measure(machine, folder, effort=effort)

    found = timed(200.0)
    assert_true(found)
    assert found.unsettled == 0.0
    assert found.repeated < timed(0.0).repeated


def test_what_was_disturbed_is_timed_again(tmp_path):
    """Another program runs for a part of the session: nothing of it is left."""
    machine, seen = Machine(lambda seconds: 1.6 if 0.23 < seconds < 0.5 else 1.0), []
    found = measure(machine, tmp_path, lambda *n: seen.append(n))
    assert_true(found)
    assert found.repeated > 0 and found.unsettled == 0.0
    assert seen[-1] == (40 + found.repeated, 40 + found.repeated)
    assert all(done <= total for done, total in seen)


def test_a_machine_that_was_slow_from_the_start(tmp_path):
    """What counts as quiet is only known at the end."""
    found = measure(Machine(lambda seconds: 1.5 if seconds < 0.3 else 1.0), tmp_path)
    assert_true(found)
    assert found.repeated > 0 and found.unsettled == 0.0


def test_a_machine_that_gets_slower_and_slower_is_refused(tmp_path):
    with pytest.raises(DisturbedError) as caught:
        measure(Machine(lambda seconds: 1.0 + min(seconds, 20)), tmp_path)
    message = str(caught.value)
    assert message.startswith("the speed of this machine moved too much: ")
    assert message.endswith(
        "; try: end other programs, cool it or fix its clock (the next attempt measures all anew)"
    )
    assert not (tmp_path / "journal").exists(), "the next attempt begins afresh"


def test_what_a_small_reference_does_not_feel(tmp_path):
    """Others use the cache that cores share: only what does not fit a core's own is slower."""
    machine = Machine()
    machine.burst = lambda name: 1.3 if int(name) >= 8 and 0.1 < machine.now < 0.9 else 1.0
    beside = {item: "9" if int(item) >= 8 else REFERENCE for item in ITEMS}
    found = measure(machine, tmp_path, beside=beside)
    assert_true(found)
    assert found.references_ms == {REFERENCE: pytest.approx(1.0), "9": pytest.approx(9.0)}
    assert found.unsettled == 0.0


def test_bursts_between_two_references_do_not_count(tmp_path):
    """They do not show in the reference, but in timings that do not agree."""
    machine = Machine()
    machine.burst = lambda name: 1.5 if name != "1" and len(machine.loaded) % 4 == 0 else 1.0
    found = measure(machine, tmp_path)
    assert_true(found)
    assert found.repeated > 0 and found.unsettled == 0.0


def entries(*pairs):
    """Of latencies and of the reference's beside them."""
    return sorted(Entry(Timing(ms, ms, ms, 7), reference_ms) for ms, reference_ms in pairs)


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (entries((5, 1), (5, 1), (5, 1), (5, 1)), True),
        (entries((5, 1), (5, 1), (5, 1)), False),  # too few
        (entries((5, 1), (5, 1), (5, 1), (5.2, 1)), False),  # not alike
        (entries((5, 9), (5, 9), (5.05, 1.04), (5, 9)), True),  # one beside a quiet reference
        (entries((5, 9), (5, 9), (5, 9), (5, 1.06)), False),  # all in slow times
        (entries((5, 9), (5, 9), (5, 9), (5, 9), (5.05, 1)), True),
        (entries((5, 9), (5, 9), (5, 9), (5, 9), (5.2, 1)), False),  # faster than in quiet times
        ([], False),
    ],
)
def test_what_settles_an_item(found, settled):
    assert is_settled(found, 1.0, EFFORT) is settled


def test_what_never_agrees_is_given_up(tmp_path):
    """One item of ten is not steady by itself, the others are."""
    rng = np.random.default_rng(0)
    machine = Machine(burst=lambda name: rng.uniform(1, 9) if name == "7" else 1.0)
    found = measure(machine, tmp_path, effort=EFFORT._replace(min_runs=1, repeats=9.0))
    assert found.unsettled == 0.1
    assert machine.loaded.count("7") == sessions.MOST
    assert all(machine.loaded.count(item) == 4 for item in ITEMS if item != "7")


def test_it_is_not_repeated_without_end(tmp_path):
    rng = np.random.default_rng(0)
    machine = Machine(lambda seconds: rng.choice([1.0, 1.3]))
    for repeats in (0.0, 0.25, 1.0):
        effort = ONE_RUN._replace(repeats=repeats)
        (tmp_path / str(repeats)).mkdir()
        found = measure(machine, tmp_path / str(repeats), effort=effort)
        assert found.repeated <= 40 * repeats


class Stopped(Exception):  # noqa: N818
    pass


def stop_at(number):
    def progress(done, total):
        if done == number:
            raise Stopped

    return progress


@pytest.mark.parametrize("stopped_at", [1, 17, 39, 40])
def test_a_stopped_session_goes_on_where_it_was(tmp_path, stopped_at):
    with pytest.raises(Stopped):
        measure(Machine(), tmp_path, stop_at(stopped_at))
    machine, seen = Machine(), []
    found = measure(machine, tmp_path, lambda *n: seen.append(n))
    assert len(machine.loaded) == 40 - stopped_at + 1, "the rest, and the reference"
    assert_true(found)
    assert seen == [(n, 40) for n in range(stopped_at + 1, 41)] + [(40, 40)]


def test_a_slower_machine_after_a_stop_is_noticed(tmp_path):
    """The laptop was unplugged meanwhile: what it measures now does not fit to what it had."""
    with pytest.raises(Stopped):
        measure(Machine(), tmp_path, stop_at(12))
    with pytest.raises(DisturbedError, match="moved too much"):
        measure(Machine(lambda seconds: 2.0), tmp_path)


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path, entry = tmp_path / "journal", Entry(Timing(1.0, 1.2, 1.5, 7), 0.25)
    assert read_journal(str(path), "job") == {}
    with path.open("a") as file:
        for key in ((0, "one"), (1, "two")):
            file.write(json.dumps(to_line(key, entry)) + "\n")
    path.write_text(path.read_text()[:-5])
    assert read_journal(str(path), "job") == {(0, "one"): entry}
    assert all(json.loads(line) for line in path.read_text().splitlines()[1:])
    assert read_journal(str(path), "another job") == {}


@pytest.mark.parametrize(
    "damage",
    [
        b"\0\0\0\0\n", b"[0, 1]\n", b"\xff\n", b"7\n", b"{}\n", b"[\n",
        b'[3, "2", NaN, 1.0, 1.0, 7, 1.0]\n', b'[3, "2", -1.0, 1.0, 1.0, 7, 1.0]\n',
        b'[3, "2", 1.0, 1.0, Infinity, 7, 1.0]\n',
    ],
)  # fmt: skip
def test_a_damaged_journal_counts_up_to_the_damage(tmp_path, damage):
    """As a power cut leaves it."""
    with pytest.raises(Stopped):
        measure(Machine(), tmp_path, stop_at(12))
    with (tmp_path / "journal").open("ab") as file:
        last = to_line((3, "no such item"), Entry(Timing(1.0, 1.0, 1.0, 7), 1.0))
        file.write(json.dumps(last).encode() + b"\n" + damage)
        file.write(json.dumps(to_line((3, "2"), Entry(Timing(9.0, 9.0, 9.0, 7), 1.0))).encode())
    machine = Machine()
    found = measure(machine, tmp_path)
    assert_true(found)
    assert len(machine.loaded) == 40 - 12 + 1


def test_the_order_is_another_one_in_each_round_and_follows_the_seed(tmp_path):
    def order(seed, name):
        (tmp_path / name).mkdir()
        machine = Machine()
        measure(machine, tmp_path / name, seed=seed)
        return machine.loaded[1:]

    first = order(0, "a")
    assert first == order(0, "b") != order(1, "c")
    rounds = [first[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == sorted(ITEMS) for one in rounds)
    assert rounds[0] != rounds[1]


class OwnClock(SelfTimed):
    """Starts for seven seconds and then says what it found."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, name

    def time(self, effort):
        self.machine.now += 7
        self.machine.timed.append(self.name)
        slowness = self.machine.slowness(self.machine.now)
        taken = float(self.name) * slowness
        return Timing(taken, taken, 1.5 * float(self.name), effort.min_runs)


class SlowStarter(Machine):
    """A machine whose runtime times by itself."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.timed = []

    def load(self, name):
        return OwnClock(self, name)


def test_a_runtime_that_times_by_itself(tmp_path):
    machine = SlowStarter()
    found = measure(machine, tmp_path)
    assert_true(found)
    assert {entry.timing.runs for entry in found.entries.values()} == {EFFORT.min_runs}
    assert found.entries[0, "2"].timing.p95_ms == 3.0
    # A minute has room for nine starts: forty items lie between six references.
    places = [i for i, name in enumerate(machine.timed) if name == REFERENCE]
    assert places == [0, 10, 20, 30, 40, 45]


def test_a_runtime_that_times_by_itself_beside_two_references(tmp_path):
    """A stretch has items of one reference."""
    machine = SlowStarter()
    beside = {item: "20" if item == "5" else REFERENCE for item in ITEMS}
    assert_true(measure(machine, tmp_path, beside=beside))
    place = machine.timed.index("5")
    assert machine.timed[place - 1] == machine.timed[place + 1] == "20"


def test_its_disturbed_timings_are_done_again(tmp_path):
    machine = SlowStarter(lambda seconds: 1.5 if 70 < seconds < 140 else 1.0)
    found = measure(machine, tmp_path)
    assert_true(found)
    assert found.repeated > 0 and found.unsettled == 0.0
