"""The loop that keeps an executor busy: nothing twice, what fails is tried again and told."""

import math
import random
from collections import Counter

import pytest
from optuna.study import Study
from optuna.trial import TrialState

from nas.accuracy.score import Fidelity, Score
from nas.errors import NasError
from nas.latency.predict import Predictor
from nas.latency.table import load_table
from nas.search import trials
from nas.search.candidates import check_limits
from nas.search.choosing import promote
from nas.search.costing import Costing
from nas.search.executors.executor import Outcome
from nas.search.goals import make_goals
from nas.search.proposals import Hunt, Promoted
from nas.search.samplers.repairing import quiet_optuna
from nas.search.store import Journal
from nas.search.study import interrupt_trial, open_study, read_trials
from nas.search.trials import ATTEMPTS, FAILURES, Rung, run_trials


class Several:
    """Slots that end in any order; `answers` says how, by attempt."""

    def __init__(self, slots, answer, seed=0):
        self.slots, self.answer = slots, answer
        self.random = random.Random(seed)
        self.running = {}
        self.most = 0
        self.begun = Counter()
        self.fidelities = []

    def free(self):
        return self.slots - len(self.running)

    def submit(self, job, architecture, fidelity):
        assert self.free() > 0 and job not in self.running
        self.running[job] = architecture
        self.begun[architecture.id] += 1
        self.fidelities.append(fidelity)
        self.most = max(self.most, len(self.running))

    def wait(self):
        job = self.random.choice(list(self.running))
        architecture = self.running.pop(job)
        found = self.answer(architecture, self.begun[architecture.id])
        return [Outcome(job, None, found) if isinstance(found, str) else Outcome(job, found)]

    def close(self):
        pass


def score(architecture, attempt):
    return Score(int(architecture.id, 16) % 300, 300)


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


@pytest.fixture
def hunt(space, make_settings):
    def make(**changes):
        settings = make_settings(**changes)
        predictors = {d: Predictor(load_table(d), space, "small", 10) for d in settings.devices}
        costing = Costing(predictors, make_goals(settings), 9000)
        return Hunt(settings, costing, check_limits(costing, settings.seed))

    return make


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "study.journal"


@pytest.mark.parametrize("sampler", ["front", "nsga2", "tpe", "random"])
@pytest.mark.parametrize("slots", [1, 4, 50])
def test_slots_are_filled_and_nothing_is_scored_twice(hunt, journal, listener, sampler, slots):
    executor = Several(slots, score)
    records = run_trials(hunt(trials=30, sampler=sampler), Journal(journal), listener, executor)
    assert len(records) == len({record.id for record in records}) == 30
    assert set(executor.begun.values()) == {1}
    assert executor.most == min(slots, 30)
    assert all(r.accuracy == int(r.id, 16) % 300 / 300 for r in records)


def test_everything_within_the_limits_is_scored_and_then_it_ends(hunt, journal, listener):
    settings = hunt(trials=144, budget="0.2ms")
    records = run_trials(settings, Journal(journal), listener, Several(7, score))
    assert 10 < len(records) < 144
    assert listener.said == [
        f"The search ends after {len(records)} architectures: no further one within the limits was "
        "found"
    ]
    study = open_study(journal, None, ["latency_ms"])
    assert not study.get_trials(states=(TrialState.RUNNING,))


@pytest.mark.parametrize(
    "bad", ["its worker was lost", Score(0, 0), Score(1, 2, loss=float("nan"))]
)
def test_what_fails_once_or_twice_is_scored_in_the_end(hunt, journal, listener, bad):
    executor = Several(3, lambda a, attempt: bad if attempt < ATTEMPTS else score(a, attempt))
    records = run_trials(hunt(trials=10), Journal(journal), listener, executor)
    assert len(records) == 10
    assert set(executor.begun.values()) == {ATTEMPTS}
    reason = bad if isinstance(bad, str) else "its accuracy or loss is not a number"
    assert listener.said[0].endswith(f" is tried again: {reason}")


@pytest.mark.parametrize("sampler", ["front", "random"])
def test_what_always_fails_is_left_with_its_reason_and_the_search_goes_on(
    hunt, journal, listener, sampler
):
    def some(architecture, attempt):
        return "no memory" if int(architecture.id, 16) % 3 == 0 else score(architecture, attempt)

    executor = Several(3, some)
    records = run_trials(hunt(trials=25, sampler=sampler), Journal(journal), listener, executor)
    assert len(records) == 25
    assert all(int(record.id, 16) % 3 for record in records)
    failed = open_study(journal, None, ["x"]).get_trials(states=(TrialState.FAIL,))
    assert failed
    for trial in failed:
        assert trial.user_attrs["reason"] == "no memory"
        assert trial.user_attrs["attempts"] == ATTEMPTS
    assert max(executor.begun.values()) == ATTEMPTS, "and it is not proposed again"


def test_when_nothing_can_be_scored_the_search_gives_up(hunt, journal, listener):
    with pytest.raises(NasError) as caught:
        run_trials(
            hunt(trials=40), Journal(journal), listener, Several(4, lambda *_: "disk on fire")
        )
    assert str(caught.value) == (
        f"{FAILURES} architectures in a row could not be scored; the last one: disk on fire; try: "
        "find the reason, then the same command with --resume"
    )
    assert read_trials(journal) == []


def test_when_none_of_the_few_there_are_can_be_scored_that_is_said(
    hunt, journal, listener, monkeypatch
):
    monkeypatch.setattr(trials, "FAILURES", 1000)
    with pytest.raises(NasError) as caught:
        run_trials(
            hunt(trials=200), Journal(journal), listener, Several(4, lambda *_: "disk on fire")
        )
    assert str(caught.value) == (
        "no architecture could be scored: disk on fire; try: find the reason, then a new run with "
        "--out OTHER_FOLDER"
    )
    assert not [text for text in listener.said if "waiting" in text], "it is the only search"


