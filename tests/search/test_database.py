"""Searches that share a study in a real PostgreSQL."""

import threading
import time

import optuna
import psycopg
import pytest
from optuna.trial import TrialState

from nas.accuracy.score import Fidelity, Score
from nas.errors import NasError, OptionError
from nas.latency.predict import Predictor
from nas.latency.table import load_table
from nas.search import database as module
from nas.search import trials
from nas.search.candidates import check_limits
from nas.search.choosing import promote
from nas.search.costing import Costing
from nas.search.database import Database, check_url, make_tables
from nas.search.executors.execution import Execution
from nas.search.executors.executor import InProcess
from nas.search.goals import make_goals
from nas.search.proposals import Hunt, Promoted
from nas.search.run import run_search
from nas.search.samplers.domain import INTERRUPTED
from nas.search.samplers.repairing import quiet_optuna
from nas.search.study import open_study, read_trials, trial_records
from nas.search.trials import Rung, run_trials

from .postgres import Postgres, needs_postgres

pytestmark = needs_postgres


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    quiet_optuna()
    found = Postgres(tmp_path_factory.mktemp("server"))
    yield found
    found.stop("immediate")


@pytest.fixture
def connect(server, request, listener):
    made = []

    def make(watcher=listener):
        made.append(Database(server.url, request.node.name, watcher))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def hunt(space, make_settings):
    settings = make_settings(trials=30)
    predictors = {d: Predictor(load_table(d), space, "small", 10) for d in settings.devices}
    costing = Costing(predictors, make_goals(settings), 9000)
    return Hunt(settings, costing, check_limits(costing, settings.seed))


class Slow:
    """Scores after a while; `at` is called before the nth evaluation."""

    def __init__(self, at=lambda count: None, seconds=0.02):
        self.at, self.seconds, self.count = at, seconds, 0
        self.ids = []

    def evaluate(self, architecture, fidelity):
        self.at(self.count)
        self.count += 1
        time.sleep(self.seconds)
        self.ids.append(architecture.id)
        return Score(int(architecture.id, 16) % 300, 300)


def search(hunt, database, evaluator, failed):
    try:
        run_trials(hunt, database, database._watcher, InProcess(evaluator))
    except BaseException as cause:
        failed.append(cause)
    finally:
        database.storage.remove_session()


@pytest.mark.parametrize("sampler", ["front", pytest.param("nsga2", marks=pytest.mark.slow)])
def test_several_searches_share_the_work_and_score_nothing_twice(hunt, connect, sampler):
    hunt = Hunt(hunt.settings.model_copy(update={"sampler": sampler}), hunt.costing, hunt.start)
    evaluators, failed = [Slow() for _ in range(3)], []
    threads = [
        threading.Thread(target=search, args=(hunt, connect(), evaluator, failed))
        for evaluator in evaluators
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failed
    ids = [name for evaluator in evaluators for name in evaluator.ids]
    assert len(ids) == len(set(ids)) == 30
    assert min(len(evaluator.ids) for evaluator in evaluators) >= 5
    study = connect().study("search", None, ["x"])
    assert {record.id for record in trial_records(study)} == set(ids)


def test_a_database_that_is_away_when_the_search_comes_to_it_is_waited_for(
    connect, server, listener, monkeypatch
):
    monkeypatch.setattr(module, "PAUSE_S", 0.2)
    server.stop("fast")
    threading.Timer(1.5, server.start).start()
    assert connect().study("search", None, ["x"]).trials == []
    assert listener.said == ["The database does not answer; the search waits for it."]


def test_who_waits_long_for_another_searchs_lock_says_so(connect, server, listener, monkeypatch):
    monkeypatch.setattr(module, "LOCK_S", 1)
    database = connect()
    with psycopg.connect(server.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [database._key])
        threading.Timer(2.5, lambda: other.execute("SELECT pg_advisory_unlock_all()")).start()
        with database.alone() as held:
            assert held()
    [said] = listener.said
    assert said.startswith("Another search has been asking for its trial for 1 s; this one waits")


def test_a_database_that_goes_away_is_waited_for(hunt, connect, server, listener, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.2)

    def stop(count):
        if count in (8, 17):
            server.stop("immediate" if count == 8 else "fast")
            threading.Timer(2.0, server.start).start()

    evaluator = Slow(stop)
    records = run_trials(hunt, connect(), listener, InProcess(evaluator))
    assert len(records) == 30
    assert [record.id for record in records] == evaluator.ids, "none lost, none twice"
    assert listener.said.count("The database does not answer; the search waits for it.") >= 2
    study = connect().study("search", None, ["x"])
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 30


def test_a_trial_that_was_asked_for_without_the_lock_is_given_back(hunt, connect, listener):
    database = connect()
    begin, begun = database.begin, []

    def interrupted_begin(trial):
        begun.append(trial.number)
        if len(begun) in (3, 9):  # as when the server restarts between asking and here
            with psycopg.connect(database._url) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                )
        begin(trial)

    database.begin = interrupted_begin
    evaluator = Slow()
    records = run_trials(hunt, database, listener, InProcess(evaluator))
    assert len(records) == 30 and len(begun) == 32
    assert [record.id for record in records] == evaluator.ids, "given back, not evaluated"
    failed = database.study("search", None, ["x"]).get_trials(states=(TrialState.FAIL,))
    assert [trial.number for trial in failed] == [begun[2], begun[8]]
    assert all(INTERRUPTED in trial.user_attrs for trial in failed)


