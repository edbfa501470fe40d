"""Samplers side by side: each proposes rows of a problem until enough networks are evaluated.

Every one is at the setting that did best on seeds 0 to 9, which no published figure uses.
"""

import json
import multiprocessing
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
import torch
from optuna._gp.acqf import BaseAcquisitionFunc
from optuna.distributions import CategoricalDistribution
from problem import Problem
from threadpoolctl import threadpool_limits

from nas.files import write_text
from nas.pareto import non_dominated
from nas.search.samplers.front import FrontSampler
from nas.search.zero_cost import SCORED

REPEATS = 50
"""Proposals for each evaluation after which a sampler is taken to have nothing new."""
Steps = Iterator[tuple[np.ndarray, Callable[[list[float], list[float]], None]]]


_problem: list[Problem] = []


def run_all(
    make: Callable[[], Problem],
    asked: str,
    seeds: str,
    budget: int,
    processes: int,
    known: Mapping[str, list["Run"]],
) -> Iterator[dict[str, list["Run"]]]:
    """All runs: those that are known, then again after each that ends.

    Args:
        make: Builds the problem in each of them.
        asked: Comma-separated samplers; NAME:N ends one after N networks.
        seeds: A:B, B not included.
        budget: Networks of those without an N of their own.
        processes: How many share them, of one thread each.
        known: Runs of before, which are not done again unless they are too short.
    """
    runs = {name: {run.seed: run for run in each} for name, each in known.items()}
    names = [name.partition(":") for name in asked.split(",") if name]
    begin, end = map(int, seeds.split(":"))
    jobs = [
        (name, seed, int(own or budget)) for seed in range(begin, end) for name, _, own in names
    ]
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(make,)
    ) as pool:
        for name, _, _ in jobs:
            runs.setdefault(name, {})
        futures = {
            pool.submit(_job, name, seed, wanted): name
            for name, seed, wanted in jobs
            if seed not in runs[name] or len(runs[name][seed].order) < wanted
        }
        yield _by_name(runs)
        for future in as_completed(futures):
            found = future.result()
            runs[futures[future]][found.seed] = found
            yield _by_name(runs)


def _by_name(runs: Mapping[str, Mapping[int, "Run"]]) -> dict[str, list["Run"]]:
    return {name: [each[seed] for seed in sorted(each)] for name, each in runs.items() if each}


def known_runs(path: Path) -> dict[str, list["Run"]]:
    """Those that are in a file of results."""
    if not path.exists():
        return {}
    known = json.loads(path.read_text())["runs"]
    return {name: [Run(**run) for run in runs] for name, runs in known.items()}


def write_results(path: Path, results: dict, runs: Mapping[str, list["Run"]]) -> None:
    """Whole or not at all; while a comparison goes on, nothing but its runs."""
    told = {name: [asdict(run) for run in each] for name, each in runs.items()}
    write_text(path, json.dumps({**results, "runs": told}) + "\n")


def _begin(make: Callable[[], Problem]) -> None:
    torch.set_num_threads(1)  # Optuna's Gaussian process uses it
    threadpool_limits(1)
    _problem.append(make())


def _job(name: str, seed: int, budget: int) -> "Run":
    return run(name, _problem[0], seed, budget)


@dataclass
class Run:
    """What a sampler did.

    Attributes:
        seed: It was started with.
        order: Codes in the order of their evaluation.
        seconds: Spent on proposals before each.
        over: Proposals over a limit, which were not evaluated.
    """

    seed: int
    order: list[str]
    seconds: list[float]
    over: int = 0


