"""The comparison of samplers counts networks, not proposals, and writes what they did."""

import importlib
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "search"
LATENCIES = FOLDER / "results" / "nas-bench-macro-latencies-epyc-zen5.json"
OTHERS = FOLDER / "results" / "nas-bench-macro-latencies-epyc-zen5-openvino.json"
NAMES = "front,regularised-evolution,optuna-nsga2"


@pytest.fixture
def accuracies(tmp_path):
    """Of all codes: more for every block that does something, less and less so."""
    codes = ["".join(code) for code in itertools.product("012", repeat=8)]
    path = tmp_path / "accuracies.json"
    worth = {code: 1 - 0.5 * 0.8 ** sum(map(int, code)) for code in codes}
    path.write_text(json.dumps(worth))
    return path


@pytest.mark.slow
def test_a_run_can_be_computed_again_from_what_it_wrote(accuracies, tmp_path):
    out = tmp_path / "out.json"
    words = [
        sys.executable, str(FOLDER / "nas_bench_macro.py"), "--accuracies", str(accuracies),
        "--latencies", str(LATENCIES), "--sampler", NAMES, "--seeds", "3:5", "--budget", "14",
        "--out", str(out),
    ]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert ",".join(found["runs"]) == NAMES
    for runs in found["runs"].values():
        assert [r["seed"] for r in runs] == [3, 4]
        for r in runs:
            assert len(set(r["order"])) == len(r["order"]) == len(r["seconds"]) == 14
            assert set(r["order"]) <= set(json.loads(LATENCIES.read_text()))
        assert runs[0]["order"] != runs[1]["order"]


def test_fractions_are_of_the_hypervolume_of_all(accuracies, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    script = importlib.import_module("nas_bench_macro")
    problem = script.read_problem(accuracies, [LATENCIES])
    codes = problem.codes()
    assert len(codes) == 3969
    volumes = script.Volumes(problem)
    assert volumes.fractions(problem, ["00000000", "22222222"], "all")[1] < 1
    front, highest = [], 0.0
    for code in sorted(codes, key=lambda code: problem.costs(code)[0]):
        if problem.accuracy[code] > highest:
            front, highest = [*front, code], problem.accuracy[code]
    for key in ("all", "over 88 %"):
        assert volumes.fractions(problem, front, key)[-1] == pytest.approx(1.0)
    assert script.first(volumes.fractions(problem, front, "all"), 2.0) == math.inf


def test_budgets_on_two_devices_leave_what_meets_both(accuracies, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    script = importlib.import_module("nas_bench_macro")
    samplers = importlib.import_module("samplers")
    problem = script.read_problem(accuracies, [LATENCIES, OTHERS], 30)
    inside = [code for code in problem.codes() if problem.within(code)]
    assert 0.25 * 3969 < len(inside) <= 0.3 * 3969 + 1
    ours = samplers.run("front", problem, 0, 20)
    assert ours.over == 0 and len(ours.order) == 20 and set(ours.order) <= set(inside)
    theirs = samplers.run("random", problem, 0, 20)
    assert theirs.over > 0 and set(theirs.order) <= set(inside)
    assert 0 < script.Volumes(problem).fractions(problem, ours.order, "all")[-1] <= 1