def test_a_database_that_stays_away_ends_the_search(hunt, connect, server, listener, monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.1)
    monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    try:
        with pytest.raises(NasError, match=r"the database has not answered for .* --resume once"):
            run_trials(
                hunt, connect(), listener, InProcess(Slow(lambda n: n == 3 and server.stop()))
            )
    finally:
        server.start()


def test_what_a_killed_search_was_doing_is_done_again(hunt, connect, listener, monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 1)  # the server may have been started just now

    class KilledError(BaseException):
        pass

    def kill(count):
        if count == 5:
            raise KilledError

    first = Slow(kill)
    with pytest.raises(KilledError):
        run_trials(hunt, connect(), listener, InProcess(first))
    database = connect()  # whose own way to a study would drop what is lost already
    left = optuna.load_study(study_name=database._full("search"), storage=database.storage)
    assert left.get_trials(states=(TrialState.RUNNING,))
    with psycopg.connect(connect()._url) as connection:  # as if a long time had passed
        connection.execute(
            "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '10 minutes'"
        )
    other = connect()
    second = Slow()
    records = run_trials(hunt, other, listener, InProcess(second))
    assert len(records) == len({record.id for record in records}) == 30
    assert [r.id for r in records] == first.ids + second.ids
    study = other.study("search", None, ["x"])
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_a_server_that_was_just_started_counts_no_missing_signs_of_life(connect, monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 1)
    database = connect()
    study = database.study("search", None, ["x"])
    trial = database.do(study.ask)
    database.begin(trial)
    database._beating.clear()
    with psycopg.connect(database._url) as connection:
        connection.execute(
            "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '10 minutes'"
        )
    for uptime_needed, state in ((10**9, TrialState.RUNNING), (0, TrialState.FAIL)):
        monkeypatch.setattr(module, "GRACE_S", uptime_needed)
        database._look_again = 0.0
        database.drop_lost(study)
        assert study.get_trials()[0].state == state


def short_rung(hunt, records):
    chosen = promote(records, 6, hunt.costing.goals)
    return chosen, Rung(Promoted(hunt, chosen), len(chosen), Fidelity("short training", 2))


