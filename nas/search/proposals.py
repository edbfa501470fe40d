"""Where the architectures of a rung come from: a sampler, or the rung before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nas.search.candidates import Start, repair
from nas.search.costing import Costing
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.repairing import RepairingSampler, make_proposer
from nas.search.samplers.space_domain import SpaceDomain
from nas.search.settings import SearchSettings
from nas.search.study import LOSS, TrialRecord
from nas.search.zero_cost import ZeroCostScore
from nas.space import sample as sampling
from nas.space.architecture import Architecture
from nas.space.sample import Genome


@dataclass(frozen=True)
class Hunt:
    """What the trials of a run need to know.

    Attributes:
        settings: Of the run.
        costing: Costs, objectives and limits.
        start: An architecture within the limits, and the fastest ones.
        warm_start: Architectures within the limits that are scored early.
        zero_cost: Architectures with their scores before any training, to propose by.
    """

    settings: SearchSettings
    costing: Costing
    start: Start
    warm_start: Sequence[Architecture] = ()
    zero_cost: Sequence[ZeroCostScore] = ()


class Proposals(Protocol):
    """Architectures to score.

    Attributes:
        sampler: Of the study: writes them into trials.
        taken: Ids of those that are scored, being scored, or were tried in vain, as of now.
        refused: Ideas for the next trial that broke a limit.
        none_left: Why there are fewer than were wanted.
    """

    sampler: BaseSampler
    taken: set[str]
    refused: int
    none_left: str

    def another(self) -> bool:
        """Whether the sampler may be asked for one, which follows."""
        ...

    def origin(self, architecture: Architecture) -> str:
        """Where it comes from."""
        ...


class Proposed:
    """Architectures that a sampler proposes.

    Args:
        hunt: What it knows.
    """

    none_left = "no further one within the limits was found"

    def __init__(self, hunt: Hunt) -> None:
        self.taken: set[str] = set()
        self.refused = 0
        self._hunt = hunt
        self.sampler: BaseSampler = _sampler(hunt, self)

    def another(self) -> bool:
        """The sampler raises where it has none."""
        self.refused = 0
        return True

    def origin(self, architecture: Architecture) -> str:
        """The sampler's name, or what is special about it."""
        return self._origins.get(architecture.id, self._hunt.settings.sampler)

    @cached_property
    def _origins(self) -> dict[str, str]:
        """What is special about some architectures, by id."""
        start = self._hunt.start
        found = {a.id: "warm start" for a in self._hunt.warm_start}
        found[start.inside.id] = "furthest within the limits"
        found |= {each.fastest.id: "fastest" for each in start.ranges.values()}
        return found | {a.id: f"baseline width {w:g}" for w, a in reversed(baselines(self._hunt))}


class Promoted:
    """Architectures of trials that were scored at a lower fidelity, in their order.

    Args:
        hunt: Of these trials.
        records: The trials.
    """

    refused = 0
    none_left = "the others could not be scored"

    def __init__(self, hunt: Hunt, records: Sequence[TrialRecord]) -> None:
        self.taken: set[str] = set()
        self._given = _Given()
        self.sampler: BaseSampler = self._given
        self._space = hunt.costing.space
        self._records = {record.id: record for record in records}

    def another(self) -> bool:
        """The next that is not taken."""
        left = [record for name, record in self._records.items() if name not in self.taken]
        if left:
            architecture = self._space.from_json(left[0].architecture)
            self._given.genome = sampling.to_genome(self._space, architecture)
        return bool(left)

    def origin(self, architecture: Architecture) -> str:
        """As it was found first."""
        return self._records[architecture.id].origin


class _Given(BaseSampler):
    """Writes a genome that it is given."""

    def __init__(self) -> None:
        self.genome: Genome = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing is drawn."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing is drawn."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """The genome's choice."""
        return self.genome[param_name]


def baselines(hunt: Hunt) -> list[tuple[float, Architecture]]:
    """The width-scaled hand-made networks that meet the limits, widest first."""
    space, plan = hunt.costing.space, hunt.costing.plan
    scaled = [(w, sampling.baseline(space, plan, w)) for w in sorted(space.file.width)[::-1]]
    return [(w, a) for w, a in scaled if hunt.costing.strain(a) <= 1]


def _sampler(hunt: Hunt, proposed: Proposed) -> BaseSampler:
    """Starts with the baselines, what is known and the fastest architectures, then proposes."""
    settings, start = hunt.settings, hunt.start
    fastest = [found.fastest for found in start.ranges.values()]
    ends = [a for a in (start.inside, *fastest) if hunt.costing.strain(a) <= 1]
    known = [*(architecture for _, architecture in baselines(hunt)), *hunt.warm_start, *ends]
    first = list({architecture.id: architecture for architecture in known}.values())
    if settings.sampler == "front":
        domain = _domain(hunt.costing, first)
        domain = domain.guided(hunt.zero_cost) if hunt.zero_cost else domain
        return FrontSampler(domain, seed=settings.seed, log_error=True, instead=LOSS)
    return _repairing(hunt, first[: settings.trials], proposed)


def _domain(costing: Costing, first: list[Architecture]) -> SpaceDomain:
    """Architectures within the limits, by their objectives after the error."""
    fronts = costing.goals.columns()
    return SpaceDomain(costing.space, costing.plan, costing.classes, costing.batch(), first, fronts)


def _repairing(hunt: Hunt, first: list[Architecture], proposed: Proposed) -> RepairingSampler:
    costing, settings = hunt.costing, hunt.settings
    space, plan, strain = costing.space, costing.plan, costing.strain
    initial = [sampling.to_genome(space, architecture) for architecture in first]

    def fix(genome: Genome, rng: np.random.Generator) -> Genome | None:
        start = sampling.from_genome(space, plan, genome)
        if strain(start) > 1:
            proposed.refused += 1
        found = repair(space, strain, start, hunt.start.inside, proposed.taken, rng)
        if found is None:
            return None
        return genome if found.id == start.id else sampling.to_genome(space, found)

    propose = make_proposer(settings.sampler, settings.trials, settings.seed)
    return RepairingSampler(space, plan, propose, fix, initial, settings.seed)