def run(name: str, problem: Problem, seed: int, budget: int) -> Run:
    """Until so many networks are evaluated, or nothing new is proposed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    order: dict[str, None] = {}
    seconds: list[float] = []
    spent, left, over = 0.0, REPEATS * budget, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        for row, tell in SAMPLERS[name](problem, seed):
            spent += time.perf_counter() - start
            code = problem.code_of(row)
            inside = max(problem.excess(code), default=0.0) <= 0
            if inside and code not in order:
                order[code] = None
                seconds.append(round(spent, 5))
                spent = 0.0
            over += not inside
            left -= 1
            if len(order) == budget or left == 0:
                break
            start = time.perf_counter()
            # What is over a limit is known to be, and is not evaluated.
            values = problem.values(code) if inside else [1.0, *problem.values(code)[1:]]
            tell(values, problem.excess(code))
    return Run(seed, list(order), seconds, over)


def _study(
    problem: Problem,
    sampler: optuna.samplers.BaseSampler,
    named: bool,
    instead: optuna.samplers.BaseSampler | None = None,
) -> Steps:
    """An Optuna study.

    Args:
        problem: To be proposed for.
        sampler: Proposes.
        named: Choices by their own values, else by index.
        instead: Proposes after the sampler came up with a network again, which is not told.
    """
    study = optuna.create_study(
        sampler=sampler, directions=["maximize"] + ["minimize"] * len(problem.latency)
    )
    domain = problem.domain()
    indices = {name: CategoricalDistribution(range(n)) for name, n in zip(
        domain.distributions, domain.sizes, strict=True
    )}  # fmt: skip
    known: set[str] = set()
    while True:
        trial = study.ask(domain.distributions if named else indices)
        row = domain.row(trial.params) if named else np.array(list(trial.params.values()))
        assert row is not None
        if instead is not None:
            study.sampler = sampler
            if problem.code_of(row) in known:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                study.sampler = instead
                continue
            known.add(problem.code_of(row))

        def tell(values: list[float], excess: list[float], trial: optuna.Trial = trial) -> None:
            trial.set_user_attr("excess", excess)
            study.tell(trial, [1 - values[0], *values[1:]])

        yield row, tell


def _constraints(problem: Problem) -> dict[str, Callable[[optuna.trial.FrozenTrial], list[float]]]:
    """Optuna's samplers are told what is over a limit, and by how much."""
    if problem.limits is None:
        return {}
    return {"constraints_func": lambda trial: trial.user_attrs["excess"]}


def front(problem: Problem, seed: int) -> Steps:
    """Ours."""
    return _study(problem, FrontSampler(problem.domain(), seed=seed, log_error=True), named=True)


def front_naswot(problem: Problem, seed: int) -> Steps:
    """Ours, which has seen a score of some untrained networks, other ones for each seed."""
    index = np.random.default_rng(seed).permutation(len(problem.zero_cost))[:SCORED]
    domain = problem.domain().guided([problem.zero_cost[i] for i in index])
    return _study(problem, FrontSampler(domain, seed=seed, log_error=True), named=True)


def random(problem: Problem, seed: int) -> Steps:
    """Uniform."""
    return _study(problem, optuna.samplers.RandomSampler(seed=seed), named=False)


def optuna_nsga2(problem: Problem, seed: int) -> Steps:
    """Optuna's NSGA-II with a population of 20."""
    sampler = optuna.samplers.NSGAIISampler(population_size=20, seed=seed, **_constraints(problem))
    return _study(problem, sampler, named=False)


def optuna_tpe(problem: Problem, seed: int) -> Steps:
    """Optuna's TPE, multivariate and grouped."""
    sampler = optuna.samplers.TPESampler(
        multivariate=True, group=True, seed=seed, **_constraints(problem)
    )
    return _study(problem, sampler, named=False)


class _GP(optuna.samplers.GPSampler):
    """Optuna's, with the same proposals in a third of the time.

    For a proposal, no row's acquisition is computed twice, and those around a row, which the local
    search walks through one choice at a time, are computed at once.
    """

    def _optimize_acqf(
        self, acqf: BaseAcquisitionFunc, best_params: np.ndarray | None
    ) -> np.ndarray:
        compute, known = acqf.eval_acqf_no_grad, {}
        sizes = [len(c) for c in acqf.search_space.get_choices_of_discrete_params()]

        def values(rows: np.ndarray) -> np.ndarray:
            wanted = {row.tobytes(): row for row in rows}
            if wanted.keys() - known.keys():
                wanted.update((row.tobytes(), row) for row in _rows_around(rows, sizes))
                new = {key: row for key, row in wanted.items() if key not in known}
                stacked = np.array(list(new.values()))
                parts = np.split(stacked, range(256, len(stacked), 256))  # in the cache
                known.update(zip(new, np.concatenate([compute(p) for p in parts]), strict=True))
            return np.array([known[row.tobytes()] for row in rows])

        acqf.eval_acqf_no_grad = values
        with mock.patch(
            "optuna._gp.acqf.logehvi", lambda **given: _log_improvement(*given.values())
        ):
            return super()._optimize_acqf(acqf, best_params)