def test_a_trial_that_another_search_takes_for_lost_while_it_is_asked_for_is_asked_for_again(
    hunt, journal, listener, monkeypatch
):
    ask = Study.ask

    def taken(study, *args):
        trial = ask(study, *args)
        if trial.number == 3:
            interrupt_trial(trial._trial_id, study._storage)
            trial.set_user_attr("one more", "write")
        return trial

    monkeypatch.setattr(Study, "ask", taken)
    records = run_trials(hunt(trials=12), Journal(journal), listener, Several(2, score))
    assert len({record.id for record in records}) == 12
    trials = open_study(journal, None, ["x"]).trials
    assert [t.number for t in trials if t.state == TrialState.FAIL] == [3]


def test_a_stopped_search_goes_on_where_it_was(hunt, journal, listener):
    class StopError(Exception):
        pass

    def stop(architecture, attempt):
        if len(executor.begun) == 12:
            raise StopError
        return score(architecture, attempt)

    executor = Several(1, stop)
    with pytest.raises(StopError):
        run_trials(hunt(trials=20), Journal(journal), listener, executor)
    run_trials(hunt(trials=20), Journal(journal), listener, Several(1, score))
    other = journal.with_name("other.journal")
    run_trials(hunt(trials=20), Journal(other), listener, Several(1, score))
    assert [r.id for r in read_trials(journal)] == [r.id for r in read_trials(other)]


def test_scores_that_are_no_numbers_never_reach_the_study(hunt, journal, listener):
    executor = Several(2, lambda a, n: Score(0, 0) if int(a.id, 16) % 2 else score(a, n))
    records = run_trials(hunt(trials=8), Journal(journal), listener, executor)
    assert all(math.isfinite(record.accuracy) for record in records)


SHORT = Fidelity("short training", 3)


def rung_of(hunt, records):
    return Rung(Promoted(hunt, records), len(records), SHORT)


def test_the_best_are_scored_again_at_the_next_fidelity(hunt, journal, listener):
    hunt, store = hunt(trials=20), Journal(journal)
    records = run_trials(hunt, store, listener, Several(3, score))
    chosen = promote(records, 7, hunt.costing.goals)
    executor = Several(3, lambda a, attempt: Score(int(a.id, 16) % 100, 100))
    again = run_trials(hunt, store, listener, executor, rung_of(hunt, chosen))
    assert {r.id for r in again} == {r.id for r in chosen}
    assert set(executor.fidelities) == {SHORT} and set(executor.begun.values()) == {1}
    by_id = {r.id: r for r in again}
    for before in chosen:
        after = by_id[before.id]
        assert after.accuracy == int(after.id, 16) % 100 / 100
        assert (after.costs, after.origin) == (before.costs, before.origin)
    assert read_trials(journal) == records
    assert read_trials(journal, "short training") == again
    nothing = Several(3, lambda *_: pytest.fail("what is scored is not scored again"))
    assert run_trials(hunt, store, listener, nothing, rung_of(hunt, chosen)) == again


def test_a_stopped_rung_goes_on_with_what_is_left(hunt, journal, listener):
    hunt, store = hunt(trials=12), Journal(journal)
    chosen = promote(run_trials(hunt, store, listener, Several(1, score)), 6, hunt.costing.goals)

    def stop(architecture, attempt):
        if architecture.id == chosen[2].id:
            raise KeyboardInterrupt
        return score(architecture, attempt)

    with pytest.raises(KeyboardInterrupt):
        run_trials(hunt, store, listener, Several(1, stop), rung_of(hunt, chosen))
    executor = Several(1, score)
    again = run_trials(hunt, store, listener, executor, rung_of(hunt, chosen))
    assert [r.id for r in again] == [r.id for r in chosen], "in the order of promotion"
    assert list(executor.begun) == [r.id for r in chosen[2:]]


def test_what_cannot_be_trained_is_left_out(hunt, journal, listener):
    hunt, store = hunt(trials=12), Journal(journal)
    chosen = promote(run_trials(hunt, store, listener, Several(1, score)), 6, hunt.costing.goals)
    bad = chosen[1].id
    executor = Several(2, lambda a, attempt: "no memory" if a.id == bad else score(a, attempt))
    again = run_trials(hunt, store, listener, executor, rung_of(hunt, chosen))
    assert {r.id for r in again} == {r.id for r in chosen} - {bad}
    assert executor.begun[bad] == ATTEMPTS
    assert listener.said[-1] == (
        "The short training ends after 5 architectures: the others could not be scored"
    )


def test_the_study_says_how_far_it_is_and_so_does_the_terminal(hunt, journal, listener):
    run_trials(hunt(trials=20), Journal(journal), listener, Several(1, score))
    study = open_study(journal, None, ["x"])
    told = study.user_attrs
    best = max(r.accuracy for r in read_trials(journal))
    assert (told["scored"], told["time left"]) == ("20 of 20", "none")
    assert told["best accuracy within the limits"] == pytest.approx(best, abs=1e-5)
    assert 0 < told["hypervolume"] < best and told["front size"] >= 1
    shown = f"hypervolume {told['hypervolume']:.3f}, best {100 * best:.1f} %"
    assert listener.notes[-1] == f"front {told['front size']}, {shown}"


def test_the_time_left_goes_by_what_was_done_here(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(trials.time, "monotonic", lambda: now[0])
    clock = trials._Clock()
    assert clock.due() and clock.left_s(10, 30) is None
    now[0] += 4
    assert not clock.due() and clock.left_s(12, 30) == pytest.approx(36.0)
    now[0] += 1
    assert clock.due()
