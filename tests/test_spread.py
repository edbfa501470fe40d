import numpy as np

from nas.spread import farthest_first

PLACES = np.array([0.0, 1.0, 5.0, 9.0, 10.0])


def distances(index):
    return np.abs(PLACES - PLACES[index])


def test_each_is_the_farthest_from_those_before_it():
    assert farthest_first(distances, 5, 3) == [0, 4, 2]
    assert farthest_first(distances, 5, 2, first=[2]) == [0, 4]


def test_none_is_chosen_twice_even_where_points_coincide():
    chosen = farthest_first(lambda index: np.zeros(4), 4, 9, first=[1])
    assert sorted(chosen) == [0, 2, 3]


def test_nothing_is_left_to_choose():
    assert farthest_first(distances, 5, 3, first=range(5)) == []
    assert farthest_first(distances, 5, 0) == []
