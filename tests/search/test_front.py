"""Which models are dominated, which one is recommended, and what is written into the files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search import front
from nas.search.front import mark_fronts, onnx_metadata
from nas.search.goals import make_goals
from nas.search.settings import read_settings
from nas.space import sample as sampling


def entry(name, accuracy, latency_ms):
    latency = {"predicted": latency_ms, "lower": latency_ms, "upper": latency_ms * 1.2}
    return {"id": name, "validation_accuracy": {"value": accuracy}, "latency_ms": {"tiny": latency}}


GOALS = make_goals(read_settings(None, {"device": "tiny", "budget": "1s"}))


def marked(*entries):
    found = list(entries)
    mark_fronts(found, GOALS)
    return found


def recommend(entries):
    return front.recommend([e for e in entries if not e["dominated"]], GOALS.fronts[0])


def dominated(entries):
    return [found["id"] for found in entries if found["dominated"]]


def test_a_slower_and_worse_model_is_dominated():
    entries = marked(entry("a", 0.9, 1.0), entry("b", 0.89, 1.5), entry("c", 0.95, 2.0))
    assert dominated(entries) == ["b"]


def test_equal_models_do_not_dominate_each_other():
    assert dominated(marked(entry("a", 0.9, 1.0), entry("b", 0.9, 1.0))) == []


def test_the_same_accuracy_for_more_time_is_dominated():
    assert dominated(marked(entry("a", 0.9, 1.0), entry("b", 0.9, 1.1))) == ["b"]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("a", 0.900, 1.0)], "a"),
        ([("a", 0.900, 1.0), ("b", 0.950, 2.0)], "b"),
        ([("a", 0.946, 1.0), ("b", 0.950, 2.0)], "a"),
        ([("a", 0.945, 1.0), ("b", 0.950, 2.0)], "a"),
        ([("a", 0.9449, 1.0), ("b", 0.950, 2.0)], "b"),
        ([("a", 0.941, 0.5), ("b", 0.946, 1.0), ("c", 0.950, 2.0)], "b"),
    ],
)
def test_the_fastest_within_half_a_point_of_the_best_is_recommended(entries, expected):
    assert recommend(marked(*(entry(*values) for values in entries))) == expected


accuracies = st.integers(0, 200).map(lambda n: n / 200)


@given(st.lists(st.tuples(accuracies, st.integers(1, 50).map(float)), min_size=1, max_size=12))
def test_the_recommended_one_is_on_the_front_and_good(points):
    entries = marked(*(entry(str(i), *point) for i, point in enumerate(points)))
    by_id = {found["id"]: found for found in entries}
    best = by_id[recommend(entries)]
    accuracy = best["validation_accuracy"]["value"]
    assert not best["dominated"]
    assert accuracy >= max(a for a, _ in points) - 0.005 - 1e-9
    faster = [a for a, ms in points if ms < best["latency_ms"]["tiny"]["predicted"]]
    assert all(a < max(a for a, _ in points) - 0.005 + 1e-9 for a in faster)


def test_the_metadata_says_how_to_use_the_file(space, dataset):
    architecture = sampling.smallest(space, "small")
    scores = {"validation_accuracy": {"value": 0.5}, "accuracy": {"value": 0.4}}
    metadata = onnx_metadata(dataset, architecture, scores)
    assert json.loads(metadata["nas.preprocessing"]) == {
        "color": "RGB", "layout": "NCHW", "resolution": 16, "resize": "bilinear",
        "scale": "1/255", "mean": list(dataset.mean), "std": list(dataset.std),
    }  # fmt: skip
    assert json.loads(metadata["nas.labels"]) == list("0123456789")
    assert space.from_json(json.loads(metadata["nas.architecture"])) == architecture
    assert json.loads(metadata["nas.accuracy"]) == scores
    assert "nas.accuracy" not in onnx_metadata(dataset, architecture, None)
