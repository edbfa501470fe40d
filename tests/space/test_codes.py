"""Rows of codes stand for architectures, one to one where every choice matters."""

import numpy as np
import pytest

from nas.documents import parse_yaml
from nas.errors import SpaceError
from nas.space import SearchSpace, load_space, space_names
from nas.space import codes as coding
from nas.space import sample as sampling
from nas.space.codes import CodeBook
from nas.space.schema import SpaceFile

PLANS = [(name, plan) for name in sorted(space_names()) for plan in load_space(name).plans]
DEEP = """
schema: 1
name: deep
description: more combinations in a stage than one integer should hold
plans: {small: {resolutions: [16, 32], stem_stride: 1, strides: [2]}}
stem: {channels: 8, activation: relu}
stages:
  - {channels: 16, depth: [1, 8], kernel: [3, 5, 7], expand: [2, 4], activation: relu}
"""


@pytest.fixture
def deep():
    return SearchSpace(parse_yaml(DEEP, SpaceFile, SpaceError, "deep.yaml"))


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_architectures_come_back_from_their_codes(name, plan):
    space = load_space(name)
    book, rng = CodeBook(space, plan), np.random.default_rng(0)
    drawn = [sampling.sample(space, plan, rng) for _ in range(50)]
    rows = book.encode(drawn)
    assert rows.shape == (50, len(book.slots)) and rows.dtype == np.int32
    assert [book.decode(row) for row in rows] == drawn


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_the_codes_count_every_encoding(name, plan):
    space = load_space(name)
    book = CodeBook(space, plan)
    assert np.prod([float(s.size) for s in book.slots]) == sampling.count_encodings(space, plan)


def test_a_sample_covers_every_code_evenly():
    book = CodeBook(load_space("nas-bench-macro"), "small")
    rows = book.sample(50_000, np.random.default_rng(0))
    for column, slot in zip(rows.T, book.slots, strict=True):
        counts = np.bincount(column, minlength=slot.size)
        assert len(counts) == slot.size
        assert counts.min() > 0.8 * counts.mean()
    assert (rows == book.sample(50_000, np.random.default_rng(0))).all()


def test_a_stage_with_very_many_combinations_has_several_columns(deep):
    book = CodeBook(deep, "small")
    assert [slot.blocks for slot in book.slots] == [(1, 1), (1, 6), (6, 9)]
    assert max(slot.size for slot in book.slots) <= coding.LARGEST_SLOT
    drawn = [sampling.sample(deep, "small", np.random.default_rng(i)) for i in range(20)]
    assert [book.decode(row) for row in book.encode(drawn)] == drawn


def test_no_architectures_are_no_rows(deep):
    assert CodeBook(deep, "small").encode([]).shape == (0, 3)
