"""Searches that train every architecture from scratch, and how much work they do."""

import dataclasses
import json
from pathlib import Path

import pytest

from nas.accuracy.training_evaluator import TrainingEvaluator
from nas.errors import MemoryFullError
from nas.report.data import load_report
from nas.search import from_scratch
from nas.search.from_scratch import limited_training_work, time_training, training_work
from nas.search.run import run_search
from nas.search.study import read_trials
from nas.search.work import estimate
from nas.space import sample
from tests.search.test_work import DIGITS, PHOTOS
from tests.search.test_work import SPEEDS as SUPERNET_SPEEDS

SPEEDS = dataclasses.replace(SUPERNET_SPEEDS, supernet_step=0.0, trial_step=0.03)


@pytest.fixture
def from_scratch_settings(make_settings):
    def make(**changes):
        given = {
            "evaluator": "training", "supernet_steps": None, "trial_steps": 4,
            "finetune_steps": 60, "trials": 5, "finalists": 2,
        }  # fmt: skip
        return make_settings(**{**given, **changes})

    return make


def results(run):
    files = [run.front, *(run.path / "models").iterdir()]
    return {path.name: path.read_bytes() for path in files}, read_trials(run.journal)


def test_trials_and_finalists_are_trained_from_scratch(
    from_scratch_settings, tmp_path, listener, monkeypatch
):
    trained = []
    train = TrainingEvaluator.train

    def watched(self, architecture, steps=None, *rest):
        trained.append((architecture.id, steps))
        return train(self, architecture, steps, *rest)

    monkeypatch.setattr(TrainingEvaluator, "train", watched)
    run = run_search(from_scratch_settings(), tmp_path / "run", watcher=listener)
    assert listener.stages == ["search", "finalists"]
    records = read_trials(run.journal)
    models = run.read_front()["models"]
    assert [steps for _, steps in trained[:5]] == [4] * 5
    assert {name for name, _ in trained[:5]} == {record.id for record in records}
    assert {steps for _, steps in trained[5:]} == {60}
    assert {model["id"] for model in models} <= {name for name, _ in trained[5:]}
    first = {record.id: record.accuracy for record in records}
    gained = [model["validation_accuracy"]["value"] - first[model["id"]] for model in models]
    assert min(gained) > 0.1, "with more steps they learn more"
    log = (run.path / "log.jsonl").read_text()
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events == ["start", "data", "search", "finished"]
    assert not list(Path(tmp_path).rglob("*.safetensors")), "there is no supernet"


def test_the_best_are_trained_for_longer_before_finalists_are_chosen(
    from_scratch_settings, tmp_path, listener
):
    settings = from_scratch_settings(promote=3, short_steps=30)
    run = run_search(settings, tmp_path / "run", watcher=listener)
    assert listener.stages == ["search", "short training", "finalists"]
    report = load_report(run.path)
    assert (report.short_training.architectures, report.short_training.steps) == (3, 30)
    log = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [line["trials"] for line in log if line["event"] == "short training"] == [3]
    first = {record.id: record.accuracy for record in read_trials(run.journal)}
    again = {record.id: record.accuracy for record in read_trials(run.journal, "short training")}
    assert len(again) == 3
    assert min(again[name] - first[name] for name in again) > 0.05, (
        "with more steps they learn more"
    )
    assert {model["id"] for model in run.read_front()["models"]} <= set(again)


