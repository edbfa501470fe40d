"""The journal file: many changes in one write, beside others who write."""

import contextlib
import threading

import optuna
import pytest

from nas.search.journal import open_storage, together
from nas.search.samplers.repairing import quiet_optuna
from nas.search.store import Journal


@pytest.fixture
def path(tmp_path):
    quiet_optuna()
    return tmp_path / "study.journal"


def open_study(path):
    return optuna.create_study(storage=open_storage(path), study_name="s", load_if_exists=True)


def test_changes_together_are_seen_at_once_here_and_at_the_end_by_others(path):
    study = open_study(path)
    before = path.read_bytes()
    with together(study):
        trial = study.ask()
        with together(study):
            x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("what", [1, {"a": None}])
        study.tell(trial, x)
        assert study.trials[0].params == {"x": x}
        assert path.read_bytes() == before
    assert study.trials[0].value == x
    again = open_study(path).trials
    assert again == study.trials
    assert again[0].user_attrs == {"what": [1, {"a": None}]}


def test_a_study_is_the_same_however_it_is_written_and_read_on(path, tmp_path):
    found = []
    for block in (True, False):
        journal = tmp_path / f"{block}.journal"
        study = open_study(journal)
        study.sampler = optuna.samplers.TPESampler(seed=1)
        for _ in range(15):
            trial = study.ask()
            if block:
                with together(study):
                    study.tell(trial, trial.suggest_float("x", 0, 1))
            else:
                study.tell(trial, trial.suggest_float("x", 0, 1))
        found.append([trial.params for trial in study.trials])
        assert [t.params for t in open_study(journal).trials] == found[-1]
    assert found[0] == found[1]


def test_others_wait_and_are_read_in_the_order_of_the_file(path):
    study, other = open_study(path), open_study(path)
    other.set_user_attr("before", 1)
    with together(study):
        study.set_user_attr("mine", 1)
        writes = threading.Thread(target=lambda: other.set_user_attr("theirs", 2))
        writes.start()
        writes.join(0.2)
        assert writes.is_alive()
        study.set_user_attr("mine", 2)
    writes.join(30)
    expected = {"before": 1, "mine": 2, "theirs": 2}
    for each in (study, other, open_study(path)):
        assert each.user_attrs == expected
    assert not path.with_name("study.journal.lock").is_symlink()


def test_what_was_changed_before_an_error_stays(path):
    study = open_study(path)
    with pytest.raises(KeyboardInterrupt), together(study):
        study.set_user_attr("a", 1)
        raise KeyboardInterrupt
    study.set_user_attr("b", 2)
    assert open_study(path).user_attrs == study.user_attrs == {"a": 1, "b": 2}


def test_a_study_in_memory_is_changed_as_ever():
    study = optuna.create_study()
    with together(study):
        study.set_user_attr("a", 1)
    assert study.user_attrs == {"a": 1}


@pytest.mark.parametrize("many", [True, False])
def test_the_lock_of_a_process_that_died_is_broken(path, many):
    study = open_study(path)
    lock = path.with_name("study.journal.lock")
    study._storage._backend._alone.lock.grace_period = 0.5
    lock.symlink_to(path)
    with together(study) if many else contextlib.nullcontext():
        study.set_user_attr("a", 1)
    study.set_user_attr("b", 2)
    assert open_study(path).user_attrs == {"a": 1, "b": 2}
    assert not lock.is_symlink()


def test_a_lock_that_is_held_while_a_run_goes_on_is_left(path):
    store = Journal(path)
    store.study("search", None, ["latency"])
    lock = path.with_name("study.journal.lock")
    lock.symlink_to(path)
    held = []

    def release():
        held.append(lock.is_symlink())
        lock.unlink(missing_ok=True)

    timer = threading.Timer(0.3, release)
    timer.start()
    store.study("short training", None, ["latency"])  # waits for it
    timer.join()
    assert held == [True]
