"""Rows of choices are canonical as architectures are, for whole populations at once."""

import numpy as np
import pytest

from nas.space import load_space, space_names
from nas.space import sample as sampling
from nas.space.choices import ChoiceRows

PLANS = [(name, plan) for name in sorted(space_names()) for plan in load_space(name).plans]


def draw(rows, n, seed=0):
    return np.random.default_rng(seed).integers(rows.sizes, size=(n, len(rows.sizes)))


def check_canonical(space, plan):
    rows = ChoiceRows(space, plan)
    drawn = draw(rows, 300)
    expected = [sampling.encode(space, rows.architecture(row)) for row in drawn]
    assert np.array_equal(rows.canonical(drawn), np.array(expected))


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_canonical_rows_are_those_of_the_architectures(name, plan):
    check_canonical(load_space(name), plan)


def test_so_are_those_of_small_spaces(small_space):
    for plan in small_space.plans:
        check_canonical(small_space, plan)


@pytest.mark.parametrize(("name", "plan"), PLANS)
def test_packed_rows_are_the_codes_of_the_architectures(name, plan):
    rows = ChoiceRows(load_space(name), plan)
    canonical = rows.canonical(draw(rows, 100))
    expected = rows.book.encode([rows.architecture(row) for row in canonical])
    assert np.array_equal(rows.pack(canonical), expected)


def test_a_row_is_that_of_its_genome():
    rows = ChoiceRows(load_space("mobilenetv3"), "small")
    for row in draw(rows, 20):
        assert rows.row(rows.genome(row)).tolist() == row.tolist()


def test_rows_need_every_dimension_and_known_choices():
    rows = ChoiceRows(load_space("mobilenetv3"), "small")
    genome = rows.genome(draw(rows, 1)[0])
    with pytest.raises(ValueError):
        rows.row({**genome, "width": 99})
    del genome["width"]
    with pytest.raises(KeyError):
        rows.row(genome)
