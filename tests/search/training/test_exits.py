"""Training a network with exits, to files that the guide's program runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.accuracy.exits import expected_cost, leaving_places, leaving_shares, predicted_classes
from nas.data import load_dataset
from nas.export.onnx_file import run_onnx

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guide.md"


@pytest.fixture(scope="module")
def trained(exits_space, tmp_path_factory):
    torch.set_num_threads(1)
    choices = {
        "width": 1.0, "stage1.depth": 1, "stage1.block1.kernel": 3, "stage1.exit": 1,
        "stage2.depth": 2, "stage2.block1.kernel": 5, "stage2.block2.kernel": 5,
    }  # fmt: skip
    architecture = exits_space.architecture("small", 16, choices)
    out = tmp_path_factory.mktemp("trained") / "out"
    return nas.train_model(
        architecture, space=str(exits_space.path), epochs=10, threads=1, out=out, learning_rate=0.1
    )


@pytest.fixture(scope="module")
def told(trained):
    return json.loads((trained.folder / "model.json").read_text())


def test_each_segment_is_a_file_that_is_compared_with_torch(trained, told):
    assert [file.name for file in trained.files] == ["model.1.onnx", "model.2.onnx"]
    names = ["model.1.onnx", "model.2.onnx"]
    assert told["files"] == {"onnx": names[0], "segments": names}
    assert trained.size_bytes == sum(file.stat().st_size for file in trained.files)
    for split in ("validation", "test"):
        assert told["parity"][split]["disagreements"] == 0
        assert told["parity"][split]["largest_difference"] <= 1e-4


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracies_and_shares_are_those_of_the_files(trained, told, exits_space, split):
    dataset = load_dataset(None, 0, resolutions=(16,))
    images = getattr(dataset, split)
    logits = run_onnx(trained.files, images.at(16), dataset.mean, dataset.std)
    exits = told["exits"]
    places = leaving_places(logits, exits["thresholds"])
    correct = int((predicted_classes(logits, places) == images.labels).sum())
    name = {"validation": "validation_accuracy", "test": "accuracy"}[split]
    assert correct == told[name]["correct"]
    if split == "validation":
        shares = leaving_shares(places, 1)
        assert shares == tuple(exits["shares"]) and min(shares) > 0.05, "both are used"
        network = exits_space.network(exits_space.from_json(told["architecture"]), 10)
        expected = expected_cost(network.macs_until_exits, shares)
        assert exits["expected_macs"] == round(expected) < network.cost.macs == told["macs"]
        alone = (logits.argmax(axis=2) == images.labels).mean(axis=1)
        assert exits["validation_accuracies"] == pytest.approx(alone.tolist())
        assert told[name]["value"] >= alone[-1], "thresholds cost no accuracy"


def test_the_guides_program_runs_the_files(trained, told, tmp_path):
    chapter = GUIDE.read_text().split("### Early exits")[1]
    program = re.findall(r"```python\n(.*?)```", chapter, re.DOTALL)[0]
    (tmp_path / "classify.py").write_text(program)
    dataset = load_dataset(None, 0, resolutions=(16,))
    logits = run_onnx(trained.files, dataset.test.at(16)[:40], dataset.mean, dataset.std)
    places = leaving_places(logits, told["exits"]["thresholds"])
    for place in (0, 1):
        index = int(np.flatnonzero(places == place)[0])
        picture = tmp_path / "digit.png"
        Image.fromarray(dataset.test.at(16)[index]).save(picture)
        command = [sys.executable, tmp_path / "classify.py", picture, *trained.files]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        label = dataset.classes[int(logits[place, index].argmax())]
        assert re.fullmatch(rf"{label}  [\d.]+%  after segment {place + 1}\n", said), said
