"""Trials survive a round trip, a killed writer, and a lock that nobody holds."""

import errno
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from optuna.trial import Trial, TrialState
from optuna_dashboard import get_note

from nas.errors import DiskFullError, RunFolderError
from nas.search.journal import mend_journal
from nas.search.samplers.domain import INTERRUPTED
from nas.search.samplers.repairing import quiet_optuna
from nas.search.samplers.space_domain import distributions
from nas.search.study import (
    LOSS,
    STUDY_NAME,
    TrialRecord,
    changing,
    fail_trial,
    open_study,
    read_trials,
    trial_records,
    write_trial,
)
from nas.space import sample as sampling


@pytest.fixture(autouse=True)
def quiet():
    quiet_optuna()


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "run" / "study.journal"


def attributes_of(space, architecture):
    cost = space.network(architecture, 10).cost
    latency = {"predicted": 2.5, "lower": 2.0, "upper": 3.5, "provenance": "estimated"}
    return {
        "id": architecture.id, "architecture": architecture.to_json(), "images": 360,
        "latency_ms": {"jetson-nano": latency}, "params": cost.params, "macs": cost.macs,
        "size_bytes": 4 * cost.params, "peak_memory_bytes": 2_000,
        "energy_mj": {"jetson-nano": 1.5}, "refused": 2, "origin": "fastest",
    }  # fmt: skip


def add_trial(space, study, accuracy=0.75, **more):
    trial = study.ask(distributions(space, "small"))
    architecture = sampling.from_genome(space, "small", trial.params)
    attributes = attributes_of(space, architecture)
    write_trial(study, trial, {**attributes, **more})
    study.tell(trial, [accuracy, 2.5])
    return attributes


def test_a_trial_is_read_back_as_it_was_written(space, journal):
    study = open_study(journal, None, ["latency_ms jetson-nano"])
    attributes = add_trial(space, study)
    expected = TrialRecord(number=0, accuracy=0.75, **attributes)
    assert trial_records(study) == [expected]
    assert read_trials(journal) == [expected]
    assert space.from_json(expected.architecture).id == expected.id


def test_losses_count_where_all_trials_have_one(space, journal):
    study = open_study(journal, None, ["latency_ms jetson-nano"])
    add_trial(space, study, **{LOSS: 1.5})
    [record] = trial_records(study)
    assert (record.accuracy, record.loss, record.error) == (0.75, 1.5, 1.5)
    add_trial(space, study)
    assert [(r.loss, r.error) for r in trial_records(study)] == [(None, 0.25)] * 2


def test_the_dashboard_has_names_and_notes(space, journal):
    study = open_study(journal, None, ["latency_ms jetson-nano"])
    attributes = add_trial(space, study)
    assert study.metric_names == ["validation accuracy", "latency_ms jetson-nano"]
    note = get_note(Trial(study, study.trials[0]._trial_id))
    assert f"`{attributes['id']}` from fastest, " in note
    assert "- jetson-nano: **2.5 ms** (2 to 3.5 ms, estimated)" in note
    assert f"{attributes['params']:,} parameters" in note


def test_a_shorter_note_replaces_a_longer_one(space, journal):
    study = open_study(journal, None, ["latency_ms jetson-nano"])
    trial = study.ask(distributions(space, "small"))
    fail_trial(trial, "0" * 12, "x" * 5000, 1)
    assert get_note(trial) == f"Not scored: {'x' * 5000}"
    fail_trial(trial, "0" * 12, "short", 2)
    assert get_note(trial) == "Not scored: short"


def test_only_scored_trials_are_read(space, journal):
    study = open_study(journal, None, ["latency_ms tiny"])
    add_trial(space, study)
    study.ask(distributions(space, "small"))
    assert [record.number for record in read_trials(journal)] == [0]


