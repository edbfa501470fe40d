"""A study in PostgreSQL: several searches add to it, and a lost connection is waited for."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from nas.errors import NasError, OptionError
from nas.files import atomic_path
from nas.search.journal import open_storage, together
from nas.search.study import STUDY_NAME, interrupt_trial, make_study, set_attributes
from nas.search.watch import Watcher

T = TypeVar("T")
BEAT_S, GRACE_S = 10, 60
"""Between signs of life of a running trial; without one for so long it is taken for lost."""
PATIENCE_S = 900.0
"""How long a database that went away is waited for."""
PAUSE_S = 2.0
"""Between two attempts to reach it."""
STRIKES = 3
"""How often the same may fail while the database answers."""
LOCK_S = 30
"""How long another search may hold the lock before that is said; it does for a proposal."""
LOCK_NOT_AVAILABLE = "55P03"
CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 4,
    "options": "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4",
}  # fmt: skip
"""A machine that is gone is noticed within 40 s on both sides: its locks and connections end."""
SCHEMES = ("postgresql",)
TABLES_KEY = zlib.crc32(b"nas tables")
"""Of the lock under which tables are made."""


def check_url(url: str) -> str:
    """A database's address, as SQLAlchemy wants it.

    Raises:
        OptionError: It is none, of another kind, or holds a password.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as cause:  # the latter for a port that is no number
        raise _refused(url) from cause
    if found.drivername not in SCHEMES:
        raise _refused(url)
    secrets = [name for name in found.query if "password" in name.lower()]
    if found.password is not None or secrets:
        shown = found.difference_update_query(secrets).render_as_string(hide_password=True)
        raise OptionError(
            "a password does not belong on a command line, where others see it",
            got=shown,
            do="the address without it, and PGPASSWORD in the environment (or ~/.pgpass)",
        )
    if importlib.util.find_spec("psycopg") is None:
        raise OptionError(
            "PostgreSQL needs a driver that is not installed",
            do="pip install -c constraints.txt '.[postgresql]' in the checkout",
        )
    return str(found.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))


def make_tables(url: str) -> str:
    """Check that a database can be used, and prepare it if nobody has yet.

    Returns:
        Its address, as Optuna wants it.

    Raises:
        OptionError: It cannot, or this is no address of one.
    """
    full = check_url(url)
    try:
        _prepare(full)
    except OperationalError as cause:
        raise _no_answer(url, cause) from cause
    except (SQLAlchemyError, StorageInternalError, RuntimeError) as cause:
        raise OptionError(
            f"the database cannot be used: {_first_line(cause)}",
            got=url,
            do="a user who may create tables there, and a database of its own",
        ) from cause
    return full


def _prepare(full: str) -> None:
    """One search after the other: two that make tables at once disturb each other."""
    engine = create_engine(full, poolclass=NullPool, connect_args=CONNECTION)
    with contextlib.closing(engine.connect()) as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": TABLES_KEY})
        RDBStorage(full, engine_kwargs={"poolclass": NullPool}).remove_session()


def _no_answer(url: str, cause: BaseException) -> OptionError:
    return OptionError(
        f"the database does not answer: {_first_line(cause)}",
        got=url,
        do="check address and user, and PGPASSWORD in the environment",
    )


def _refused(url: str) -> OptionError:
    return OptionError(
        "this is not the address of a PostgreSQL database",
        got=url,
        allowed="postgresql://USER@HOST:PORT/DATABASE",
        do="check it; without --storage a search keeps its trials in its own folder",
    )


def _open(full: str) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            full,
            engine_kwargs={"pool_pre_ping": True, "connect_args": CONNECTION},
            heartbeat_interval=BEAT_S,
            grace_period=GRACE_S,
        )


