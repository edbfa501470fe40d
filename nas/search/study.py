"""The Optuna study of a run: opening it, writing a trial, reading trials back."""

from __future__ import annotations

import contextlib
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import Trial, TrialState

from nas.accuracy.score import SEARCH
from nas.errors import RunFolderError
from nas.files import disk_errors
from nas.search.journal import mend_journal, open_storage, together
from nas.search.samplers.domain import INTERRUPTED, TRIED
from nas.units import format_bytes

STUDY_NAME = SEARCH.name
"""Studies are named after the fidelity of their trials; this one's a sampler proposes."""


@dataclass(frozen=True)
class TrialRecord:
    """A scored architecture, as the study holds it.

    Attributes:
        number: Of the trial, from 0, in the order in which they were begun.
        id: Of the architecture.
        architecture: The architecture object.
        accuracy: Validation accuracy as the study's fidelity has it, 0 to 1.
        loss: Mean cross-entropy of the same images, nats; None where not all of the study's trials
            have one.
        images: How many validation images that is of.
        latency_ms: Per device: predicted, lower, upper (ms) and provenance.
        params: Number of parameters.
        macs: Multiply-adds.
        size_bytes: Upper bound of the exported file's size.
        peak_memory_bytes: Of the activations that are alive at once.
        energy_mj: Per device that knows it, mJ.
        refused: Proposals for this trial that broke a limit, before repair.
        origin: `baseline width 0.5`, `fastest`, or the sampler's name.
    """

    number: int
    id: str
    architecture: dict[str, Any]
    accuracy: float
    images: int
    latency_ms: dict[str, dict[str, Any]]
    params: int
    macs: int
    size_bytes: int
    peak_memory_bytes: int
    energy_mj: dict[str, float]
    refused: int
    origin: str
    loss: float | None = None

    @property
    def error(self) -> float:
        """By which trials are chosen, minimised: the loss, or the share of wrong classes."""
        return 1 - self.accuracy if self.loss is None else self.loss

    @property
    def costs(self) -> dict[str, Any]:
        """As goals read them."""
        return {name: getattr(self, name) for name in COSTS}


def open_study(
    journal: Path,
    sampler: BaseSampler | None,
    costs: Sequence[str],
    name: str = STUDY_NAME,
    *,
    mend: bool = True,
) -> Study:
    """The run's study, made if there is none; trials that were cut off are marked as failed.

    Only the process that holds the run folder's lock may call this.

    Args:
        journal: The storage's file.
        sampler: What proposes.
        costs: Names of the objectives after the accuracy, minimised.
        name: Of the study.
        mend: Remove what a killed process left in the file.

    Raises:
        RunFolderError: The storage cannot be read.
    """
    with changing(journal):
        journal.parent.mkdir(parents=True, exist_ok=True)
        if mend:
            mend_journal(journal)
        with reading(journal):
            study = make_study(open_storage(journal), name, sampler, costs)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            interrupt_trial(trial._trial_id, study._storage)
    return study


def interrupt_trial(trial_id: int, storage: BaseStorage) -> None:
    """Let a trial fail that was cut off, unless it ended meanwhile: its architecture is free."""
    with contextlib.suppress(UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, INTERRUPTED, True)
        storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


def make_study(
    storage: BaseStorage, name: str, sampler: BaseSampler | None, costs: Sequence[str]
) -> Study:
    """The study of this name in a storage, made if there is none."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(costs)],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["validation accuracy", *costs])
    return study


@contextlib.contextmanager
def changing(journal: Path) -> Iterator[None]:
    """A change of the storage: Ctrl-C waits for its end, and a refused write is one line.

    The storage's lock breaks when it is interrupted while it is taken or given back.

    Raises:
        DiskFullError: No space is left.
        RunFolderError: The storage cannot be written for another reason.
    """
    if threading.current_thread() is not threading.main_thread():
        with disk_errors(journal):
            yield
        return
    pressed: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: pressed.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with disk_errors(journal):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if pressed:
            signal.raise_signal(pressed[0])


def read_trials(journal: Path, name: str = STUDY_NAME) -> list[TrialRecord]:
    """All scored trials of a study of a run, in the order in which they were begun.

    Raises:
        RunFolderError: The journal is damaged.
    """
    if not journal.is_file():
        return []
    with reading(journal):
        storage = open_storage(journal)
        if name != STUDY_NAME and name not in optuna.get_all_study_names(storage):
            return []
        return trial_records(optuna.load_study(storage=storage, study_name=name))


@contextlib.contextmanager
def reading(journal: Path) -> Iterator[None]:
    """Whatever the storage trips over in a damaged journal is one line.

    Raises:
        RunFolderError: The journal is damaged.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError) as cause:
        reason = " ".join(f"{type(cause).__name__} {cause}".split())
        raise RunFolderError(
            f"{journal} cannot be read as a study: {reason}",
            allowed="a journal that nas search wrote",
            do="--out OTHER_FOLDER for a new run",
        ) from cause


