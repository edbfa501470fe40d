"""A run whose supernet has learned too little says so: at once, at its end, in its report."""

import json
import math

import pytest

from nas.api import open_run
from nas.cli.summary import print_summary
from nas.report.page import write_report
from nas.search import supernet_check
from nas.search.ranked import CHECK, supernet_lines
from nas.search.run import run_search
from nas.search.work import CHECKED_NETWORKS

TOO_LITTLE = "The supernet has learned too little"
FEW = {"trials": 4, "promote": 0, "finalists": 1}


def checks(run):
    lines = (run.path / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == CHECK]


def test_a_supernet_of_a_few_steps_is_found_out(tmp_path, make_settings, listener, capsys):
    run = run_search(make_settings(**FEW), tmp_path / "run", watcher=listener)
    [found] = checks(run)
    assert len(found["networks"]) == CHECKED_NETWORKS and found["images"] == 359
    assert max(found["networks"]) < 0.8 < 0.9 < found["linear"]
    [said] = [line for line in listener.said if TOO_LITTLE in line]
    assert (
        f"{CHECKED_NETWORKS} random architectures" in said
        and "more than 6 --supernet-steps" in said
    )
    assert listener.stages.index("supernet") < listener.stages.index(CHECK)
    assert listener.stages.index(CHECK) < listener.stages.index("search")
    assert open_run(run.path).warnings == (said,)
    print_summary(run)
    assert said in capsys.readouterr().out
    assert TOO_LITTLE in write_report(run.path).read_text()


class Stopping:
    """Ctrl-C in the first trial."""

    def say(self, text):
        pass

    def progress(self, stage, done, total, note=""):
        if stage == "search" and done:
            raise KeyboardInterrupt


def test_a_run_that_goes_on_is_not_checked_again(tmp_path, make_settings, listener):
    settings = make_settings(**FEW)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings, tmp_path / "run", watcher=Stopping())
    run = run_search(settings, tmp_path / "run", resume=True, watcher=listener)
    assert len(checks(run)) == 1 and CHECK not in listener.stages
    assert any(TOO_LITTLE in line for line in listener.said)


def test_without_a_supernet_nothing_is_checked(tmp_path, make_settings, listener):
    settings = make_settings(**FEW, evaluator="training", supernet_steps=None, trial_steps=2)
    run = run_search(settings, tmp_path / "run", watcher=listener)
    assert checks(run) == [] and CHECK not in listener.stages
    assert not any(TOO_LITTLE in line for line in listener.said)


FOUND = {
    "steps": 40, "networks": [0.3, 0.4], "linear": 0.41, "linear_interval": [0.36, 0.46],
    "images": 500, "metric": "accuracy",
}  # fmt: skip


def test_the_words():
    [line] = supernet_lines(FOUND)
    assert line == (
        "The supernet has learned too little after 40 steps: 2 random architectures with its "
        "weights have an accuracy of 35.0 % on average (30.0 to 40.0 %, 500 validation images), "
        "where a linear model on 8 x 8 pixels has 41.0 %. How it ranks architectures cannot be "
        "trusted. Train it for longer (more than 40 --supernet-steps, or a longer --time-limit), "
        "or do without one: --evaluator training."
    )
    [line] = supernet_lines({**FOUND, "metric": "balanced"}, "a.safetensors")
    assert "have a balanced accuracy of 35.0 %" in line
    assert line.endswith(
        "Give it one that was trained for longer, or do without one: --evaluator training."
    )


@pytest.mark.parametrize("networks", [[0.37, 0.37], [0.8], [], [math.nan, 0.1]])
def test_what_chance_may_have_done_is_not_said(networks):
    assert supernet_lines({**FOUND, "networks": networks}) == []
    assert supernet_lines({}) == []


def test_few_images_are_scored_and_few_steps_are_told(tmp_path, make_settings, monkeypatch):
    monkeypatch.setattr(supernet_check, "MOST_IMAGES", 100)
    [found] = checks(run_search(make_settings(**FEW), tmp_path / "run"))
    assert (found["images"], found["steps"], found["metric"]) == (100, 6, "accuracy")
    low, high = found["linear_interval"]
    assert low < found["linear"] < high
