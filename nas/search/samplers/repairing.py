"""Other samplers, whose proposals are repaired until they are new and within the budget."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.search.samplers.domain import ExhaustedError
from nas.search.samplers.space_domain import distributions
from nas.space import sample as sampling
from nas.space.sample import Genome
from nas.space.space import SearchSpace

Repair = Callable[[Genome, np.random.Generator], Genome | None]


class Proposer(Protocol):
    """A first idea for a trial, before repair; `None` for a random one."""

    def __call__(self, study: Study, trial: FrozenTrial) -> dict[str, Any] | None:
        """Choices for some or all dimensions."""
        ...


class RepairingSampler(BaseSampler):
    """Proposes with another method, then repairs: the trial stores the repaired choices.

    Its random state is derived from the seed and the number of trials so far, so a run that was
    killed goes on as if it had not been. Make a new one, or call `ask` anew, at will.

    Args:
        space: The search space.
        plan: Its input plan.
        propose: First idea for a trial.
        repair: Makes a genome feasible and new; `None` where there is nothing left.
        initial: Proposals for the first trials, in order; repaired like all others.
        seed: Of the run.
    """

    def __init__(
        self,
        space: SearchSpace,
        plan: str,
        propose: Proposer,
        repair: Repair,
        initial: Sequence[Genome],
        seed: int,
    ) -> None:
        self._space, self._plan = space, plan
        self._propose, self._repair = propose, repair
        self._initial, self._seed = initial, seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions are sampled together."""
        return distributions(self._space, self._plan)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A complete, feasible, new genome.

        Raises:
            ExhaustedError: There is none.
        """
        begun = count_begun(study, trial)
        rng = np.random.default_rng([self._seed, begun])
        drawn = sampling.to_genome(self._space, sampling.sample(self._space, self._plan, rng))
        idea = self._propose(study, trial)  # for initial trials too: it counts its generations
        if begun < len(self._initial):
            idea = self._initial[begun]
        repaired = self._repair({**drawn, **(idea or {})}, rng)
        if repaired is None:
            raise ExhaustedError(
                "no further architecture within the limits was found", trial.number
            )
        return repaired

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Never reached: every dimension is sampled together."""
        raise RuntimeError(f"{param_name} is not a dimension of {self._space.name}")


def count_begun(study: Study, own: FrozenTrial) -> int:
    """Trials that were scored, or are being scored beside this one."""
    states = (TrialState.COMPLETE, TrialState.RUNNING)
    trials = study.get_trials(deepcopy=False, states=states)
    return sum(trial.number != own.number for trial in trials)


def make_proposer(name: str, trials: int, seed: int) -> Proposer:
    """A proposer by the name that settings use."""
    makers: dict[str, Proposer] = {
        "nsga2": _nsga2(trials, seed),
        "tpe": _fresh(lambda stream: TPESampler(multivariate=True, group=True, seed=stream), seed),
        "gp": _fresh(lambda stream: GPSampler(seed=stream), seed),
        "random": _random,
    }
    return makers[name]


def _random(study: Study, trial: FrozenTrial) -> None:
    return None


def _stream(study: Study, trial: FrozenTrial, seed: int) -> int:
    """A seed for a trial, that depends on the run's and on the trials so far."""
    return int(np.random.SeedSequence([seed, count_begun(study, trial)]).generate_state(1)[0])


def _fresh(make: Callable[[int], BaseSampler], seed: int) -> Proposer:
    """A sampler of Optuna that is made anew for every trial, so that it remembers nothing."""

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any] | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler = make(_stream(study, trial, seed))
            space = sampler.infer_relative_search_space(study, trial)
            return sampler.sample_relative(study, trial, space) or None

    return propose


def _nsga2(trials: int, seed: int) -> Proposer:
    """NSGA-II with a population of about the square root of the evaluations, 8 to 50.

    Source: Deb et al. 2002, doi:10.1109/4235.996017; a small population so that a few dozen trials
    make several generations.
    """
    population = int(np.clip(round(1.5 * np.sqrt(trials)), 8, 50))

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any] | None:
        sampler = NSGAIISampler(population_size=population, seed=_stream(study, trial, seed))
        generation = sampler.get_trial_generation(study, trial)
        # Read once so that the parents come from the storage below, in its order, whether this
        # process chose them or an earlier one did.
        sampler.get_parent_population(study, generation)
        space = sampler.infer_relative_search_space(study, trial)
        return sampler.sample_relative(study, trial, space) or None

    return propose


def quiet_optuna() -> None:
    """Only warnings from Optuna: progress is shown elsewhere."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
