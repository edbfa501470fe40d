"""A session on a machine whose speed the test turns, with a clock that only its runs move."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

from nas.devices.measure import Effort, Timing
from nas.devices.session import Entry, Item, Journal, Session
from nas.errors import MeasurementError
from nas.export.graph import GraphTarget
from nas.space.blocks import make_block

EFFORT = Effort(rounds=4, warmup_runs=1, min_runs=3, min_time_ns=0)


def item(number):
    """Items differ in their number of channels, which is how the machine knows them."""
    block = make_block("head", (4, 4), 8, 8 * number, {"activation": "relu"})
    return Item(f"item {number}", (("block", block),))


REFERENCE = item(1)
ITEMS = [item(number) for number in range(2, 12)]


@dataclass
class Machine:
    """Runs take milliseconds as their item's number, times how slow the machine is just then.

    Attributes:
        slowness: Of the time in seconds since the start.
    """

    slowness: object = lambda seconds: 1.0
    name: str = "machine"
    version: str = "1"
    threads: int = 1
    target: GraphTarget = field(default_factory=GraphTarget)
    now_ns: int = 0
    loaded: list[int] = field(default_factory=list)

    def load(self, model):
        import onnx

        graph = onnx.load_model_from_string(model).graph
        number = graph.output[0].type.tensor_type.shape.dim[1].dim_value // 8
        self.loaded.append(number)

        def run():
            self.now_ns += int(1e6 * number * self.slowness(self.now_ns * 1e-9))

        return run

    def clock(self):
        return self.now_ns


def session(machine, tmp_path, effort=EFFORT, seed=0):
    journal = Journal(tmp_path / "journal.jsonl", "these settings")
    return Session(machine, effort, seed, REFERENCE, journal, machine.clock)


def medians(found):
    return {
        name: np.median([timing.latency_ms for timing in timings])
        for name, timings in found.timings.items()
    }


def true_latencies():
    return {one.id: float(one.id.split()[1]) for one in ITEMS}


def test_a_quiet_machine_is_measured_once(tmp_path):
    machine, seen = Machine(), []
    found = session(machine, tmp_path).measure(ITEMS, lambda *n: seen.append(n))
    assert medians(found) == pytest.approx(true_latencies())
    assert all(len(timings) == EFFORT.rounds for timings in found.timings.values())
    assert (found.repeated, found.disturbed) == (0, 0.0)
    assert found.reference_ms == pytest.approx(1.0)
    assert seen == [(n, 40) for n in range(1, 41)]


def test_the_reference_is_timed_between_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 1)
    monkeypatch.setattr("nas.devices.session.REFERENCE", Effort(1, 0, 1, 0))
    machine = Machine()
    session(machine, tmp_path, Effort(4, 0, 1, 0)).measure(ITEMS)
    items_ms = 4 * sum(range(2, 12))
    assert machine.now_ns == (items_ms + 41) * 1_000_000, "41 references of 1 ms"


def test_what_was_disturbed_is_timed_again(tmp_path, monkeypatch):
    """Another program runs for a part of the session: nothing of it is left."""
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 50_000_000)
    machine = Machine(lambda seconds: 1.6 if 0.2 < seconds < 0.5 else 1.0)
    seen = []
    found = session(machine, tmp_path).measure(ITEMS, lambda *n: seen.append(n))
    assert medians(found) == pytest.approx(true_latencies())
    assert all(t.latency_ms < 12 for ts in found.timings.values() for t in ts)
    for name, timings in found.timings.items():
        assert [t.latency_ms for t in timings] == pytest.approx([true_latencies()[name]] * 4)
    assert found.repeated > 0 and found.disturbed == 0.0
    assert seen[-1] == (40 + found.repeated, 40 + found.repeated)
    assert all(done <= total for done, total in seen)


def test_a_machine_that_was_slow_from_the_start(tmp_path, monkeypatch):
    """What counts as quiet is only known at the end."""
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 50_000_000)
    machine = Machine(lambda seconds: 1.5 if seconds < 0.3 else 1.0)
    found = session(machine, tmp_path).measure(ITEMS)
    assert medians(found) == pytest.approx(true_latencies())
    assert found.repeated > 0 and found.disturbed == 0.0


def test_a_machine_that_gets_slower_and_slower_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 50_000_000)
    machine = Machine(lambda seconds: 1.0 + 2 * seconds)
    timed = session(machine, tmp_path)
    with pytest.raises(MeasurementError) as caught:
        timed.measure(ITEMS)
    message = str(caught.value)
    assert message.startswith("the speed of this machine moved too much: beside ")
    assert message.endswith(
        "; try: end other programs, cool it or fix its clock, then the same command"
    )
    assert not timed.journal.path.exists(), "the next attempt begins afresh"


def test_it_is_not_repeated_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 1)
    rng = np.random.default_rng(0)
    machine = Machine(lambda seconds: rng.choice([1.0, 1.3]))
    found = session(machine, tmp_path, Effort(4, 0, 1, 0)).measure(ITEMS)
    assert found.repeated <= 40


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
        session(Machine(), tmp_path).measure(ITEMS, stop_at(stopped_at))
    machine, seen = Machine(), []
    found = session(machine, tmp_path).measure(ITEMS, lambda *n: seen.append(n))
    assert len(machine.loaded) == 40 - stopped_at + 1, "the rest, and the reference"
    assert medians(found) == pytest.approx(true_latencies())
    assert seen == [(n, 40) for n in range(stopped_at + 1, 41)]


def test_a_slower_machine_after_a_stop_is_noticed(tmp_path, monkeypatch):
    """The laptop was unplugged meanwhile: what it measures now does not fit to what it had."""
    monkeypatch.setattr("nas.devices.session.STRETCH_NS", 50_000_000)
    with pytest.raises(Stopped):
        session(Machine(), tmp_path).measure(ITEMS, stop_at(12))
    with pytest.raises(MeasurementError, match="moved too much"):
        session(Machine(lambda seconds: 2.0), tmp_path).measure(ITEMS)


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", "settings")
    assert journal.read() == {}
    entry = Entry(Timing(1.0, 1.5, 7), 0.25)
    journal.append(0, "one", entry)
    journal.append(1, "two", entry)
    text = journal.path.read_text()
    journal.path.write_text(text[:-5])
    assert journal.read() == {(0, "one"): entry}
    assert all(json.loads(line) for line in journal.path.read_text().splitlines()[1:])
    assert Journal(journal.path, "other settings").read() == {}


def test_the_order_is_another_one_in_each_round_and_follows_the_seed(tmp_path):
    def order(seed, folder):
        machine = Machine()
        session(machine, tmp_path / folder, seed=seed).measure(ITEMS)
        return machine.loaded[1:]

    first = order(0, "a")
    assert first == order(0, "b") != order(1, "c")
    rounds = [first[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(2, 12)) for one in rounds)
    assert rounds[0] != rounds[1]
