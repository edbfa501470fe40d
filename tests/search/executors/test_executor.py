"""The executor of this process."""

import pytest

from nas.accuracy.score import Score
from nas.errors import MemoryFullError
from nas.search.executors.executor import InProcess, Outcome
from nas.space import sample as sampling


class Counting:
    def __init__(self, answer):
        self.answer = answer

    def evaluate(self, architecture, fidelity):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def architecture(space):
    return sampling.smallest(space, "small")


def test_one_evaluation_at_a_time(architecture):
    executor = InProcess(Counting(Score(3, 4)))
    assert executor.free() == 1
    executor.submit(7, architecture)
    assert executor.free() == 0
    assert executor.wait() == [Outcome(7, Score(3, 4))]
    assert executor.free() == 1


def test_an_evaluation_that_raises_has_a_reason(architecture):
    executor = InProcess(Counting(RuntimeError("out of\n   memory")))
    executor.submit(0, architecture)
    assert executor.wait() == [Outcome(0, None, "RuntimeError: out of memory")]


def test_a_network_that_does_not_fit_into_the_memory_is_left_out(architecture):
    executor = InProcess(Counting(MemoryFullError("it does not fit")))
    executor.submit(0, architecture)
    assert executor.wait() == [Outcome(0, None, "MemoryFullError: it does not fit")]


def test_ctrl_c_is_no_outcome(architecture):
    executor = InProcess(Counting(KeyboardInterrupt()))
    executor.submit(0, architecture)
    with pytest.raises(KeyboardInterrupt):
        executor.wait()
