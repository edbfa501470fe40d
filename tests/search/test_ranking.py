"""Random architectures trained from scratch, beside what a finished run's supernet says of them."""

import json
import shutil

import pytest

from nas.accuracy.ranks import kendall
from nas.errors import MemoryFullError, RunFolderError
from nas.report.page import write_report
from nas.search import ranking
from nas.search.ranked import ranking_lines
from nas.search.run import run_search
from nas.search.run_folder import RunFolder
from nas.search.watch import Silent

NUMBER = 4


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """As many as a test has the time for."""
    monkeypatch.setattr(ranking, "FEWEST", 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder for a finished run and the cache with its supernet."""
    return tmp_path_factory.mktemp("ranking")


@pytest.fixture
def run(finished, make_settings, tmp_path, monkeypatch):
    """A copy of it that may be changed."""
    monkeypatch.setenv("NAS_CACHE_DIR", str(finished / "cache"))
    whole = finished / "run"
    if not whole.exists():
        run_search(make_settings(trials=4, promote=0, finalists=1), whole)
    shutil.copytree(whole, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_finished_run_says_how_its_supernet_ranks(run, listener, space):
    before = {path: path.read_bytes() for path in run.path.rglob("*.json")}
    found = ranking.check_ranking(run, NUMBER, 1, listener)
    assert found == run.read_ranking() and found["epochs"] == 1
    models = found["models"]
    assert len({model["id"] for model in models}) == len(models) == NUMBER
    for model in models:
        network = space.network(space.from_json(model["architecture"]), 10)
        assert model["macs"] == network.cost.macs
        assert model["trained"]["images"] == model["supernet"]["images"] == 359
        assert 0.05 < model["trained"]["value"] < 1
    trained = [model["trained"]["value"] for model in models]
    for name, scores in (
        ("kendall_tau", [-model["supernet"]["loss"] for model in models]),
        ("kendall_tau_macs", [model["macs"] for model in models]),
    ):
        assert found[name]["tau"] == pytest.approx(kendall(scores, trained).tau)
    difference = found["kendall_tau"]["tau"] - found["kendall_tau_macs"]["tau"]
    assert found["difference"]["tau"] == pytest.approx(difference)
    assert listener.stages[-1] == "ranking" and not (run.path / "ranking").exists()
    assert [line for line in listener.said if "Supernet from the cache" not in line] == []
    assert {path: path.read_bytes() for path in before} == before
    page = write_report(run.path).read_text()
    assert "How good the ranks are" in page and "figure-ranking" in page


class Stopping(Silent):
    """Ctrl-C in the third training."""

    def progress(self, stage, done, total, note=""):
        if stage == "ranking" and done > 0.6 * total:
            raise KeyboardInterrupt


def test_a_stopped_check_goes_on_and_a_damaged_part_is_made_anew(run, tmp_path, monkeypatch):
    other = RunFolder(shutil.copytree(run.path, tmp_path / "other"))
    with pytest.raises(KeyboardInterrupt):
        ranking.check_ranking(run, NUMBER, 1, Stopping())
    kept = sorted((run.path / "ranking" / "1-epochs").iterdir())
    assert len(kept) == 2 and not run.ranking.exists()
    kept[0].write_text("")
    trained = count_trainings(monkeypatch)
    found = ranking.check_ranking(run, NUMBER, 1, Silent())
    assert len(trained) == NUMBER - 1, "the other one is not trained again"
    assert ranking.check_ranking(other, NUMBER, 1, Silent()) == found


def test_what_was_trained_for_other_epochs_is_not_taken(run, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        ranking.check_ranking(run, NUMBER, 2, Stopping())
    trained = count_trainings(monkeypatch)
    ranking.check_ranking(run, NUMBER, 1, Silent())
    assert len(trained) == NUMBER
    first = run.ranking.read_text()
    ranking.check_ranking(run, NUMBER, 2, Silent())
    assert len(trained) == NUMBER + 2, "two of them were trained for two before"
    assert not (run.path / "ranking").exists()
    assert (run.path / "ranking-1-epochs.json").read_text() == first
    ranking.check_ranking(run, NUMBER, 1, Silent())
    assert len(trained) == NUMBER + 2, "those of one epoch are in the file that was kept"
    assert run.ranking.read_text() == first


def test_another_supernet_is_not_asked(run, monkeypatch):
    log = run.path / "log.jsonl"
    begun = run.logged("supernet")["digest"]
    log.write_text(log.read_text().replace(begun, "0" * len(begun)))
    with pytest.raises(RunFolderError) as caught:
        ranking.check_ranking(run, NUMBER, 1, Silent())
    assert str(caught.value) == (
        f"the supernet is another one than that which {run.path} was begun with; got '{begun}'; "
        f"allowed: {'0' * len(begun)}; try: train where {run.path} was begun (cpu), or --out "
        "OTHER_FOLDER"
    )


def test_more_architectures_begin_with_the_same(run, monkeypatch):
    first = ranking.check_ranking(run, 3, 1, Silent())
    trained = count_trainings(monkeypatch)
    assert ranking.check_ranking(run, 3, 1, Silent()) == first and not trained
    more = ranking.check_ranking(run, 4, 1, Silent())
    assert more["models"][:3] == first["models"] and len(trained) == 1
    assert ranking.check_ranking(run, 3, 1, Silent()) == more, "nothing is thrown away"
    ranking.check_ranking(run, 3, 2, Silent())
    assert len(trained) == 4, "other epochs are other trainings"


def test_too_few_within_the_limits_are_said(run, listener, monkeypatch):
    monkeypatch.setattr(ranking, "random_architectures", lambda *args: [])
    assert ranking.check_ranking(run, NUMBER, 1, listener) is None
    assert listener.said == [
        "Only 0 architectures within the limits were found to rank.",
        "Ranks are not checked: that takes 3 or more.",
    ]
    assert not run.ranking.exists()


def test_a_check_that_fails_leaves_the_run_finished(run, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryFullError("training does not fit")

    monkeypatch.setattr("nas.accuracy.training_evaluator.TrainingEvaluator.train", fail)
    with pytest.raises(MemoryFullError):
        ranking.check_ranking(run, NUMBER, 1, Silent())
    assert run.state == "finished" and run.read_ranking() is None
    assert "How good the ranks are" not in write_report(run.path).read_text()


def test_a_broken_result_is_named_and_made_anew(run):
    run.ranking.write_text('{"models": []}')
    with pytest.raises(RunFolderError) as caught:
        run.read_ranking()
    assert str(caught.value) == (
        f"{run.ranking} cannot be read; try: delete {run.ranking}, then the same search with "
        "--check-ranking makes it anew"
    )
    assert ranking.check_ranking(run, 3, 1, Silent()) == run.read_ranking()


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (0.1, 0.4, "The supernet ranks better than counting does."),
        (-0.1, 0.4, "So few cannot tell whether the supernet ranks better than counting does: "),
        (-0.4, -0.1, "The supernet ranks worse than counting multiply-adds does: "),
    ],
)
def test_what_is_said_follows_from_the_interval_of_the_difference(lower, upper, said):
    content = {
        "epochs": 30,
        "kendall_tau": {"tau": 0.5, "lower": 0.3, "upper": 0.7},
        "kendall_tau_macs": {"tau": 0.25, "lower": 0.0, "upper": 0.4},
        "difference": {"tau": 0.25, "lower": lower, "upper": upper},
        "models": [{"supernet": {"value": 0.5}}] * 20,
    }
    told = "\n".join(ranking_lines(json.loads(json.dumps(content))))
    assert told.startswith(
        "Ranking: over 20 random architectures trained from scratch (30 epochs each), Kendall's "
        "tau is 0.50 (95 % interval 0.30 to 0.70) for the supernet's scores and 0.25 (95 % "
        "interval 0.00 to 0.40) for multiply-adds (1: the same order, 0: none)."
    )
    assert said in told
    content["models"] = [{"supernet": {"value": 0.5, "loss": 1.5}}] * 20
    assert (
        "0.50 (95 % interval 0.30 to 0.70) for the supernet's losses and"
        in (ranking_lines(content)[0])
    )


def count_trainings(monkeypatch):
    """Ids of what is trained from now on."""
    trained, train = [], ranking.TrainingEvaluator.train

    def counting(self, architecture, *args, **kwargs):
        trained.append(architecture.id)
        return train(self, architecture, *args, **kwargs)

    monkeypatch.setattr(ranking.TrainingEvaluator, "train", counting)
    return trained
