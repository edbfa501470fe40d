"""The Python way to do what `nas search` does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.search.run_folder import RunFolder, check_finished, check_state
from nas.search.settings import read_settings
from nas.threads import spin_briefly

if TYPE_CHECKING:
    from nas.search.watch import Watcher


@dataclass(frozen=True)
class Model:
    """An exported model of a finished run.

    Attributes:
        id: Of the architecture.
        file: The ONNX file.
        accuracy: On the test images, from the file, 0 to 1.
        validation_accuracy: On the validation images, which decide the front.
        latency_ms: Predicted, batch 1.
        upper_ms: Upper bound of the prediction.
        provenance: `measured` or `estimated`: what the latency table is.
        params: Number of parameters.
        macs: Multiply-adds.
        measured_ms: Of the file as a whole on the device; `None` without `nas search --verify`.
        dominated: Another finalist is at least as good in everything and better in something.
        architecture: The architecture object.
    """

    id: str
    file: Path
    accuracy: float
    validation_accuracy: float
    latency_ms: float
    upper_ms: float
    provenance: str
    params: int
    macs: int
    dominated: bool
    architecture: dict[str, Any]
    measured_ms: float | None = None


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its models (fastest first), and the recommended one."""

    folder: Path
    models: tuple[Model, ...]
    recommended: Model


def find_models(
    device: str,
    budget: str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    config: str | None = None,
    watcher: Watcher | None = None,
    **settings: Any,
) -> Result:
    """Search for models that meet a latency budget on a device, and export them.

    Args:
        device: Name, alias or folder of a latency table (`nas devices`).
        budget: Latency with a unit, such as `"20ms"`.
        out: Run folder; `runs/<device>-<budget>-<hash of the settings>` if not given.
        resume: Continue an unfinished run.
        config: Name or path of a configuration file.
        watcher: Hears about the progress.
        **settings: Fields of `nas.search.settings.SearchSettings`, such as `data`, `trials`.

    Raises:
        InputError: Something about the input; the message says what and what is allowed.
        NasError: Something failed.
    """
    overrides = {"device": device, "budget": budget, **settings}
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
    recommended = next(model for model in models if model.id == front["recommended"])
    return Result(run.path, models, recommended)


def _model(run: RunFolder, entry: dict[str, Any]) -> Model:
    latency = next(iter(entry["latency_ms"].values()))
    return Model(
        id=entry["id"],
        file=run.path / entry["files"]["onnx"],
        accuracy=entry["accuracy"]["value"],
        validation_accuracy=entry["validation_accuracy"]["value"],
        latency_ms=latency["predicted"],
        upper_ms=latency["upper"],
        provenance=latency["provenance"],
        params=entry["params"],
        macs=entry["macs"],
        dominated=entry["dominated"],
        architecture=entry["architecture"],
        measured_ms=latency.get("measured", {}).get("latency_ms"),
    )
