"""Run folders as a search leaves them, written through the same functions, without training."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.accuracy.score import Score
from nas.data import load_dataset
from nas.errors import TableError
from nas.export.graph import GraphTarget, random_weights
from nas.export.onnx_file import write_onnx
from nas.files import write_json
from nas.latency.device_file import Calibration, DeviceFile, WholeModels
from nas.latency.predict import Predictor
from nas.latency.table import LatencyTable, Row, load_table, write_table
from nas.search.choosing import choose_finalists
from nas.search.costing import latency_json
from nas.search.front import mark_fronts, onnx_metadata
from nas.search.goals import make_goals
from nas.search.run_folder import RunFolder
from nas.search.samplers.repairing import quiet_optuna
from nas.search.settings import SearchSettings, read_settings
from nas.search.study import open_study, read_trials, write_trial
from nas.space import Architecture, load_space
from nas.space import sample as sampling
from nas.space.memory import peak_activation_bytes

IMAGES = 2000


@dataclass(frozen=True)
class RunPlan:
    """What a synthetic run looks like; `accuracy` stands in for training."""

    device: str = "jetson-nano"
    budget: str = "9ms"
    trials: int = 12
    finalists: int = 4
    images: int = IMAGES
    classes: Sequence[str] = tuple("0123456789")
    data: str = "digits"
    baselines: bool = True
    noise: float = 0.004
    settings: dict[str, Any] = field(default_factory=dict)

    def accuracy(self, macs: int, rng: np.random.Generator) -> float:
        """More MACs help, less and less; training adds noise."""
        share = 0.99 - 0.045 * math.exp(-macs / 3e6) + self.noise * float(rng.normal())
        return min(max(share, 0.0), 1.0)


def make_run(folder: Path, plan: RunPlan = RunPlan()) -> RunFolder:  # noqa: B008
    """Write a finished run."""
    quiet_optuna()
    run = RunFolder(folder)
    settings = read_settings(
        None,
        {"device": plan.device, "budget": plan.budget, "trials": plan.trials, **plan.settings},
    )
    goals, budget_ms = make_goals(settings), settings.budgets_ms[plan.device]
    space = load_space(settings.space)
    predictor = Predictor(load_table(plan.device), space, "small", len(plan.classes))
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    run.write_run(_run_content(settings, predictor, plan))
    write_json(folder / "data.json", {"schema": 1, "classes": list(plan.classes)})
    _write_trials(run, predictor, settings, plan, rng)
    chosen = choose_finalists(read_trials(run.journal), plan.finalists, goals)
    finalists = [space.from_json(record.architecture) for record in chosen]
    entries = [_entry(predictor, a, plan, rng) for a in finalists]
    fronts = mark_fronts(entries, goals)
    for entry in entries:
        entry["accuracy"] = entry["validation_accuracy"]
        write_json(folder / entry["files"]["onnx"], "stands for the model")
    run.write_baselines(_baselines(predictor, plan, budget_ms, rng))
    recommended = fronts[0]["recommended"]
    write_json(
        run.front,
        {"schema": 1, "recommended": recommended, "fronts": fronts, "models": entries},
    )
    return run


def _run_content(settings: SearchSettings, predictor: Predictor, plan: RunPlan) -> dict[str, Any]:
    table = predictor.table
    return {
        "schema": 1,
        "settings": settings.model_dump(mode="json", by_alias=True),
        "space": predictor.space.name,
        "plan": "small",
        "devices": {
            plan.device: {
                "name": table.name, "provenance": table.provenance,
                "budget_ms": settings.budgets_ms[plan.device], "latency_range_ms": [1.0, 100.0],
                "precision": table.device.precision, "folder": str(table.folder),
            }
        },
        "data": {
            "name": plan.data, "fingerprint": "0" * 32, "classes": len(plan.classes),
            "train": 3 * plan.images, "validation": plan.images, "test": plan.images,
        },
        "worst_costs": {goal.name: goal.limit or 1e9 for goal in make_goals(settings).minimised},
        "work": {
            "supernet_steps": 300, "promoted": 0, "short_steps": 10, "finetune_steps": 40,
            "batch_size": 64, "recalibration_images": 64, "validation_images": plan.images,
        },
        "threads": 1,
        "training_device": "cpu",
        "versions": {"python": "3.12.0", "nas": "0.1.0"},
        "started": "2026-11-20T12:00:00+00:00",
    }  # fmt: skip


@cache
def known_to_measured_tables() -> tuple[Architecture, ...]:
    """Small networks of mobilenetv3, of whose blocks measured tables are made here."""
    space, rng = load_space("mobilenetv3"), np.random.default_rng(0)
    sizes = space.plan("small").resolutions
    drawn = [sampling.sample(space, "small", rng) for _ in range(20)]
    scaled = [sampling.baseline(space, "small", w, r) for w in space.file.width for r in sizes]
    return (*drawn, *scaled)


def draw(predictor: Predictor, budget_ms: float, rng: np.random.Generator) -> Architecture:
    """A random architecture that the table knows and that is within the budget."""
    measured = predictor.table.provenance == "measured"
    while True:
        if measured:
            known = known_to_measured_tables()
            found = known[int(rng.integers(len(known)))]
        else:
            found = sampling.sample(predictor.space, "small", rng)
        with contextlib.suppress(TableError):
            if predictor.architecture(found).upper_ms <= budget_ms:
                return found


def _write_trials(
    run: RunFolder,
    predictor: Predictor,
    settings: SearchSettings,
    plan: RunPlan,
    rng: np.random.Generator,
) -> None:
    study = open_study(run.journal, None, [f"latency_ms {plan.device}"])
    budget_ms = settings.budgets_ms[plan.device]
    for number in range(plan.trials):
        architecture = draw(predictor, budget_ms, rng)
        network = predictor.space.network(architecture, len(plan.classes))
        cost = network.cost
        prediction = predictor.architecture(architecture)
        trial = study.ask()
        attributes = {
            "id": architecture.id, "architecture": architecture.to_json(),
            "images": plan.images, "latency_ms": {plan.device: latency_json([prediction], [1.0])},
            "params": cost.params, "macs": cost.macs, "size_bytes": 4 * cost.params,
            "peak_memory_bytes": peak_activation_bytes(network), "energy_mj": {},
            "refused": number % 3,
            "origin": "fastest" if number == 0 else "nsga2",
        }  # fmt: skip
        write_trial(study, trial, attributes)
        study.tell(trial, [plan.accuracy(cost.macs, rng) - 0.03, prediction.predicted_ms])


def _entry(
    predictor: Predictor, architecture: Architecture, plan: RunPlan, rng: np.random.Generator
) -> dict[str, Any]:
    network = predictor.space.network(architecture, len(plan.classes))
    score = Score(round(plan.images * plan.accuracy(network.cost.macs, rng)), plan.images)
    file = f"models/{architecture.id}.onnx"
    return {
        "id": architecture.id,
        "architecture": architecture.to_json(),
        "validation_accuracy": score.to_json(measured="from the file", file=file),
        "latency_ms": {plan.device: latency_json([predictor.architecture(architecture)], [1.0])},
        "params": network.cost.params,
        "macs": network.cost.macs,
        "size_bytes": 4 * network.cost.params,
        "peak_memory_bytes": peak_activation_bytes(network),
        "energy_mj": {},
        "files": {"onnx": file, "json": f"models/{architecture.id}.json"},
        "parity": {},
    }


def _baselines(
    predictor: Predictor, plan: RunPlan, budget_ms: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    found = []
    for width in predictor.space.file.width if plan.baselines else ():
        architecture = sampling.baseline(predictor.space, "small", width)
        if predictor.architecture(architecture).upper_ms <= budget_ms:
            entry = _entry(predictor, architecture, plan, rng)
            found.append({"width": width, **entry, "accuracy": entry["validation_accuracy"]})
    return found


def write_measured_table(folder: Path, architectures: Sequence[Architecture]) -> LatencyTable:
    """A measured table with the blocks of these architectures; latency follows the MACs."""
    space = load_space("mobilenetv3")
    networks = [space.network(a, 10) for a in architectures]
    keys = {key for network in networks for key in network.keys()}
    rows = {key: Row(0.01 + key.block.cost.macs * 1e-7, 0.001, 0.0, 50) for key in keys}
    predicted = [sum(rows[key].latency_ms for key in n.keys()) for n in networks]
    points = [[p, p * (1.02 + 0.03 * math.sin(i))] for i, p in enumerate(predicted)]
    device = DeviceFile.model_validate(
        {
            "schema": 1, "name": folder.name, "hardware": "a <fast> board",
            "runtime": "onnxruntime", "runtime_version": "1.31.1", "threads": 1, "mode": None,
            "precision": "fp32", "export": {"opset": 17, "ir_version": 8, "hardswish": True},
            "provenance": {
                "kind": "measured", "date": datetime.date(2026, 3, 1), "method": "median of 5"
            },
            "rows": len(rows),
            "calibrations": [
                Calibration(
                    space="mobilenetv3", plan="small", resolutions=[24, 28, 32], precision="fp32",
                    constant_ms=0, sum_factor=1, per_block_ms=0, border_ms_per_million=0,
                    mac_ms_per_billion=0,
                    spill_ms_per_mb=0, cache_mb=1,
                    lower_factor=0.95,
                    upper_factor=1.08, fit_models=12, bound_models=50,
                    certificate=WholeModels(
                        models=30, mape=0.02, within_5=0.9, within_10=1, rank_correlation=0.99,
                        coverage=0.97, repeat_difference=0.01, points=points,
                    ),
                )
            ],
        }
    )  # fmt: skip
    table = LatencyTable(device, rows, folder)
    write_table(table)
    return table


def write_model(run: RunFolder, model_id: str, classes: Sequence[str]) -> Path:
    """A real ONNX file for a finalist, with random weights and the metadata of a search."""
    entries = run.read_front()["models"]
    entry = next(entry for entry in entries if entry["id"] == model_id)
    space = load_space("mobilenetv3")
    architecture = space.from_json(entry["architecture"])
    dataset = replace(load_dataset(None, 0, resolutions=(24,)), classes=tuple(classes))
    path = run.path / entry["files"]["onnx"]
    metadata = onnx_metadata(dataset, architecture, entry)
    network = space.network(architecture, len(classes))
    write_onnx(path, network, random_weights(0), GraphTarget(), metadata)
    return path


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    write_json(path, content)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Make a run in a fresh folder; keywords change its `RunPlan`."""

    def make(**changes: Any) -> RunFolder:
        return make_run(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", RunPlan(**changes))

    return make


@pytest.fixture
def measured_table(tmp_path: Path) -> Callable[[], LatencyTable]:
    """Write a measured table that knows the blocks of some small networks of mobilenetv3."""
    known = known_to_measured_tables()
    return lambda: write_measured_table(tmp_path / "tables" / "my-board", known)


@pytest.fixture
def edit() -> Callable[[Path, Callable[[Any], None]], None]:
    """Change a JSON file in place."""
    return edit_json


@pytest.fixture
def real_file() -> Callable[[RunFolder, str, Sequence[str]], Path]:
    """Export a finalist with random weights."""
    return write_model


@pytest.fixture(scope="session")
def estimated_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on an estimated table; not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "estimated")


@pytest.fixture
def run(tmp_path: Path, estimated_run: RunFolder) -> RunFolder:
    """A copy of it that may be changed."""
    shutil.copytree(estimated_run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def measured_run(run: RunFolder) -> RunFolder:
    """The estimated run after `nas search --verify`; the slowest model is over the budget."""

    def measure(front: Any) -> None:
        for place, model in enumerate(front["models"]):
            latency = model["latency_ms"]["jetson-nano"]
            slowest = place == len(front["models"]) - 1
            latency_ms = 11.5 if slowest else latency["predicted"] * (1.02 + 0.01 * place)
            latency["measured"] = {
                "latency_ms": latency_ms, "spread_ms": 0.01, "p95_ms": 1.1 * latency_ms,
                "over_budget": latency_ms > 9, "over_upper": latency_ms > latency["upper"],
                "machine": "a <real> board", "same_machine": False, "runtime": "onnxruntime",
                "runtime_version": "1.31.1", "same_runtime": True, "threads": 1,
                "date": "2026-03-01",
            }  # fmt: skip

    edit_json(run.front, measure)
    return run
