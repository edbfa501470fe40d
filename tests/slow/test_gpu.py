"""Training and scoring on a GPU, in this process and by workers that share it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

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


def read_front(run: Path) -> list[tuple[str, float]]:
    front = json.loads((run / "front.json").read_text())
    return [(model["id"], model["accuracy"]["value"]) for model in front["models"]]
