"""Settings of one training, from the command line or from Python."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from nas.accuracy.recipe import Optimiser, Recipe
from nas.accuracy.score import Metric
from nas.documents import Section, validate
from nas.errors import OptionError
from nas.search.settings import DEFAULT_SPACE, MAX_SEED

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Alpha = Annotated[float, Field(ge=0, le=100)]
EPOCHS = 30


class TrainSettings(Section):
    """What a user asks for.

    Attributes:
        architecture: An architecture object; this, `reference` or `width` names the network.
        reference: A published network, `SPACE/NAME`.
        width: Multiplier of the space's hand-made network.
        space: Search space of the architecture or of the hand-made network.
        plan: Input plan of the hand-made network; chosen from the size of the images if not given.
        resolution: Of the hand-made network, in pixels; the plan's largest if not given.
        data: Folder or archive of images; scikit-learn's digits if not given.
        seed: Of everything random.
        threads: For training and scoring; all cores that it may use if not given.
        supernet: A trained supernet whose weights training starts from.
        distil: The supernet's largest network teaches.
        teacher: An ONNX file that teaches.
        epochs: Fields from here on are those of `nas.accuracy.recipe.Recipe`.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    architecture: dict[str, Any] | None = None
    reference: str | None = None
    width: Positive | None = None
    space: str = DEFAULT_SPACE
    plan: Literal["small", "large"] | None = None
    resolution: Annotated[int, Field(gt=0, le=4096)] | None = None
    data: str | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    supernet: str | None = None
    distil: bool = False
    teacher: str | None = None
    epochs: Annotated[int, Field(gt=0, le=100_000)] = EPOCHS
    batch_size: Annotated[int, Field(gt=1, le=65_536)] = 64
    optimiser: Optimiser = "sgd"
    learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    mixup: Alpha = 0.0
    cutmix: Alpha = 0.0
    random_augment: Share = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    teacher_share: Share = 0.5
    metric: Metric = "accuracy"

    @property
    def recipe(self) -> Recipe:
        """How the network is trained."""
        names = {field.name for field in fields(Recipe)}
        return Recipe(**{k: v for k, v in self.model_dump().items() if k in names})

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that differ where any setting does."""
        content = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def to_json(self) -> dict[str, Any]:
        """For `train.yaml`."""
        return self.model_dump(mode="json", by_alias=True)


def train_settings(given: Mapping[str, Any]) -> TrainSettings:
    """Checked settings.

    Args:
        given: By name; `None` means not given.

    Raises:
        OptionError: Unknown keys, values that are not allowed, or what does not go together.
    """
    values = {name: value for name, value in given.items() if value is not None}
    settings = validate(values, TrainSettings, OptionError, "settings")
    _check_network(settings)
    if settings.distil and settings.supernet is None:
        raise OptionError(
            "--distil lets a supernet's largest network teach",
            got="no --supernet",
            do="add --supernet FILE, or name a --teacher FILE.onnx",
        )
    if "teacher_share" in values and not settings.distil and settings.teacher is None:
        raise OptionError(
            "--teacher-share is for a teacher",
            got=f"--teacher-share {settings.teacher_share:g} alone",
            do="add --teacher FILE.onnx, or --supernet FILE --distil",
        )
    if values.get("teacher_share") == 0:
        raise OptionError(
            "a teacher has a share of the loss", got="--teacher-share 0", do="leave the teacher out"
        )
    if settings.distil and settings.teacher is not None:
        raise OptionError(
            "there is one teacher", got="--distil and --teacher", do="leave one of them out"
        )
    data = None if settings.data is None else os.path.normpath(settings.data)
    return settings.model_copy(update={"data": data})


def _check_network(settings: TrainSettings) -> None:
    ways = {
        "--arch": settings.architecture,
        "--reference": settings.reference,
        "--width": settings.width,
    }
    named = [way for way, value in ways.items() if value is not None]
    if len(named) != 1:
        raise OptionError(
            "a training is of one network",
            got=" and ".join(named) or "none",
            allowed="one of --arch FILE, --reference SPACE/NAME and --width NUMBER",
        )
    shape = [n for n in ("plan", "resolution") if getattr(settings, n) is not None]
    if shape and settings.width is None:
        raise OptionError(
            f"--{shape[0]} goes with --width", got=named[0], do=f"leave --{shape[0]} out"
        )
    if settings.reference is not None and settings.supernet is not None:
        raise OptionError("a reference is not part of a supernet", do="leave --supernet out")
