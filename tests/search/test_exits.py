"""A search in a space with exits: by what is expected, within what is the worst case."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.accuracy.exits import leaving_places, leaving_shares, predicted_classes
from nas.cli import summary
from nas.data import load_dataset
from nas.export.onnx_file import run_onnx
from nas.latency.batch import BatchPredictor
from nas.latency.predict import Predictor
from nas.latency.table import load_table
from nas.report.data import load_report
from nas.report.snippet import usage_snippet
from nas.search import verify
from nas.search.costing import expected_shares, latency_json, with_shares
from nas.search.goals import Goal, bounded
from nas.search.measured import measured_models, usual_ms
from nas.search.run import run_search
from nas.search.run_folder import RunFolder
from nas.search.study import read_trials
from nas.space import sample as sampling
from nas.space.choices import ChoiceRows
from nas.units import format_latency_ms

DEVICE = "jetson-nano"
SETTINGS = {
    "device": DEVICE, "budget": "3.3ms", "trials": 12, "finalists": 4, "supernet_steps": 150,
    "finetune_steps": 60, "threads": 1, "seed": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def found(exits_space, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE_DIR", str(folder / "cache"))
        return nas.find_models(**SETTINGS, space=str(exits_space.path), out=folder / "out")


@pytest.fixture(scope="module")
def entries(found):
    return json.loads((found.folder / "front.json").read_text())["models"]


def with_exits(entries):
    chosen = [entry for entry in entries if "exits" in entry]
    assert chosen, "the search finds some"
    return chosen


def test_trials_are_compared_by_what_is_expected_of_them(found):
    records = read_trials(found.folder / "study.journal")
    several = [r for r in records if "until_exits" in r.latency_ms[DEVICE]]
    assert 0 < len(several) < len(records)
    goal = Goal("latency", DEVICE, 3.3, True)
    for record in several:
        latency = record.latency_ms[DEVICE]
        early, whole = (each["predicted"] for each in latency["until_exits"])
        assert early <= latency["expected"]["predicted"] <= whole == latency["predicted"]
        assert goal.value(record.costs) == latency["expected"]["predicted"]
        assert goal.bound(record.costs) == latency["upper"] <= 3.3
        on_average = replace(goal, on_expected=True).bound(record.costs)
        assert on_average == latency["expected"]["upper"] < latency["upper"]


def test_finalists_are_what_their_files_are(found, entries, exits_space):
    dataset = load_dataset(None, SETTINGS["seed"], resolutions=(16, 20))
    for entry in with_exits(entries):
        files = [found.folder / name for name in entry["files"]["segments"]]
        size = entry["architecture"]["resolution"]
        images = dataset.validation
        logits = run_onnx(files, images.at(size), dataset.mean, dataset.std)
        places = leaving_places(logits, entry["exits"]["thresholds"])
        shares = leaving_shares(places, len(files) - 1)
        assert list(shares) == entry["exits"]["shares"]
        right = int((predicted_classes(logits, places) == images.labels).sum())
        assert right == entry["validation_accuracy"]["correct"]
        latency = entry["latency_ms"][DEVICE]
        expected = np.dot(shares, [each["predicted"] for each in latency["until_exits"]])
        assert latency["expected"]["predicted"] == pytest.approx(float(expected))
        assert entry["size_bytes"] == sum(file.stat().st_size for file in files)
        test = run_onnx(files, dataset.test.at(size), dataset.mean, dataset.std)
        places = leaving_places(test, entry["exits"]["thresholds"])
        right = int((predicted_classes(test, places) == dataset.test.labels).sum())
        assert right == entry["accuracy"]["correct"]


def test_the_front_is_by_what_is_expected(entries):
    points = [
        (1 - e["validation_accuracy"]["value"], Goal("latency", DEVICE, None, True).value(e))
        for e in entries
    ]
    for point, entry in zip(points, entries, strict=True):
        worse = any(o[0] <= point[0] and o[1] <= point[1] and o != point for o in points)
        assert worse == entry["dominated"]


def test_python_and_the_report_know_of_them(found, entries):
    models = {model.id: model for model in found.models}
    data = load_report(found.folder)
    shown = {model.id: model for model in data.finalists}
    for entry in with_exits(entries):
        latency = entry["latency_ms"][DEVICE]
        model = models[entry["id"]]
        assert [str(f.relative_to(found.folder)) for f in model.files] == entry["files"]["segments"]
        assert model.expected_ms == latency["expected"]["predicted"] < model.latency_ms
        assert shown[entry["id"]].latencies[0].usual_ms == model.expected_ms
        assert shown[entry["id"]].files == tuple(entry["files"]["segments"])
    page = (found.folder / "report.html").read_text()
    assert "on average" in page
    for entry in with_exits(entries):
        assert f"{' / '.join(f'{100 * share:.0f}' for share in entry['exits']['shares'])} %" in page


def test_the_terminal_says_where_images_leave(found, entries):
    run = RunFolder(found.folder)
    entry = with_exits(entries)[0]
    front, whole = run.read_front(), entry["latency_ms"][DEVICE]
    *early, end = entry["exits"]["shares"]
    told = ", ".join(f"{share:.1%} at exit {place}" for place, share in enumerate(early, 1))
    line = (
        f"Validation images leave it: {told}, {end:.1%} at its end; an inference through all of it "
        f"takes {format_latency_ms(whole['predicted'])} "
        f"(at most {format_latency_ms(whole['upper'])}) on {DEVICE}."
    )
    front["fronts"][0]["recommended"] = entry["id"]
    assert line in summary._lines(run, front, run.read_run())
    front["fronts"][0]["recommended"] = next(e["id"] for e in entries if "exits" not in e)
    assert not any("leave it" in each for each in summary._lines(run, front, run.read_run()))


def test_the_program_for_segments_says_what_the_files_say(found, entries, tmp_path):
    entry = with_exits(entries)[0]
    files = [found.folder / name for name in entry["files"]["segments"]]
    dataset = load_dataset(None, SETTINGS["seed"], resolutions=(16, 20))
    size = entry["architecture"]["resolution"]
    picture = dataset.test.at(size)[:1]
    Image.fromarray(picture[0]).save(tmp_path / "digit.png")
    logits = run_onnx(files, picture, dataset.mean, dataset.std)
    places = leaving_places(logits, entry["exits"]["thresholds"])
    label = dataset.classes[int(predicted_classes(logits, places)[0])]
    program = tmp_path / "classify.py"
    program.write_text(usage_snippet(*map(str, files)))
    command = [sys.executable, program, tmp_path / "digit.png"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(rf"{label}  [\d.]+%\n", said), said


def test_measured_segments_are_added_up(entries):
    entry = with_exits(entries)[0]
    assert verify._names(entry) == [f"model {entry['id']} segment {n}" for n in (1, 2)]
    latency = entry["latency_ms"][DEVICE]
    assert bounded(latency, on_expected=False)["upper"] == latency["upper"]
    assert bounded(latency, True)["upper"] == latency["expected"]["upper"] < latency["upper"]
    plain = next(e for e in entries if "exits" not in e)
    assert verify._names(plain) == [f"model {plain['id']}"]


def test_budgets_on_what_is_expected(found, exits_space, make_settings, tmp_path, monkeypatch):
    """Below what any network with an exit takes in the worst case; one without holds it."""
    monkeypatch.setenv("NAS_CACHE_DIR", str(found.folder.parent / "cache"))  # the same supernet
    budget = 3.1
    settings = make_settings(
        device=DEVICE, budget=f"{budget}ms", budget_on="expected", space=str(exits_space.path),
        supernet_steps=60, seed=1, finetune_steps=10, trials=10, finalists=5, promote=0,
    )  # fmt: skip
    run = run_search(settings, tmp_path / "run")
    latencies = [model["latency_ms"][DEVICE] for model in run.read_front()["models"]]
    several = [latency for latency in latencies if "expected" in latency]
    assert all(latency["upper"] > budget for latency in several)
    front = run.read_front()
    on_front = set(front["fronts"][0]["models"])
    for model in front["models"]:
        latency = model["latency_ms"][DEVICE]
        if model["id"] in on_front:
            assert latency.get("expected", latency)["upper"] <= budget


def test_a_model_within_the_budget_is_made_where_images_leave_too_late(
    found, exits_space, make_settings, listener, tmp_path, monkeypatch
):
    monkeypatch.setenv("NAS_CACHE_DIR", str(found.folder.parent / "cache"))

    def of_exits(records, again, number, goals):
        return [r for r in records if r.latency_ms[DEVICE]["upper"] > 3.1][:1]

    def all_stay(latency, shares):
        return with_shares(latency, [0.0] * (len(shares) - 1) + [1.0])

    monkeypatch.setattr("nas.search.run.finalists_of", of_exits)
    monkeypatch.setattr("nas.search.front.with_shares", all_stay)
    settings = make_settings(
        device=DEVICE, budget="3.1ms", budget_on="expected", space=str(exits_space.path),
        supernet_steps=60, seed=1, finetune_steps=10, trials=10, finalists=1, promote=0,
    )  # fmt: skip
    run = run_search(settings, tmp_path / "run", watcher=listener)
    late, inside = run.read_front()["models"]
    assert late["dominated"] and late["latency_ms"][DEVICE]["expected"]["upper"] > 3.1
    assert inside["latency_ms"][DEVICE]["upper"] <= 3.1
    assert run.read_front()["recommended"] == inside["id"]
    assert any(
        f"trained as well is {inside['id']}, which is within it through all segments." in line
        for line in listener.said
    )
    held = {model.id: model.latencies[0].held_ms for model in load_report(run.path).finalists}
    assert held[late["id"]] == late["latency_ms"][DEVICE]["expected"]["upper"]


def measured(expected_ms=None):
    more = {} if expected_ms is None else {"expected_ms": expected_ms}
    return {"latency_ms": 5.0, **more, "over_budget": False, "over_upper": False}


def test_what_was_measured_is_compared_with_the_like():
    part = {"predicted": 2.0, "upper": 2.2}
    latency = {"predicted": 4.0, "upper": 4.4, "expected": part, "measured": measured(2.5)}
    models = [{"id": "a", "latency_ms": {DEVICE: latency}}]
    [through_all] = measured_models(models, DEVICE, on_expected=False)
    assert (through_all.latency_ms, through_all.predicted_ms) == (5.0, 4.0)
    [on_average] = measured_models(models, DEVICE, on_expected=True)
    assert (on_average.latency_ms, on_average.predicted_ms) == (2.5, 2.0)
    assert (usual_ms(measured(2.5)), usual_ms(measured())) == (2.5, 5.0)


# What is expected before a network is scored


def test_images_leave_as_they_did_elsewhere(exits_space):
    network = exits_space.network(sampling.largest(exits_space, "small"), 10)
    assert expected_shares(network, {1: 0.25}) == [0.75, 0.25]
    assert expected_shares(network, {}) == [0.0, 1.0], "as long as nothing is known, all stay"
    assert expected_shares(network.without_exits, {1: 0.25}) == [1.0]


def test_shares_of_a_network_without_exits_change_nothing(exits_space):
    predictor = Predictor(load_table(DEVICE), exits_space, "small", 10)
    network = exits_space.network(sampling.smallest(exits_space, "small"), 10)
    latency = latency_json(predictor.until_exits(network), [1.0])
    assert with_shares(latency, (0.5, 0.5)) == latency and "expected" not in latency


@pytest.mark.parametrize("staying", [{1: 0.3}, {1: 0.0}, {1: 1.0}, {}])
def test_populations_are_expected_to_take_what_their_networks_are(exits_space, staying):
    predictor = Predictor(load_table(DEVICE), exits_space, "small", 10)
    batch, rows = BatchPredictor(predictor, staying), ChoiceRows(exits_space, "small")
    drawn = np.random.default_rng(0).integers(rows.sizes, size=(40, len(rows.sizes)))
    networks = [exits_space.network(rows.architecture(row), 10) for row in drawn]
    expected = []
    for network in networks:
        latency = latency_json(predictor.until_exits(network), expected_shares(network, staying))
        told = latency.get("expected", latency)
        expected.append((told["predicted"], told["upper"]))
    found, call_ms = batch.predict(rows.pack(drawn)), predictor.call_ms(16)[0]
    over = found.predicted_ms - np.array([e[0] for e in expected])
    assert over.min() > -1e-12
    assert over.max() <= call_ms + 1e-12, (
        "the next segment's call counts for images that leave, too"
    )
    if staying in ({1: 1.0}, {}):
        np.testing.assert_allclose(found.predicted_ms, [e[0] for e in expected], 1e-12)
        np.testing.assert_allclose(found.upper_ms, [e[1] for e in expected], 1e-12)


@pytest.mark.slow
def test_a_killed_search_finds_the_same(exits_space, make_settings, tmp_path, monkeypatch):
    from nas.accuracy.supernet_evaluator import SupernetEvaluator

    settings = make_settings(
        device=DEVICE, budget="3.3ms", space=str(exits_space.path), trials=6, promote=0
    )
    whole = run_search(settings, tmp_path / "whole")
    evaluate, calls = SupernetEvaluator.evaluate, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(SupernetEvaluator, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings, tmp_path / "killed")
    killed = run_search(settings, tmp_path / "killed", resume=True)
    assert killed.front.read_bytes() == whole.front.read_bytes()
    trials = [[replace(r, number=0) for r in read_trials(run.journal)] for run in (whole, killed)]
    assert trials[0] == trials[1]