@pytest.mark.parametrize("killed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_short_training_that_was_cut_off_is_done_by_the_other_search(
    hunt, connect, listener, monkeypatch, killed
):
    """Stopped, it gives the trial back at once; killed, it cannot."""
    monkeypatch.setattr(module, "GRACE_S", 1)
    monkeypatch.setattr(module, "BEAT_S", 1)
    monkeypatch.setattr(trials, "POLL_S", 0.1)
    first, second = connect(), connect()
    records = run_trials(hunt, first, listener, InProcess(Slow()))
    chosen, rung = short_rung(hunt, records)

    class KilledError(BaseException):
        pass

    begun, over = threading.Event(), threading.Event()

    def stop(count):
        if count == 0:
            begun.set()
            assert over.wait(120), "the other search never had to wait"
            raise KilledError if killed else KeyboardInterrupt

    failed = []

    def victim():
        try:
            run_trials(hunt, first, listener, InProcess(Slow(stop)), short_rung(hunt, records)[1])
        except BaseException as cause:
            failed.append(type(cause))
        finally:
            first._ended.set()  # no more signs of life
            first.storage.remove_session()

    thread = threading.Thread(target=victim)
    thread.start()
    assert begun.wait(30)
    other = type(listener)()
    monkeypatch.setattr(other, "say", lambda text: (other.said.append(text), over.set()))
    again = run_trials(hunt, second, other, InProcess(Slow()), rung)
    thread.join(30)
    assert failed == [KilledError if killed else KeyboardInterrupt]
    assert {record.id for record in again} == {record.id for record in chosen}
    assert "The last trials are evaluated by other searches: waiting for them." in other.said


def test_many_may_come_to_an_empty_database_at_once(server):
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty")
    url, failed = server.url.replace("/postgres", "/empty"), []

    def come():
        try:
            make_tables(url)
        except BaseException as cause:
            failed.append(cause)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_who_may_not_make_tables_is_told_so(server):
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE theirs")
        connection.execute("CREATE USER guest")
    url = server.url.replace("nas@", "guest@").replace("/postgres", "/theirs")
    with pytest.raises(OptionError) as caught:
        make_tables(url)
    assert str(caught.value) == (
        f"the database cannot be used: permission denied for schema public; got '{url}'; try: a "
        "user who may create tables there, and a database of its own"
    )


def test_a_run_keeps_a_copy_of_its_shared_trials(make_settings, server, tmp_path, listener):
    settings = make_settings(trials=10, finalists=1)
    execution = Execution(storage=server.url)
    one = run_search(settings, tmp_path / "one", watcher=listener, execution=execution)
    two = run_search(settings, tmp_path / "two", watcher=listener, execution=execution)
    assert read_trials(one.journal) == read_trials(two.journal)
    assert len(read_trials(one.journal)) == 10
    assert one.read_front() == two.read_front()
    told = one.read_run()["storage"]
    assert told["url"] == server.url and told == two.read_run()["storage"]
    copied = open_study(one.journal, None, ["x"]).user_attrs
    assert copied["scored"] == "10 of 10" and copied["front size"] >= 1
    one.front.unlink()
    server.stop()
    try:  # everything is in the copy
        again = run_search(settings, one.path, resume=True, execution=execution)
    finally:
        server.start()
    assert again.read_front() == two.read_front()
    other = run_search(
        make_settings(trials=10, finalists=1, seed=1), tmp_path / "other", execution=execution
    )
    assert other.read_run()["storage"]["study"] != told["study"], "other settings, another study"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere", "this is not the address of a PostgreSQL database; got 'nowhere'; allowed: "),
        (
            "sqlite:///x.db",
            "this is not the address of a PostgreSQL database; got 'sqlite:///x.db'",
        ),
        (
            "postgresql://me@host:port/db",
            "this is not the address of a PostgreSQL database; got 'postgresql://me@host:port/db'",
        ),
        (
            "postgresql://me@host/db?password=secret&sslmode=require",
            "a password does not belong on a command line, where others see it; got "
            "'postgresql://me@host/db?sslmode=require'; try: ",
        ),
        (
            "postgresql://me:secret@host/db",
            "a password does not belong on a command line, where others see it; got "
            "'postgresql://me:***@host/db'; try: the address without it, and PGPASSWORD in ",
        ),
    ],
)
def test_addresses_that_are_none_are_refused(url, message):
    with pytest.raises(OptionError) as caught:
        check_url(url)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_one_line():
    with pytest.raises(OptionError, match=r"^the database does not answer: connection failed: .*"):
        make_tables("postgresql://me@127.0.0.1:1/db")
