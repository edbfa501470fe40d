"""Which network is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data import Progress, scan
from nas.errors import OptionError
from nas.search.preparation import choose_plan
from nas.search.training.settings import TrainSettings
from nas.space import Architecture, SearchSpace, load_space
from nas.space import sample as sampling
from nas.space.architecture import Network
from nas.space.load import load_reference


@dataclass(frozen=True)
class Subject:
    """A network by what names it.

    Attributes:
        space: That it belongs to.
        architecture: One of the space's, or `None` for a published network.
        reference: Name of a published network in the space, or `None`.
    """

    space: SearchSpace
    architecture: Architecture | None
    reference: str | None

    def network(self, classes: int) -> Network:
        """With so many outputs."""
        if self.architecture is not None:
            return self.space.network(self.architecture, classes)
        return self.space.reference(str(self.reference), classes)

    @property
    def id(self) -> str:
        """Of the network, whatever its number of classes."""
        return self.network(2).id

    def to_json(self) -> dict[str, Any]:
        """`architecture` or `reference`, as results and metadata have it."""
        if self.architecture is not None:
            return {"architecture": self.architecture.to_json()}
        return {"reference": f"{self.space.name}/{self.reference}"}


def find_subject(settings: TrainSettings, progress: Progress | None = None) -> Subject:
    """The network of some settings.

    Args:
        settings: Of a training.
        progress: Told of the look at the images, if their size decides the input plan.

    Raises:
        InputError: There is no such space, plan, width, resolution, reference or architecture.
    """
    if settings.reference is not None:
        space, reference = load_reference(settings.reference)
        space.reference(reference)
        return Subject(space, None, reference)
    space = load_space(settings.space)
    if settings.architecture is not None:
        return Subject(space, space.from_json(settings.architecture), None)
    return Subject(space, _hand_made(space, settings, progress), None)


def _hand_made(
    space: SearchSpace, settings: TrainSettings, progress: Progress | None
) -> Architecture:
    if settings.width not in space.file.width:
        raise OptionError(
            f"search space {space.name} has no such width",
            got=settings.width,
            allowed=", ".join(map(str, space.file.width)),
        )
    plan: str | None = settings.plan
    if plan is None:
        path = None if settings.data is None else Path(settings.data)
        plan = choose_plan(space, scan(path, settings.seed, progress=progress).source_size)
    known = space.plan(plan).resolutions
    if settings.resolution is not None and settings.resolution not in known:
        raise OptionError(
            f"plan {plan} of {space.name} has no such resolution",
            got=settings.resolution,
            allowed=", ".join(map(str, known)),
        )
    return sampling.baseline(space, plan, float(settings.width or 0), settings.resolution)
