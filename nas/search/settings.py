"""Settings of a run, from a configuration file and the command line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from nas.accuracy.score import Metric
from nas.documents import Section, read_yaml, validate
from nas.errors import OptionError
from nas.files import search_folders
from nas.units import (
    parse_bytes,
    parse_count,
    parse_duration_s,
    parse_energy_mj,
    parse_latency_ms,
)

DEFAULT_SPACE = "mobilenetv3"
MAX_SEED = 2**31 - 1
Kind = Literal["latency", "energy", "memory", "size", "macs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a model costs beside its error; latency and energy on each device."""
LIMITS: tuple[tuple[Kind, Callable[[str, str], float], str], ...] = (
    ("energy", parse_energy_mj, "mJ"),
    ("memory", parse_bytes, "B"),
    ("size", parse_bytes, "B"),
    ("macs", parse_count, ""),
)
"""How limits beside the budgets are read, and the unit in which they are written."""
Steps = Annotated[int, Field(gt=0, le=10_000_000)]


class _Shared(Section):
    """Everything but the devices."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    per_device: bool = False
    budget_on: Literal["worst", "expected"] = "worst"
    objective: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("latency",)
    max_energy: str | None = None
    max_memory: str | None = None
    max_size: str | None = None
    max_macs: str | None = None
    space: str = DEFAULT_SPACE
    plan: Literal["small", "large"] | None = None
    data: str | None = None
    metric: Metric = "accuracy"
    evaluator: Literal["supernet", "training"] = "supernet"
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    trials: Annotated[int, Field(gt=0, le=1_000_000)] = 64
    finalists: Annotated[int, Field(gt=0, le=1000)] = 8
    sampler: Literal["front", "nsga2", "tpe", "gp", "random"] = "front"
    warm_start: tuple[dict[str, Any], ...] = ()
    time_limit: str | None = None
    supernet: str | None = None
    supernet_steps: Steps | None = None
    supernet_batch: Annotated[int, Field(gt=1, le=65_536)] | None = None
    trial_steps: Steps | None = None
    finetune_steps: Steps | None = None
    promote: Annotated[int, Field(ge=0, le=10_000)] | None = None
    short_steps: Steps | None = None
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None

    @field_validator("objective", "warm_start", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class SearchSettings(_Shared):
    """What a user asks for. Everything but `devices` has a default.

    Attributes:
        devices: Latency budget, with its unit, of each device: name, alias or folder of a latency
            table. Budgets are held against the upper bound of every prediction.
        per_device: Models for each device by itself, in place of models that hold on all.
        budget_on: What budgets hold for where networks have exits: an inference through all of it
            (`worst`), or what is expected on average.
        objective: What is minimised beside the error; the rest is only held within its limit.
        max_energy: Of an inference on each device, with its unit.
        max_memory: Of the activations that are alive at once, with its unit.
        max_size: Of an exported file, with its unit.
        max_macs: Multiply-adds, such as `50M`.
        space: Name of a search space, or the path of its file.
        plan: Input plan; chosen from the size of the images if not given.
        data: Images, as `nas.data.scan` takes them; scikit-learn's digits if not given.
        metric: What models are compared by: `accuracy`, or `balanced`, its mean over the classes.
        evaluator: What scores architectures: `supernet`, whose weights they take, or `training` of
            each from scratch, finalists included.
        seed: Of everything random.
        trials: Distinct architectures to score.
        finalists: Models to fine-tune and export, at most.
        sampler: What proposes architectures.
        warm_start: Architecture objects that are scored first, as far as they meet the limits.
        time_limit: Duration with a unit; fixes the numbers of steps from a few timed ones.
        supernet: A trained supernet to use instead of training one.
        supernet_steps: Overrides the number of training steps.
        supernet_batch: Images for each of them; by the device that trains if not given.
        trial_steps: Overrides the steps for each architecture that is trained from scratch.
        finetune_steps: Overrides the steps for each finalist.
        promote: Architectures that are scored again, for finalists to be chosen from: trained
            briefly from the supernet's weights (twice as many as finalists if not given), or
            longer than trials from scratch (none if not given). 0: choose by the trials' scores.
        short_steps: Overrides the steps for each of these.
        threads: For training and scoring; all cores that it may use if not given.
    """

    devices: Annotated[dict[str, str], Field(alias="device")]

    @property
    def budgets_ms(self) -> dict[str, float]:
        """The budget of each device in milliseconds.

        Raises:
            UnitError: One has no unit, or is not above zero.
        """
        return {device: parse_latency_ms(text) for device, text in self.devices.items()}

    @property
    def limits(self) -> dict[Kind, float]:
        """Limits beside the budgets: mJ, bytes, bytes and multiply-adds.

        Raises:
            UnitError: One has no unit, or is not above zero.
        """
        return {
            kind: parse(text, f"--max-{kind}")
            for kind, parse, _ in LIMITS
            if (text := getattr(self, f"max_{kind}")) is not None
        }

    @property
    def time_limit_s(self) -> float | None:
        """The time limit in seconds.

        Raises:
            UnitError: It has no unit, or is not above zero.
        """
        return None if self.time_limit is None else parse_duration_s(self.time_limit)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that differ where any setting does."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def default_folder(self) -> Path:
        """`runs/<device>-<budget>-<digest>` in the working folder; of several the first one."""
        (first, budget), *others = self.devices.items()
        more = f"-and-{len(others)}-more" if others else ""
        return Path("runs") / f"{Path(first).name[:80]}-{budget}{more}-{self.digest}"


def read_settings(config: str | None, overrides: Mapping[str, Any]) -> SearchSettings:
    """Settings of a configuration file, then of the command line; both checked together.

    Args:
        config: Name of a shipped configuration, or a path; `None` for none.
        overrides: Values from the command line; `None` means not given.

    Raises:
        OptionError: Unknown or missing keys, or values that are not allowed.
        UnitError: A budget or time limit without a unit.
    """
    values: dict[str, Any] = {}
    if config is not None:
        path = find_config(config)
        values = read_yaml(path, _Given, OptionError).model_dump(by_alias=True, exclude_unset=True)
    values |= {name: value for name, value in overrides.items() if value is not None}
    _drop_overruled(values, overrides)
    given = validate(values, _Given, OptionError, "settings")
    content = given.model_dump(by_alias=True, exclude={"device", "budget"})
    settings = validate(
        {**content, "device": _budgets(given)}, SearchSettings, OptionError, "settings"
    )
    _ = settings.time_limit_s
    if settings.per_device and settings.finalists < len(settings.devices):
        raise OptionError(
            "each device needs a finalist of its own",
            got=f"{settings.finalists} finalists for {len(settings.devices)} devices",
            do=f"--finalists {len(settings.devices)} or more",
        )
    _check_evaluator(settings)
    _check_supernet(settings)
    _check_promoted(settings)
    # One way to write what means the same: the run's folder and --resume go by it.
    limits = {f"max_{kind}": f"{settings.limits[kind]:.12g}{unit}"
              for kind, _, unit in LIMITS if kind in settings.limits}  # fmt: skip
    data = None if settings.data is None else os.path.normpath(settings.data)
    training = settings.evaluator == "training"
    return settings.model_copy(
        update={
            "devices": {name: f"{ms:.12g}ms" for name, ms in settings.budgets_ms.items()},
            "data": data,
            "objective": tuple(kind for kind in KINDS if kind in settings.objective),
            "promote": (settings.promote or None) if training else settings.promote,
            "per_device": settings.per_device and len(settings.devices) > 1,
            **limits,
        }
    )


_OF_ITS_TRAINING = ("supernet_steps", "supernet_batch")
_ONLY_FOR = {"supernet": ("supernet", *_OF_ITS_TRAINING), "training": ("trial_steps",)}
"""Settings that are for one evaluator."""


def _check_evaluator(settings: SearchSettings) -> None:
    """Refuse what is for the other evaluator.

    Raises:
        OptionError: Something is.
    """
    other = "supernet" if settings.evaluator == "training" else "training"
    for name in _ONLY_FOR[other]:
        value = getattr(settings, name)
        if value:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(
                f"{option} is for --evaluator {other}",
                got=f"{option} {value} with --evaluator {settings.evaluator}",
                do=f"leave {option} out",
            )


def _check_supernet(settings: SearchSettings) -> None:
    """Refuse how a supernet is trained where a trained one is given.

    Raises:
        OptionError: It is told.
    """
    for name in _OF_ITS_TRAINING:
        value = getattr(settings, name)
        if settings.supernet and value:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(
                f"{option} is for a supernet that is trained, and --supernet gives a trained one",
                got=f"{option} {value} with --supernet {settings.supernet}",
                do="leave one of the two out",
            )


def _check_promoted(settings: SearchSettings) -> None:
    """Refuse promotions that mean nothing.

    Raises:
        OptionError: Too few are promoted, or not for longer than trials, or none with steps.
    """
    if settings.promote and settings.promote <= settings.finalists:
        raise OptionError(
            "more architectures are promoted than become finalists",
            got=f"--promote {settings.promote} for {settings.finalists} finalists",
            do=f"--promote {2 * settings.finalists}, or 0 to choose by the trials' scores",
        )
    if settings.short_steps is None or settings.evaluator == "supernet":
        return
    if not settings.promote:
        raise OptionError(
            "--short-steps are of promoted architectures",
            got="no --promote",
            do=f"--promote {2 * settings.finalists}, or leave --short-steps out",
        )
    if settings.trial_steps is not None and settings.short_steps <= settings.trial_steps:
        raise OptionError(
            "promoted architectures are trained for longer than trials",
            got=f"--short-steps {settings.short_steps}, --trial-steps {settings.trial_steps}",
            do="more --short-steps",
        )


class _Given(_Shared):
    """Settings as people write them: one device and its budget, or several with theirs."""

    device: str | dict[str, str | None] | list[str] | None = None
    budget: str | None = None

    @field_validator("budget", mode="before")
    @classmethod
    def _without_unit(cls, value: Any) -> Any:
        """A bare number is told what it lacks, as where it is typed."""
        return str(value) if type(value) in (int, float) else value


def _budgets(given: _Given) -> dict[str, str]:
    """The budget of every device: its own, or the common one.

    Raises:
        OptionError: No device, a device twice, without a budget or with two.
    """
    found: dict[str, str | None] = {}
    named = [given.device] if isinstance(given.device, str) else given.device or []
    for device, budget in named.items() if isinstance(named, dict) else map(_split, named):
        if device in found:
            raise OptionError("a device is given once", got=device, do="leave one of them out")
        found[device] = budget
    if not found:
        raise _missing("device")
    without = [device for device, budget in found.items() if budget is None]
    if given.budget is None and len(without) < len(found):
        for device in without:
            raise OptionError(
                "each device has a budget",
                got=f"none for {device}",
                do=f"--device {device}=20ms, or --budget for all that have none",
            )
    if given.budget is None and without:
        raise _missing("budget")
    if given.budget is not None and None not in found.values():
        raise OptionError(
            "a device has one budget",
            got=f"--budget {given.budget} beside {_joined(found)}",
            do="leave --budget out: it is for devices without a budget of their own",
        )
    return {device: budget or str(given.budget) for device, budget in found.items()}


def _drop_overruled(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """What a file says that has no meaning beside what was typed.

    Its budget is for its own device, where those that were typed have theirs; how it trains is for
    its own evaluator, and for a supernet that is trained.
    """
    typed = {name: value for name, value in overrides.items() if value is not None}
    without: tuple[str, ...] = ()
    devices = typed.get("device")
    if isinstance(devices, list) and all(_split(text)[1] is not None for text in devices):
        without += ("budget",)
    if "evaluator" in typed:
        without += _ONLY_FOR["supernet" if typed["evaluator"] == "training" else "training"]
    if "supernet" in typed:
        without += _OF_ITS_TRAINING
    for name in without:
        if name not in typed:
            values.pop(name, None)


def _split(text: str) -> tuple[str, str | None]:
    """`NAME=BUDGET`, or a name alone, which may be a folder whose name has the sign."""
    name, sign, budget = text.rpartition("=")
    if not sign or Path(text).is_dir():
        return text, None
    if not name or not budget:
        raise OptionError(
            "a device is a name, with a budget of its own after a sign",
            got=f"--device {text}",
            allowed="NAME or NAME=BUDGET",
            do="--device jetson-nano=20ms (was a variable of the shell empty?)",
        )
    return name, budget


def _joined(devices: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name}={budget}" for name, budget in devices.items())


def _missing(what: str) -> OptionError:
    return OptionError(
        f"a search needs a {what}",
        do="nas search --device jetson-nano --budget 20ms (nas devices lists devices)",
    )


def find_config(name: str) -> Path:
    """A configuration by path, or by name in the folders of look-up.

    Raises:
        OptionError: There is none.
    """
    if Path(name).is_file():
        return Path(name)
    known: dict[str, Path] = {}
    for folder in search_folders("configs"):
        for path in sorted(folder.glob("*.yaml")):
            known.setdefault(path.stem, path)
    stem = name.removesuffix(".yaml").removeprefix("configs/")
    if stem not in known:
        raise OptionError(
            "no configuration has this name",
            got=name,
            allowed=", ".join([*sorted(known), "or the path of a file"]),
            do="check the path",
        )
    return known[stem]