def trial_records(study: Study) -> list[TrialRecord]:
    """All scored trials of a study."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    losses = [trial.user_attrs.get(LOSS) for trial in trials]
    if None in losses:  # of a run that was begun when trials had none
        losses = [None] * len(trials)
    return [
        TrialRecord(
            number=trial.number,
            accuracy=float(trial.values[0]),
            loss=loss,
            **{name: trial.user_attrs[name] for name in _ATTRIBUTES},
        )
        for trial, loss in zip(trials, losses, strict=True)
    ]


def tried_ids(study: Study) -> set[str]:
    """Ids of the architectures that were scored, or could not be; not of trials cut off."""
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return {
        trial.user_attrs["id"]
        for trial in ended
        if trial.state == TrialState.COMPLETE or TRIED in trial.user_attrs
    }


def ask(study: Study, dimensions: Mapping[str, BaseDistribution]) -> Trial:
    """A new trial with its parameters.

    Raises:
        ExhaustedError: The sampler has none.
    """
    trial = study.ask()
    _ = trial.relative_params  # sampled when it is first read: now, while others may still write
    with together(study):
        for name, dimension in dimensions.items():
            trial._suggest(name, dimension)
    return trial


NOTE_PART = 2045
"""Characters of a part of a note, at most: what a database takes."""
COSTS = ("latency_ms", "energy_mj", "params", "macs", "size_bytes", "peak_memory_bytes")
LOSS = "validation loss"
"""User attribute of trials whose scores have one."""
_ATTRIBUTES = ("id", "architecture", "images", *COSTS, "refused", "origin")


def write_trial(study: Study, trial: Trial, attributes: Mapping[str, Any]) -> None:
    """Store what a trial costs and what it is, then its note for the dashboard."""
    for name in _ATTRIBUTES:
        trial.set_user_attr(name, attributes[name])
    if attributes.get(LOSS) is not None:
        trial.set_user_attr(LOSS, attributes[LOSS])
    latencies = [
        f"- {device}: **{value['predicted']:.3g} ms** ({value['lower']:.3g} to "
        f"{value['upper']:.3g} ms, {value['provenance']})" + _expected(value)
        for device, value in attributes["latency_ms"].items()
    ]
    energies = [f"- {device}: {mj:.3g} mJ" for device, mj in attributes["energy_mj"].items()]
    choices = attributes["architecture"]["choices"]
    lines = [
        f"`{attributes['id']}` from {attributes['origin']}, "
        f"{attributes['architecture']['resolution']} px",
        "",
        *latencies,
        *energies,
        f"- {attributes['params']:,} parameters, {attributes['macs']:,} MACs, "
        f"{format_bytes(attributes['size_bytes'])} as a file, "
        f"{format_bytes(attributes['peak_memory_bytes'])} of activations",
        "",
        *_choice_lines(choices),
    ]
    _save_note(trial, "\n".join(lines))


def _expected(latency: Mapping[str, Any]) -> str:
    """On average over the images, where there are exits."""
    return (
        f", {latency['expected']['predicted']:.3g} ms on average" if "expected" in latency else ""
    )


def fail_trial(trial: Trial, architecture: str, reason: str, attempts: int) -> None:
    """Store why a trial failed, and how often it was tried, before it is told."""
    trial.set_user_attr("id", architecture)
    trial.set_user_attr("reason", reason)
    trial.set_user_attr(TRIED, attempts)
    _save_note(trial, f"Not scored: {reason}")


def _save_note(trial: Trial, body: str) -> None:
    """As `optuna_dashboard.save_note`, whose import takes a search seconds.

    Tests read it with the dashboard's own `get_note`.
    """
    storage, study_id = trial.storage, trial.study._study_id
    prefix = f"dashboard:{trial._trial_id}:note_"
    known = storage.get_study_system_attrs(study_id)
    storage.set_study_system_attr(study_id, f"{prefix}ver", known.get(f"{prefix}ver", 0) + 1)
    parts = [body[start : start + NOTE_PART] for start in range(0, len(body), NOTE_PART)]
    for number, part in enumerate(parts):
        storage.set_study_system_attr(study_id, f"{prefix}str:{number}", part)
    number = len(parts)
    while f"{prefix}str:{number}" in known:  # of a longer note before
        storage.set_study_system_attr(study_id, f"{prefix}str:{number}", "")
        number += 1


def set_attributes(study: Study, attributes: Mapping[str, Any]) -> None:
    """Those of a study that are not as they are there already."""
    known = study.user_attrs
    with together(study):
        for name, value in attributes.items():
            if name not in known or known[name] != value:
                study.set_user_attr(name, value)


def _choice_lines(choices: Mapping[str, Any]) -> list[str]:
    """A list item for each stage: `stage2: depth 2, block1.kernel 3, ...`."""
    grouped: dict[str, list[str]] = {}
    for name, choice in choices.items():
        place, dot, rest = name.partition(".")
        grouped.setdefault(place, []).append(f"{rest} {choice}" if dot else str(choice))
    return [f"- {place}: {', '.join(parts)}" for place, parts in grouped.items()]
