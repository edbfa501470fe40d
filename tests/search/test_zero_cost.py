"""Scores of untrained networks before trials that are trained from scratch."""

import json

import pytest

from nas.search import zero_cost
from nas.search.run import run_search
from nas.search.samplers.space_domain import SpaceDomain
from nas.search.study import read_trials
from nas.search.trials import run_trials


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Trials, and scores."""
    monkeypatch.setattr(zero_cost, "FEWEST_TRIALS", 13)
    monkeypatch.setattr(zero_cost, "SCORED", 26)


@pytest.fixture
def counted(monkeypatch):
    """Networks that are scored before any training, and with how many images."""
    found, score = [], zero_cost.naswot

    def counting(network, batches, seed):
        found.append((network, len(batches[0][0])))
        return score(network, batches, seed)

    monkeypatch.setattr(zero_cost, "naswot", counting)
    return found


@pytest.fixture
def guided(monkeypatch):
    """What samplers were guided by, one list for each sampler."""
    found, guide = [], SpaceDomain.guided

    def watched(self, scored):
        found.append(list(scored))
        return guide(self, scored)

    monkeypatch.setattr(SpaceDomain, "guided", watched)
    return found


def settings(make_settings, **changes):
    given = {
        "evaluator": "training", "supernet_steps": None, "trial_steps": 1, "finetune_steps": 2,
        "trials": 13, "finalists": 1,
    }  # fmt: skip
    return make_settings(**{**given, **changes})


def logged(run):
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == zero_cost.STAGE]


def test_trainings_are_proposed_by_them_and_a_resumed_run_scores_nothing_again(
    make_settings, tmp_path, listener, counted, guided, monkeypatch
):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.search.run.run_trials", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings(make_settings), tmp_path / "run")
    assert [size for _, size in counted] == [64] * 26 and guided == []
    monkeypatch.setattr("nas.search.run.run_trials", run_trials)
    run = run_search(settings(make_settings), tmp_path / "run", resume=True, watcher=listener)
    assert len(counted) == 26 and zero_cost.STAGE not in listener.stages
    (line,), (scored,) = logged(run), guided
    assert {a.id: score for a, score in scored} == line["scores"]
    assert len(set(line["scores"].values())) > 8, "networks differ"
    assert len(read_trials(run.journal)) == 13


@pytest.mark.parametrize(
    "changes",
    [{"trials": 12}, {"sampler": "random"}, {"evaluator": "supernet", "trial_steps": None}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_others_do_without(make_settings, tmp_path, counted, guided, changes):
    if changes.get("evaluator") == "supernet":
        changes = {**changes, "supernet_steps": 3}
    run = run_search(settings(make_settings, **changes), tmp_path / "run")
    assert (counted, guided, logged(run)) == ([], [], [])


@pytest.mark.parametrize(("scored", "left"), [(26, 13), (22, 0)])
def test_scores_that_are_no_numbers_are_left_out(
    make_settings, tmp_path, monkeypatch, scored, left
):
    """And with fewer than twelve others nothing is learned."""
    values, hunts = iter([float("-inf"), 1.0] * 13), []

    def stopped(hunt, *rest):
        hunts.append(hunt)
        raise KeyboardInterrupt

    monkeypatch.setattr(zero_cost, "SCORED", scored)
    monkeypatch.setattr(zero_cost, "naswot", lambda *_: next(values))
    monkeypatch.setattr("nas.search.run.run_trials", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings(make_settings), tmp_path / "run")
    assert [score for _, score in hunts[0].zero_cost] == [1.0] * left


@pytest.mark.parametrize(("resolution", "images"), [(32, 64), (64, 64), (96, 28), (224, 16)])
def test_large_images_are_fewer(resolution, images):
    assert zero_cost._images(resolution) == images
