"""The Python way to do what `nas search` and `nas train` do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ArchitectureError
from nas.search.folders import onnx_files
from nas.search.measured import say_measured
from nas.search.ranked import CHECK, supernet_lines
from nas.search.run_folder import RunFolder, check_finished, check_state
from nas.search.settings import read_settings
from nas.space.architecture import Architecture
from nas.threads import spin_briefly

if TYPE_CHECKING:
    from nas.search.watch import Watcher


@dataclass(frozen=True)
class Model:
    """An exported model of a finished run.

    Attributes:
        id: Of the architecture.
        file: The ONNX file; of a network with exits the first.
        files: All of them, in the order in which they run.
        accuracy: On the test images, from the file, 0 to 1.
        validation_accuracy: On the validation images, which decide the front.
        latency_ms: Predicted, batch 1, on the first device.
        upper_ms: Upper bound of the prediction.
        provenance: `measured` or `estimated`: what the latency table is.
        latencies: By device as it was typed: predicted, lower, upper (ms), provenance and, after
            `nas search --verify`, measured.
        size_bytes: Of the file.
        peak_memory_bytes: Of the activations that are alive at once.
        params: Number of parameters.
        macs: Multiply-adds.
        expected_ms: On average over the images, where there are exits: the latencies are then of an
            inference through all of it.
        measured_ms: Of the file as a whole on the first device; `None` where it was not measured.
        dominated: Another finalist is at least as good in everything and better in something.
        architecture: The architecture object.
    """

    id: str
    file: Path
    files: tuple[Path, ...]
    accuracy: float
    validation_accuracy: float
    latency_ms: float
    upper_ms: float
    provenance: str
    latencies: dict[str, dict[str, Any]]
    size_bytes: int
    peak_memory_bytes: int
    params: int
    macs: int
    dominated: bool
    architecture: dict[str, Any]
    expected_ms: float | None = None
    measured_ms: float | None = None


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: Where it is.
        models: That were exported, fastest on the first device first.
        recommended: The one to take.
        per_device: With `per_device`: the models of each device's front, its recommended one first.
        warnings: What must not be missed.
    """

    folder: Path
    models: tuple[Model, ...]
    recommended: Model
    per_device: dict[str, tuple[Model, ...]]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """The model of a finished training.

    Attributes:
        id: Of the network.
        folder: Of the training.
        file: The ONNX file; of a network with exits the first.
        files: All of them, in the order in which they run.
        accuracy: On the test images, from the file, 0 to 1.
        validation_accuracy: On the validation images.
        params: Number of parameters.
        macs: Multiply-adds.
        size_bytes: Of the file.
        seconds: Of training, scoring left out.
    """

    id: str
    folder: Path
    file: Path
    files: tuple[Path, ...]
    accuracy: float
    validation_accuracy: float
    params: int
    macs: int
    size_bytes: int
    seconds: float


def train_model(
    architecture: Architecture | Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    **settings: Any,
) -> Trained:
    """Train one architecture by itself and export it; a finished training is read again.

    Args:
        architecture: Of a space that its name finds, unless `space` is given; or its object, as
            `nas sample --json` prints it, or a model of `front.json`. `reference` or `width` may
            name a network instead.
        out: Folder; `runs/train-<id>-<hash of the settings>` if not given.
        resume: Continue an unfinished training.
        watcher: Hears about the progress.
        **settings: Fields of `nas.search.training.settings.TrainSettings`: `data`, `epochs`, ...

    Raises:
        InputError: Something about the input; the message says what and what is allowed.
        NasError: Something failed.
    """
    spin_briefly()
    from nas.search.training.run import run_training
    from nas.search.training.settings import train_settings

    given = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in settings.items()}
    if architecture is not None:
        content = _architecture_object(architecture)
        given = {"space": content.get("space"), **given, "architecture": content}
    place = Path(out) if out is not None else None
    done = run_training(train_settings(given), place, resume=resume, watcher=watcher)
    found = done.read_result()
    files = [done.path / name for name in onnx_files(found)]
    return Trained(
        id=found["id"],
        folder=done.path,
        file=files[0],
        files=tuple(files),
        accuracy=found["accuracy"]["value"],
        validation_accuracy=found["validation_accuracy"]["value"],
        **{name: found[name] for name in ("params", "macs", "size_bytes", "seconds")},
    )