def test_opening_again_keeps_the_trials_and_fails_the_one_under_way(space, journal):
    study = open_study(journal, None, ["latency_ms tiny"])
    add_trial(space, study, 0.5)
    study.ask(distributions(space, "small"))
    again = open_study(journal, None, ["latency_ms tiny"])
    add_trial(space, again, 0.6)
    states = [trial.state for trial in again.trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert [INTERRUPTED in trial.user_attrs for trial in again.trials] == [False, True, False]
    assert [record.accuracy for record in read_trials(journal)] == [0.5, 0.6]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_was_cut_off_is_removed_and_nothing_else(space, journal, cut):
    study = open_study(journal, None, ["latency_ms tiny"])
    add_trial(space, study)
    study.ask(distributions(space, "small"))
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    mend_journal(journal)
    lines = whole.splitlines(keepends=True)
    assert journal.read_bytes() == b"".join(lines[:-1])
    again = open_study(journal, None, ["latency_ms tiny"])
    add_trial(space, again)
    assert len(read_trials(journal)) == 2


def test_a_whole_journal_is_left_as_it_is(space, journal):
    add_trial(space, open_study(journal, None, ["latency_ms tiny"]))
    whole = journal.read_bytes()
    mend_journal(journal)
    assert journal.read_bytes() == whole


def test_a_journal_that_is_a_single_half_line_is_begun_afresh(space, journal):
    journal.parent.mkdir()
    journal.write_bytes(b'{"op_code": 0, "wor')
    add_trial(space, open_study(journal, None, ["latency_ms tiny"]))
    assert len(read_trials(journal)) == 1


def test_a_lock_of_a_killed_process_does_not_stop_the_next(space, journal):
    add_trial(space, open_study(journal, None, ["latency_ms tiny"]))
    lock = journal.with_name(f"{journal.name}.lock")
    lock.symlink_to(journal)  # as the storage's own lock is made
    add_trial(space, open_study(journal, None, ["latency_ms tiny"]))
    assert not lock.is_symlink()
    assert len(read_trials(journal)) == 2


def test_there_are_no_trials_before_the_search_has_begun(journal):
    assert read_trials(journal) == []


def test_reading_while_another_process_writes_a_line(space, journal):
    """What the dashboard and the report do: they must not mend another's journal."""
    add_trial(space, open_study(journal, None, ["latency_ms tiny"]))
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    before = journal.read_bytes()
    assert len(read_trials(journal)) == 1
    assert journal.read_bytes() == before


def test_a_journal_without_the_study_is_refused(journal):
    journal.parent.mkdir()
    for content in (b"", b"garbage\n", b"[]\n", b'{"op_code": 77}\n', b"\xff\xfe\n"):
        journal.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"study\.journal cannot be read as a study: "):
            read_trials(journal)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunFolderError, match="cannot be written: "):
        open_study(tmp_path / "file" / "study.journal", None, ["latency_ms tiny"])


@pytest.fixture
def interruptible():
    """Ctrl-C as at a terminal: what runs in the background of a shell is started without it."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_waits_for_the_end_of_a_change(journal, number):
    done = []
    with pytest.raises(KeyboardInterrupt), changing(journal):
        signal.raise_signal(number)
        done.append("the change")
    assert done == ["the change"]
    with pytest.raises(KeyboardInterrupt):  # as it was before
        signal.raise_signal(number)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_comes_before_the_error_that_it_may_have_caused(journal):
    with pytest.raises(KeyboardInterrupt), changing(journal):
        signal.raise_signal(signal.SIGINT)
        raise OSError(errno.ENOENT, "the lock is gone")


def test_a_full_disk_is_said_from_any_thread(journal):
    def write():
        with pytest.raises(DiskFullError, match=r"study\.journal could not be written"):
            with changing(journal):
                raise OSError(errno.ENOSPC, "full")
        return True

    with ThreadPoolExecutor(1) as pool:
        assert write() and pool.submit(write).result()


def test_the_study_has_one_name():
    assert STUDY_NAME == "search"
