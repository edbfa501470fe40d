"""One training from settings to a finished folder, begun afresh or continued."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas.accuracy.device import training_device, use_threads
from nas.accuracy.memory import memory_errors
from nas.accuracy.score import METRIC_WORDS
from nas.accuracy.training import Trainer
from nas.data import Progress, manifest
from nas.export.graph import GraphTarget
from nas.export.onnx_file import add_metadata, write_onnx
from nas.export.weights import folded_weights
from nas.files import write_json
from nas.models.build import Model
from nas.search.exits import tune_exits
from nas.search.finalists import check_files, score_logits
from nas.search.folders import append_log, file_entries
from nas.search.front import data_metadata
from nas.search.resolved import versions
from nas.search.training.folder import TrainFolder, check_state
from nas.search.training.inputs import Inputs, check_unchanged, gather_inputs
from nas.search.training.session import Session
from nas.search.training.settings import TrainSettings
from nas.search.training.subject import find_subject
from nas.search.watch import Silent, Watcher
from nas.space.architecture import Network
from nas.space.memory import peak_activation_bytes

HOW = "of the exported file run by onnxruntime on the CPU, fp32"


def default_folder(settings: TrainSettings, progress: Progress | None = None) -> Path:
    """`runs/train-<id of the network>-<digest>` in the working folder.

    Raises:
        InputError: There is no such network.
    """
    return Path("runs") / f"train-{find_subject(settings, progress).id}-{settings.digest}"


def run_training(
    settings: TrainSettings,
    folder: Path | None = None,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
) -> TrainFolder:
    """Train one network, and leave a finished folder. A finished one is returned as it is.

    Args:
        settings: What to train, on what, how.
        folder: Where; `default_folder` if not given.
        resume: Continue an unfinished training of the same settings.
        watcher: Hears about the progress.

    Raises:
        RunFolderError: The folder holds something else, another training, or an unfinished one and
            `resume` was not given.
        InputError: Network, data, supernet or teacher do not fit.
        MemoryFullError: The device has too little memory.
        DiskFullError: No space is left; what is finished stays.
    """
    place = TrainFolder(folder or default_folder(settings, (watcher or Silent()).progress))
    watcher = watcher or Silent()
    if check_state(place, settings, resume) == "finished":
        return place
    with place.locked():
        # Another process may have begun or finished it meanwhile.
        state = check_state(place, settings, resume)
        if state == "finished":
            return place
        begun = place.read() if state == "unfinished" else {}
        inputs = gather_inputs(settings, begun, watcher)
        with memory_errors(training_device()):
            _work(place, inputs, begun, watcher)
    return place


def _work(place: TrainFolder, inputs: Inputs, begun: dict[str, Any], watcher: Watcher) -> None:
    use_threads(inputs.threads)
    device = training_device()
    digests = inputs.digests()
    if begun:
        check_unchanged(place.path, begun["inputs"], digests)
        if begun["device"] != device.type:
            watcher.say(
                f"This training was begun on {begun['device']} and goes on on {device.type}: what "
                "is random differs from there on."
            )
    else:
        place.write(_begin(inputs, digests, device))
        append_log(place.log, "data", about=inputs.about)
    if not place.data.exists():
        write_json(place.data, manifest(inputs.dataset))
    trainer = Trainer(
        inputs.start(device),
        inputs.dataset,
        inputs.settings.recipe,
        inputs.settings.seed,
        inputs.teacher(device),
        watcher.say,
        resolution=inputs.resolution,
    )
    belongs_to = {"settings": inputs.settings.to_json(), **digests}
    session = Session(trainer, place, belongs_to, watcher)
    session.restore()
    session.run()
    _finish(place, inputs, trainer.finished_model().cpu(), session, watcher)


def _begin(inputs: Inputs, digests: dict[str, str], device: torch.device) -> dict[str, Any]:
    """Content of `train.yaml`."""
    now = datetime.datetime.now(datetime.timezone.utc)
    recipe = inputs.settings.recipe.for_images(len(inputs.dataset.train.labels))
    return {
        "schema": 1,
        "settings": inputs.settings.to_json(),
        "started": now.isoformat(timespec="seconds"),
        "recipe": recipe.to_json(),
        "threads": inputs.threads,
        "device": device.type,
        "machine": platform.machine(),
        "inputs": digests,
        "versions": versions(),
    }


def _finish(
    place: TrainFolder, inputs: Inputs, model: Model, session: Session, watcher: Watcher
) -> None:
    """Export, compare with torch, score the file, and write down what came out."""
    dataset, subject, metric = inputs.dataset, inputs.subject, inputs.settings.metric
    network = model.network
    metadata = data_metadata(dataset, network.resolution) | _named(subject.to_json())
    files = write_onnx(place.model, network, folded_weights(model), GraphTarget(), metadata)
    total = len(dataset.validation.labels) + len(dataset.test.labels)

    def on_images(done: int) -> None:
        watcher.progress("scoring", done, total)

    logits, parity = check_files(files, model, dataset, inputs.threads, on_images)
    exits = None
    if len(files) > 1:
        until = network.macs_until_exits
        exits = tune_exits(logits["validation"], dataset.validation, until, metric)
        for file, told in zip(files, exits.metadata(), strict=True):
            add_metadata(file, told)
    thresholds = exits.thresholds if exits else ()
    scores = {
        name: score_logits(logits[split.name], split, metric, thresholds).to_json(
            measured=f"{METRIC_WORDS[metric]} {HOW}", file=files[0].name
        )
        for name, split in (
            ("validation_accuracy", dataset.validation), ("accuracy", dataset.test),
        )
    }  # fmt: skip
    result = {"schema": 1, "id": subject.id, **subject.to_json(), **scores}
    result |= _told(files, inputs, network, session)
    if exits:
        result["exits"] = {**exits.to_json(), "expected_macs": round(exits.expected)}
    write_json(place.result, {**result, "parity": parity})
    append_log(place.log, "finished", seconds=round(session.seconds, 1))
    place.checkpoint.unlink(missing_ok=True)


def _told(
    files: Sequence[Path], inputs: Inputs, network: Network, session: Session
) -> dict[str, Any]:
    """What the network costs and how it was trained, for `model.json`."""
    settings, trainer = inputs.settings, session.trainer
    return {
        "params": network.cost.params,
        "macs": network.cost.macs,
        "size_bytes": sum(file.stat().st_size for file in files),
        "peak_memory_bytes": peak_activation_bytes(network),
        "resolution": network.resolution,
        "data": inputs.dataset.name,
        "classes": len(inputs.dataset.classes),
        "epochs": settings.epochs,
        "steps": trainer.steps,
        "training_images": trainer.images,
        "seconds": round(session.seconds, 1),
        "device": trainer.device.type,
        "started_from": settings.supernet or "random weights",
        "teacher": _teacher(settings),
        "recipe": trainer.recipe.to_json(),
        "files": file_entries([file.name for file in files]),
    }


def _teacher(settings: TrainSettings) -> str | None:
    return "largest network of the supernet" if settings.distil else settings.teacher


def _named(subject: dict[str, Any]) -> dict[str, str]:
    """As metadata of the file."""
    return {
        f"nas.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in subject.items()
    }