def test_memory_that_is_full_is_one_line_wherever_it_is(
    from_scratch_settings, tmp_path, monkeypatch
):
    def fail(*options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")

    monkeypatch.setattr("nas.search.run.find_staying", fail)
    with pytest.raises(MemoryFullError, match="^training does not fit into the memory of the"):
        run_search(from_scratch_settings(), tmp_path / "run")


@pytest.mark.slow
def test_killed_and_resumed_it_finds_the_same(from_scratch_settings, tmp_path, monkeypatch):
    whole = run_search(from_scratch_settings(), tmp_path / "whole")
    train, calls = TrainingEvaluator.train, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) in (3, 6):  # in a trial and in a finalist
            raise KeyboardInterrupt
        return train(self, *arguments)

    monkeypatch.setattr(TrainingEvaluator, "train", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_search(from_scratch_settings(), tmp_path / "killed", resume=True)
    killed = run_search(from_scratch_settings(), tmp_path / "killed", resume=True)
    files, trials = results(killed)
    expected, same = results(whole)
    assert files == expected
    assert [r.accuracy for r in trials] == [r.accuracy for r in same]


def test_the_report_says_so(from_scratch_settings, tmp_path):
    facts = load_report(run_search(from_scratch_settings(), tmp_path / "run").path).facts
    assert facts.supernet == "none: every architecture was trained from scratch"
    assert facts.scored == "after 4 training steps"
    assert facts.training == "60 steps of training from scratch"


def test_a_trial_has_a_quarter_of_a_finalists_steps(from_scratch_settings):
    settings = from_scratch_settings(data="photos", trial_steps=None, finetune_steps=None)
    work = training_work(settings, PHOTOS)
    assert work.finetune_steps * work.batch_size == pytest.approx(30 * 40_000, rel=0.01)
    assert work.trial_steps == pytest.approx(work.finetune_steps / 4, abs=1)
    assert (work.supernet_steps, work.promoted, work.short_steps) == (0, 0, 0)
    promoted = training_work(from_scratch_settings(promote=4, finetune_steps=100), DIGITS)
    assert (promoted.promoted, promoted.short_steps) == (4, 50)
    digits = training_work(from_scratch_settings(trial_steps=None, finetune_steps=None), DIGITS)
    assert (digits.trial_steps, digits.finetune_steps) == (75, from_scratch.DIGITS_STEPS)


def test_a_trial_has_a_quarter_of_the_steps_that_a_finalist_is_given(from_scratch_settings):
    given = from_scratch_settings(trial_steps=None, finetune_steps=80)
    assert training_work(given, DIGITS).trial_steps == 20


@pytest.mark.parametrize(
    "given",
    [
        {}, {"trial_steps": 40}, {"finetune_steps": 900}, {"promote": 16},
        {"promote": 16, "trial_steps": 40}, {"promote": 16, "finetune_steps": 5000},
        {"promote": 16, "short_steps": 400}, {"promote": 16, "short_steps": 300, "trial_steps": 9},
    ],
)  # fmt: skip
def test_a_time_limit_is_used_whatever_steps_are_given(from_scratch_settings, given):
    steps = {"trial_steps": None, "finetune_steps": None, **given}
    settings = from_scratch_settings(data="photos", trials=64, finalists=8, **steps)
    limit_s = 7200.0
    work = limited_training_work(settings, PHOTOS, SPEEDS, limit_s, models=12)
    assert work.promoted == given.pop("promote", 0)
    for name, number in given.items():
        assert getattr(work, name) == number
    expected = estimate(work, SPEEDS, PHOTOS, 64, 12, steps_left=0)
    assert expected.total == pytest.approx(0.95 * limit_s, rel=0.01)
    assert str(expected).startswith("about ") and "supernet" not in str(expected)


def test_a_limit_that_is_too_short_leaves_the_least(from_scratch_settings):
    settings = from_scratch_settings(trial_steps=None, finetune_steps=None)
    work = limited_training_work(settings, DIGITS, SPEEDS, 1.0, models=12)
    assert (work.trial_steps, work.finetune_steps) == (1, 5)


def test_given_steps_leave_nothing_to_share_out(from_scratch_settings):
    work = limited_training_work(from_scratch_settings(), DIGITS, SPEEDS, 3600.0, models=12)
    assert (work.trial_steps, work.finetune_steps) == (4, 60)


def test_what_takes_time_is_timed(space, dataset, monkeypatch):
    """A trial's step is the mean of random architectures', not the hand-made network's."""
    timed = iter([4.0, 1.0, 2.0])

    def seconds(action, repeats):
        action()
        return next(timed, 0.5)

    monkeypatch.setattr(from_scratch, "median_s", seconds)
    drawn = [sample.smallest(space, "small"), sample.largest(space, "small")]
    speeds = time_training(space, dataset, drawn, sample.baseline(space, "small", 0.5))
    assert (speeds.supernet_step, speeds.finetune_step, speeds.trial_step) == (0, 4.0, 1.5)
    assert min(speeds.score_image, speeds.file_image) > 0
