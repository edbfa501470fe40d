"""Settings of a run, from a configuration file and the command line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nas.documents import Section, read_yaml, validate
from nas.errors import OptionError
from nas.files import search_folders
from nas.units import parse_duration_s, parse_latency_ms

DEFAULT_SPACE = "mobilenetv3"
MAX_SEED = 2**31 - 1
Steps = Annotated[int, Field(gt=0, le=10_000_000)]


class SearchSettings(Section):
    """What a user asks for. Everything but `device` and `budget` has a default.

    Attributes:
        device: Name, alias or folder of a latency table.
        budget: Latency with a unit; held against the upper bound of every prediction.
        space: Name of a search space, or the path of its file.
        plan: Input plan; chosen from the size of the images if not given.
        data: Folder or archive of images; scikit-learn's digits if not given.
        seed: Of everything random.
        trials: Distinct architectures to score.
        finalists: Models to fine-tune and export, at most.
        sampler: What proposes architectures.
        time_limit: Duration with a unit; fixes the numbers of steps from a few timed ones.
        supernet: A trained supernet to use instead of training one.
        supernet_steps: Overrides the number of training steps.
        finetune_steps: Overrides the steps for each finalist.
        threads: For training and scoring; all cores if not given.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    device: str
    budget: str
    space: str = DEFAULT_SPACE
    plan: Literal["small", "large"] | None = None
    data: str | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    trials: Annotated[int, Field(gt=0, le=1_000_000)] = 64
    finalists: Annotated[int, Field(gt=0, le=1000)] = 8
    sampler: Literal["front", "nsga2", "tpe", "gp", "random"] = "front"
    time_limit: str | None = None
    supernet: str | None = None
    supernet_steps: Steps | None = None
    finetune_steps: Steps | None = None
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None

    @property
    def budget_ms(self) -> float:
        """The budget in milliseconds.

        Raises:
            UnitError: It has no unit, or is not above zero.
        """
        return parse_latency_ms(self.budget)

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
        """`runs/<device>-<budget>-<digest>` in the working folder."""
        device = Path(self.device).name[:80]
        budget = "".join(self.budget.split())
        return Path("runs") / f"{device}-{budget}-{self.digest}"


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
        values = read_yaml(path, PartialSettings, OptionError).model_dump(
            by_alias=True, exclude_unset=True
        )
    values |= {name: value for name, value in overrides.items() if value is not None}
    for name in ("device", "budget"):
        if name not in values:
            raise OptionError(
                f"a search needs a {name}",
                do="nas search --device jetson-nano --budget 20ms (nas devices lists devices)",
            )
    settings = validate(values, SearchSettings, OptionError, "settings")
    _ = settings.time_limit_s
    # One way to write what means the same: the run's folder and --resume go by it.
    written = {"budget": f"{settings.budget_ms:.12g}ms"}
    if settings.data is not None:
        written["data"] = os.path.normpath(settings.data)
    return settings.model_copy(update=written)


class PartialSettings(SearchSettings):
    """A configuration file: device and budget may come from the command line."""

    device: str = ""
    budget: str = ""


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