def _rows_around(rows: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """If these are a row's other choices of one dimension: the row's of every dimension."""
    differing = np.flatnonzero((rows != rows[0]).any(axis=0))
    if len(differing) != 1 or len(rows) != sizes[differing[0]] - 1:
        return []
    row = rows[0].copy()
    row[differing] = sum(range(sizes[differing[0]])) - rows[:, differing].sum()
    around = np.repeat(row[None], sum(sizes), axis=0)
    around[range(len(around)), np.repeat(range(len(sizes)), sizes)] = [
        value for size in sizes for value in range(size)
    ]
    return list(around)


def _log_improvement(
    drawn: torch.Tensor, lower: torch.Tensor, intervals: torch.Tensor
) -> torch.Tensor:
    """Optuna's `logehvi`, as the logarithm of a sum of products; `... x samples x objectives`."""
    least = torch.tensor(1e-12, dtype=torch.float64)
    volumes = torch.ones((), dtype=torch.float64)
    for of, low, high in zip(drawn.unbind(-1), lower.T, intervals.T, strict=True):
        volumes = volumes * (of[..., None] - low).clamp_(min=least, max=high)
    return volumes.sum(dim=(-2, -1)).log() - float(np.log(drawn.shape[-2]))


def optuna_gp(problem: Problem, seed: int) -> Steps:
    """Optuna's Gaussian process; a random network where it proposes one again.

    It does so more and more often, and a run would not end.
    """
    sampler = _GP(seed=seed, **_constraints(problem))
    instead = optuna.samplers.RandomSampler(seed=seed)
    return _study(problem, sampler, named=False, instead=instead)


def optuna_gp_log_error(problem: Problem, seed: int) -> Steps:
    """The same, told the logarithm of the error."""
    for row, tell in optuna_gp(problem, seed):

        def told(
            values: list[float],
            excess: list[float],
            tell: Callable[[list[float], list[float]], None] = tell,
        ) -> None:
            tell([1 + np.log(max(values[0], 1e-4)), *values[1:]], excess)

        yield row, told


def pymoo_nsga2(problem: Problem, seed: int) -> Steps:
    """pymoo's NSGA-II on integers, population 20, duplicates eliminated."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem as Base
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    sizes = np.array(problem.rows.sizes)
    shape = Base(
        n_var=len(sizes), n_obj=1 + len(problem.latency),
        n_ieq_constr=0 if problem.limits is None else len(problem.limits),
        xl=np.zeros(len(sizes)), xu=sizes - 1, vtype=int,
    )  # fmt: skip
    algorithm = NSGA2(
        pop_size=20,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(shape, seed=seed, termination=("n_gen", 10**9), verbose=False)
    while True:
        asked = algorithm.ask()
        found: list[tuple[list[float], list[float]]] = []

        def tell(values: list[float], excess: list[float], found: list = found) -> None:
            found.append((values, excess))

        for row in asked.get("X"):
            yield row.astype(np.int64), tell
        asked.set("F", np.array([values for values, _ in found]))
        if problem.limits is not None:
            asked.set("G", np.array([excess for _, excess in found]))
        algorithm.tell(infills=asked)


def regularised_evolution(problem: Problem, seed: int) -> Steps:
    """Aging evolution (Real et al. 2019, arXiv:1802.01548): population 50, samples of 10.

    The parent is drawn from the sample's non-dominated members; one choice of it is changed.
    """
    rng, sizes = np.random.default_rng(seed), np.array(problem.rows.sizes)
    population: deque[tuple[np.ndarray, list[float]]] = deque(maxlen=50)
    free = np.flatnonzero(sizes > 1)
    while True:
        if len(population) < 50:
            row = rng.integers(sizes)
        else:
            chosen = [population[i] for i in rng.choice(50, 10, replace=False)]
            best = np.flatnonzero(non_dominated(np.array([values for _, values in chosen])))
            row = chosen[int(rng.choice(best))][0].copy()
            place = int(rng.choice(free))
            row[place] = (row[place] + rng.integers(1, sizes[place])) % sizes[place]

        def tell(values: list[float], excess: list[float], row: np.ndarray = row) -> None:
            if max(excess, default=0.0) <= 0:
                population.append((row, values))

        yield row, tell


SAMPLERS: dict[str, Callable[[Problem, int], Steps]] = {
    "front": front,
    "front-naswot": front_naswot,
    "optuna-nsga2": optuna_nsga2,
    "optuna-tpe": optuna_tpe,
    "optuna-gp": optuna_gp,
    "optuna-gp-log-error": optuna_gp_log_error,
    "pymoo-nsga2": pymoo_nsga2,
    "regularised-evolution": regularised_evolution,
    "random": random,
}
COMPARED = ",".join(name for name in SAMPLERS if name != "front-naswot")
"""What is compared where nothing else is asked for: that one needs other scores."""
