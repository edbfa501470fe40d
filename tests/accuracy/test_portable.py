"""An evaluator that went through plain arrays scores as before."""

import pickle

import numpy as np
import torch

from nas.accuracy.portable import pack_evaluator, unpack_evaluator
from nas.accuracy.supernet_evaluator import SupernetEvaluator
from nas.data import load_dataset
from nas.models import Supernet
from nas.space import load_space
from nas.space import sample as sampling
from tests.search.conftest import TINY


def test_a_packed_evaluator_scores_the_same_with_shared_read_only_arrays():
    torch.set_num_threads(1)
    space = load_space(TINY)
    dataset = load_dataset(None, 0, resolutions=(16, 20))
    supernet = Supernet(space, "small", 10, seed=3)
    evaluator = SupernetEvaluator(supernet, dataset, 64, 100)
    state = pack_evaluator(evaluator)
    for array in [*state.weights.values(), *state.train.values(), *state.validation.values()]:
        array.flags.writeable = False
    again = unpack_evaluator(state)
    assert {len(found) for found in state.train.values()} == {64}
    assert np.shares_memory(next(iter(state.weights.values())), _first_weight(again))
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = sampling.sample(space, "small", rng)
        assert again.evaluate(architecture) == evaluator.evaluate(architecture)
    assert len(pickle.dumps(state)) < 5_000_000, "the other images do not travel"


def _first_weight(evaluator):
    return next(iter(evaluator.supernet.weights.values())).detach().numpy()