def _architecture_object(given: Architecture | Mapping[str, Any]) -> dict[str, Any]:
    """As `nas sample --json` prints it.

    Raises:
        ArchitectureError: It is something else.
    """
    if isinstance(given, Architecture):
        return given.to_json()
    if isinstance(given, Mapping):
        inner = given.get("architecture")  # a model's entry in front.json, or models/<id>.json
        return dict(inner if isinstance(inner, Mapping) else given)
    raise ArchitectureError(
        "an architecture is a nas.Architecture, or the object of one",
        got=type(given).__name__,
        allowed="what space.sample, nas sample --json or a run's models/<id>.json give",
        do="reference='SPACE/NAME' for a published network, width=0.5 for a hand-made one",
    )


def find_models(
    device: str | Path | Mapping[str, str] | Mapping[Path, str],
    budget: str | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    config: str | None = None,
    watcher: Watcher | None = None,
    **settings: Any,
) -> Result:
    """Search for models that meet a latency budget on a device, or on several, and export them.

    Args:
        device: Name, alias or folder of a latency table (`nas devices`); several as
            `{name: budget}`.
        budget: Latency with a unit, such as `"20ms"`; of one device.
        out: Run folder; `runs/<device>-<budget>-<hash of the settings>` if not given.
        resume: Continue an unfinished run.
        config: Name or path of a configuration file.
        watcher: Hears about the progress.
        **settings: Fields of `nas.search.settings.SearchSettings`, such as `data`, `trials`.

    Raises:
        InputError: Something about the input; the message says what and what is allowed.
        NasError: Something failed.
    """
    devices = (
        {os.fspath(name): limit for name, limit in device.items()}
        if isinstance(device, Mapping)
        else os.fspath(device)
    )
    overrides = {"device": devices, "budget": budget, **settings}
    overrides = {k: os.fspath(v) if isinstance(v, os.PathLike) else v for k, v in overrides.items()}
    wanted = read_settings(config, overrides)
    run = RunFolder(Path(out) if out is not None else wanted.default_folder())
    if check_state(run, wanted, resume) != "finished":
        spin_briefly()
        from nas.search.run import run_search

        run_search(wanted, run.path, resume=resume, watcher=watcher)
    if not run.report.exists():
        from nas.report.page import write_report

        write_report(run.path)
    return open_run(run.path)


def open_run(folder: str | Path) -> Result:
    """The result of a finished run.

    Raises:
        RunFolderError: The run is not finished, or there is none.
    """
    run = RunFolder(Path(folder))
    check_finished(run)
    front = run.read_front()
    models = tuple(_model(run, entry) for entry in front["models"])
    by_id = {model.id: model for model in models}
    per_device = {
        found["device"]: tuple(
            by_id[name]
            for name in sorted(found["models"], key=lambda name: name != found["recommended"])
        )
        for found in front["fronts"]
        if found["device"] is not None
    }
    settings = run.read_run()["settings"]
    _, over = say_measured(front["models"], settings)
    warnings = (*over, *supernet_lines(run.logged(CHECK), settings["supernet"]))
    return Result(run.path, models, by_id[front["recommended"]], per_device, warnings)


def _model(run: RunFolder, entry: dict[str, Any]) -> Model:
    latency = next(iter(entry["latency_ms"].values()))
    return Model(
        id=entry["id"],
        file=run.path / entry["files"]["onnx"],
        files=tuple(run.path / name for name in onnx_files(entry)),
        accuracy=entry["accuracy"]["value"],
        validation_accuracy=entry["validation_accuracy"]["value"],
        latency_ms=latency["predicted"],
        upper_ms=latency["upper"],
        provenance=latency["provenance"],
        latencies=entry["latency_ms"],
        size_bytes=entry["size_bytes"],
        peak_memory_bytes=entry["peak_memory_bytes"],
        params=entry["params"],
        macs=entry["macs"],
        dominated=entry["dominated"],
        architecture=entry["architecture"],
        expected_ms=latency.get("expected", {}).get("predicted"),
        measured_ms=latency.get("measured", {}).get("latency_ms"),
    )