class Database:
    """Studies that several processes share.

    Args:
        url: `postgresql://USER@HOST/DATABASE`; `make_tables` says whether it can be used. One that
            does not answer just now is waited for.
        name: Of the search; those of the same settings and data have the same.
        watcher: Hears of lost connections.

    Raises:
        OptionError: The address is none.
        NasError: Nobody answers there for a quarter of an hour.
    """

    shared = True

    def __init__(self, url: str, name: str, watcher: Watcher) -> None:
        self._url, self._name, self._watcher = url, name, watcher
        full = check_url(url)
        self._engine = create_engine(full, poolclass=NullPool, connect_args=CONNECTION)
        self.do(lambda: _prepare(full))  # hours after it was first looked at
        self.storage = self.do(lambda: _open(full))
        self._opened: list[str] = []
        self._beating: set[int] = set()
        self._look_again = 0.0
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def study(self, name: str, sampler: BaseSampler, costs: Sequence[str]) -> Study:
        """The study, with its lost trials failed."""
        with self.alone():
            study = self.do(lambda: make_study(self.storage, self._full(name), sampler, costs))
        self._opened.append(name)
        self.drop_lost(study)
        return study

    def _full(self, name: str) -> str:
        """Of a study here, where other searches have theirs."""
        return self._name if name == STUDY_NAME else f"{self._name} {name}"

    def do(self, action: Callable[[], T]) -> T:
        """Again and again while the database does not answer, and a few times when it does again.

        Raises:
            NasError: It did not for a quarter of an hour.
        """
        began, said, strikes = time.monotonic(), False, 0
        while True:
            try:
                with warnings.catch_warnings():  # signs of life are given here, see _beat
                    warnings.filterwarnings("ignore", message="Heartbeat of storage")
                    return action()
            except (SQLAlchemyError, StorageInternalError) as cause:
                # What an interrupted change raises depends on the moment of the interruption.
                strikes += self._answers()
                if strikes > STRIKES:
                    raise
                if time.monotonic() - began > PATIENCE_S:
                    raise NasError(
                        f"the database has not answered for {PATIENCE_S / 60:g} minutes: "
                        f"{_first_line(cause)}",
                        do="the same command with --resume once it does",
                    ) from cause
            if not said:
                self._watcher.say("The database does not answer; the search waits for it.")
                said = True
            time.sleep(PAUSE_S)

    def _answers(self) -> bool:
        try:
            self._engine.connect().close()
        except SQLAlchemyError:
            return False
        return True

    @contextlib.contextmanager
    def alone(self) -> Iterator[Callable[[], bool]]:
        """A lock of the database that ends with its connection."""
        connection = self.do(self._lock)

        def held() -> bool:
            try:
                connection.execute(text("SELECT 1"))
            except SQLAlchemyError:
                return False
            return True

        try:
            yield held
        finally:
            with contextlib.suppress(SQLAlchemyError):  # lost: the lock went with it
                connection.close()

    def _lock(self) -> Connection:
        connection, said = self._engine.connect(), False
        try:
            connection.execute(text(f"SET lock_timeout = '{LOCK_S}s'"))
            connection.commit()
            while not self._locked(connection):
                if not said:
                    self._watcher.say(
                        f"Another search has been asking for its trial for {LOCK_S} s; this one "
                        "waits for it. The database finds out by itself if it is gone."
                    )
                    said = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _locked(self, connection: Connection) -> bool:
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": self._key})
        except OperationalError as cause:
            if getattr(cause.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            connection.rollback()
            return False
        return True

    @property
    def _key(self) -> int:
        return zlib.crc32(self._name.encode())

    def begin(self, trial: Trial) -> None:
        """Give signs of life for it."""
        self.do(lambda: self.storage.record_heartbeat(trial._trial_id))
        self._beating.add(trial._trial_id)

    def end(self, trial: Trial) -> None:
        """No longer."""
        self._beating.discard(trial._trial_id)

    def take_back(self, trial: Trial) -> None:
        """As one that was lost."""
        self.end(trial)
        self.do(lambda: interrupt_trial(trial._trial_id, self.storage))

    def let_go(self, trial: Trial) -> None:
        """One attempt: without it the trial is lost after a minute."""
        self.end(trial)
        with contextlib.suppress(SQLAlchemyError, StorageInternalError):
            interrupt_trial(trial._trial_id, self.storage)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S / 2):
            for trial_id in list(self._beating):
                with contextlib.suppress(SQLAlchemyError, StorageInternalError):
                    self.storage.record_heartbeat(trial_id)
        self.storage.remove_session()

    def drop_lost(self, study: Study) -> None:
        """Those without a sign of life for long, or without any; now and then."""
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + BEAT_S
        with self.alone():  # so that none has been asked for and not given its first sign
            for trial_id in self.do(lambda: self._lost(study)):
                self.do(partial(interrupt_trial, trial_id, self.storage))

    def _lost(self, study: Study) -> list[int]:
        without = text(
            "SELECT trials.trial_id FROM trials LEFT JOIN trial_heartbeats USING (trial_id) WHERE "
            "trials.study_id = :study AND trials.state = 'RUNNING' AND heartbeat IS NULL"
        )
        up = text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())")
        with self._engine.connect() as connection:
            never = [row[0] for row in connection.execute(without, {"study": study._study_id})]
            if connection.execute(up).scalar_one() < GRACE_S:
                return never  # nobody could give a sign while the database was away
        return [*never, *self.storage._get_stale_trial_ids(study._study_id)]

    def copy_to(self, journal: Path) -> None:
        """The finished trials as the file of a run: the report needs no database then."""
        ended = (TrialState.COMPLETE, TrialState.FAIL)
        with atomic_path(journal) as temporary:
            storage = open_storage(temporary)
            for name in self._opened:
                source = self.do(
                    partial(optuna.load_study, study_name=self._full(name), storage=self.storage)
                )
                trials = self.do(partial(source.get_trials, states=ended))
                costs = (source.metric_names or ["accuracy"])[1:]
                copy = make_study(storage, name, None, costs)
                with together(copy):
                    copy.add_trials(trials)
                set_attributes(copy, self.do(partial(getattr, source, "user_attrs")))

    def close(self) -> None:
        """No more signs of life, and no connections."""
        self._ended.set()
        self._beats.join()
        self.storage.remove_session()
        self.storage.engine.dispose()
        self._engine.dispose()


def _first_line(cause: BaseException) -> str:
    original: Any = getattr(cause, "orig", None) or cause
    return str(original).strip().splitlines()[0] if str(original).strip() else repr(original)
