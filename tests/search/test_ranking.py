"""`--check-ranking`: random architectures trained from scratch, beside the supernet's scores."""

import json

import pytest

from nas.accuracy.ranks import kendall
from nas.errors import OptionError
from nas.report.page import write_report
from nas.search.ranked import ranking_lines
from nas.search.run import run_search


@pytest.fixture
def settings(make_settings):
    return make_settings(trials=6, promote=0, finalists=2, check_ranking=4, check_epochs=1)


def test_a_run_says_how_its_supernet_ranks(settings, tmp_path, listener, space):
    run = run_search(settings, tmp_path / "run", watcher=listener)
    found = run.read_ranking()
    models = found["models"]
    assert len({model["id"] for model in models}) == len(models) == 4 and found["epochs"] == 1
    for model in models:
        network = space.network(space.from_json(model["architecture"]), 10)
        assert model["macs"] == network.cost.macs
        assert model["trained"]["images"] == model["supernet"]["images"] == 359
        assert 0.05 < model["trained"]["value"] < 1
    trained = [model["trained"]["value"] for model in models]
    for name, scores in (
        ("kendall_tau", [model["supernet"]["value"] for model in models]),
        ("kendall_tau_macs", [model["macs"] for model in models]),
    ):
        assert found[name]["tau"] == pytest.approx(kendall(scores, trained).tau)
    assert "ranking" in listener.stages
    [estimate] = [line for line in listener.said if line.startswith("This takes about ")]
    assert ", ranking " in estimate
    page = write_report(run.path).read_text()
    assert "How good the ranks are" in page and "figure-ranking" in page
    assert not run.work.exists()


def test_a_stopped_check_goes_on(settings, tmp_path):
    class Stopping:
        """Ctrl-C in the third training."""

        def say(self, text):
            pass

        def progress(self, stage, done, total, note=""):
            if stage == "ranking" and done > 0.6 * total:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(settings, tmp_path / "run", watcher=Stopping())
    kept = {path: path.read_bytes() for path in (tmp_path / "run/work/ranking").iterdir()}
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) == 2
    seen = {}

    class Looking(Stopping):
        def progress(self, stage, done, total, note=""):
            if stage == "finalists":
                seen.update({path: path.stat().st_mtime_ns for path in kept})

    run = run_search(settings, tmp_path / "run", resume=True, watcher=Looking())
    assert seen == times, "what was trained is not trained again"
    whole = run_search(settings, tmp_path / "other")
    assert run.read_ranking() == whole.read_ranking()


def test_nothing_is_checked_that_was_not_asked_for(make_settings, tmp_path):
    run = run_search(make_settings(trials=4, promote=0, finalists=1), tmp_path / "run")
    assert run.read_ranking() is None and not run.ranking.exists()
    assert "How good the ranks are" not in write_report(run.path).read_text()


def test_too_few_to_rank(make_settings):
    with pytest.raises(
        OptionError,
        match=r"ranks are compared of several architectures; got '--check-ranking 2'; "
        r"allowed: 3 or more, or 0 for no comparison; try: --check-ranking 20",
    ):
        make_settings(check_ranking=2)


@pytest.mark.parametrize(("macs", "number"), [(0.2, 1), (0.6, 2)])
def test_a_supernet_that_is_no_better_than_counting_is_said_loudly(macs, number):
    content = {
        "epochs": 30,
        "kendall_tau": {"tau": 0.5, "lower": 0.3, "upper": 0.7},
        "kendall_tau_macs": {"tau": macs, "lower": 0.0, "upper": 0.9},
        "models": [{}] * 20,
    }
    told, *warning = ranking_lines(json.loads(json.dumps(content)))
    assert told == (
        "Ranking: Kendall's tau of the supernet's scores with 20 random architectures trained "
        "from scratch (30 epochs each) is 0.50 (95 % interval 0.30 to 0.70); "
        f"of their MACs {macs:.2f}."
    )
    assert len(warning) == number - 1
    assert not warning or warning[0].startswith("The supernet ranks them no better than counting")
