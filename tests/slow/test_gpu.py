"""Training and scoring on a GPU, in this process and by workers that share it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from nas.accuracy import feed
from nas.accuracy.recipe import Recipe
from nas.data import load_dataset
from nas.search.study import read_trials
from tests.slow.conftest import Process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
TINY = str(Path(__file__).parents[1] / "files" / "tiny.yaml")
TRIALS = 24
OPTIONS = [
    "search", "--device", "jetson-nano", "--budget", "3ms", "--space", TINY,
    "--trials", str(TRIALS), "--finalists", "2", "--promote", "4", "--supernet-steps", "200",
    "--finetune-steps", "40", "--threads", "2",
]  # fmt: skip


def search(home: Path, name: str, *options: str) -> Path:
    """A whole search; no warning of torch may reach the terminal."""
    run = home / name
    process = Process([*OPTIONS, *options, "--out", str(run)], home)
    process.finish()
    assert "Warning" not in process.errors.read_text()
    return run


def accuracies(run: Path) -> dict[str, float]:
    return {record.id: record.accuracy for record in read_trials(run / "study.journal")}


def test_workers_that_share_a_gpu_score_as_one_process_does(tmp_path):
    alone = search(tmp_path, "alone")
    scored = accuracies(alone)
    assert len(scored) == TRIALS and max(scored.values()) > 0.4
    shared = search(tmp_path, "shared", "--workers", "3", "--gpus-per-trial", "0.33")
    both = accuracies(shared)
    common = scored.keys() & both.keys()
    assert len(both) == TRIALS and len(common) >= TRIALS // 2
    assert {name: both[name] for name in common} == {name: scored[name] for name in common}
    for run in (alone, shared):
        for model in json.loads((run / "front.json").read_text())["models"]:
            assert (run / model["files"]["onnx"]).is_file()
            assert model["accuracy"]["value"] > 0.5


def test_a_killed_search_goes_on_from_the_step_it_had(tmp_path):
    whole = search(tmp_path, "whole")
    shutil.rmtree(tmp_path / "cache")
    process = Process([*OPTIONS, "--out", str(tmp_path / "killed")], tmp_path)
    process.kill_when(lambda: (tmp_path / "killed" / "run.yaml").exists())
    again = search(tmp_path, "killed", "--resume")
    assert read_front(again) == read_front(whole)


def test_one_network_is_trained_on_a_gpu_and_goes_on_where_it_was_killed(tmp_path):
    options = [
        "train", "--width", "1", "--space", TINY, "--epochs", "20", "--threads", "2",
        "--mixup", "0.2", "--cutmix", "1", "--augment", "0.3", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    process = Process(options, tmp_path)
    process.kill_when(lambda: '"epoch": 2' in log_of(tmp_path / "out"))
    process = Process([*options, "--resume"], tmp_path)
    process.finish()
    assert "Warning" not in process.errors.read_text()
    result = json.loads((tmp_path / "out" / "model.json").read_text())
    assert result["device"] == "cuda" and result["accuracy"]["value"] > 0.5
    lines = [json.loads(line) for line in log_of(tmp_path / "out").splitlines()]
    assert [line["epoch"] for line in lines if "epoch" in line] == list(range(1, 21))


def test_images_that_stay_on_a_gpu_make_the_batches_of_those_that_do_not(monkeypatch):
    dataset = load_dataset(None, 0, resolutions=(16,))
    recipe, device = Recipe(1, 64, mixup=0.2, random_augment=0.5), torch.device("cuda")
    resident = feed.Feed(dataset, 16, recipe, 0, device).batch(3)
    monkeypatch.setattr(feed, "fits", lambda size_bytes, device: False)
    sent = feed.Feed(dataset, 16, recipe, 0, device).batch(3)
    assert all(torch.equal(one, other) for one, other in zip(resident, sent, strict=True))
    assert resident[0].device.type == "cuda"


def log_of(run: Path) -> str:
    path = run / "log.jsonl"
    return path.read_text() if path.exists() else ""


def read_front(run: Path) -> list[tuple[str, float]]:
    front = json.loads((run / "front.json").read_text())
    return [(model["id"], model["accuracy"]["value"]) for model in front["models"]]
