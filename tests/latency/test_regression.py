"""Latencies of blocks from those of others."""

from functools import cache

import numpy as np
import pytest

from nas.latency.regression import fit_blocks, spread_out
from nas.space import load_space
from nas.space.enumerate import distinct_blocks


@cache
def blocks():
    found = distinct_blocks(load_space("mobilenetv3"), "small", (24, 32), (10,))
    return [block for block in found if block.op == "inverted_residual"]


def true_ms(found, noise=0.0):
    """A machine with a price for each block, MAC and value, another one without a residual."""
    rng = np.random.default_rng(0)
    clean = np.array(
        [
            0.002 + b.cost.macs / 3e8 + b.border_values / 4e6
            + 0.001 * (not dict(b.params)["residual"])
            for b in found
        ]
    )  # fmt: skip
    return clean * rng.normal(1, noise, len(found))


def split(number):
    chosen = spread_out(blocks(), number)
    rest = sorted(set(range(len(blocks()))) - set(chosen))
    return [blocks()[i] for i in chosen], [blocks()[i] for i in rest]


def errors(found, predicted):
    return np.abs(predicted / true_ms(found) - 1)


def test_blocks_follow_from_a_fifth_of_them():
    known, rest = split(len(blocks()) // 5)
    regression = fit_blocks(known, true_ms(known, noise=0.01))
    found = errors(rest, regression.predict(rest))
    assert np.median(found) < 0.03 and np.quantile(found, 0.9) < 0.08


def test_the_error_it_states_is_about_the_error_it_makes():
    for number in (60, 120, 240):
        known, rest = split(number)
        regression = fit_blocks(known, true_ms(known, noise=0.01))
        stated = np.quantile(regression.errors, 0.9)
        made = np.quantile(errors(rest, regression.predict(rest)), 0.9)
        assert 0.5 * made < stated < 3 * made


def test_noise_shows_in_the_stated_error():
    known, _ = split(120)
    rough = true_ms(known) * np.random.default_rng(1).uniform(0.5, 2, len(known))
    assert np.quantile(fit_blocks(known, rough).errors, 0.9) > 0.3


def test_another_device_is_learned_from_a_handful():
    """It has other prices; with the first one's latencies, twenty of its own are enough."""
    known, rest = split(20)
    base = {block: ms for block, ms in zip(blocks(), true_ms(blocks()), strict=True)}

    def other_ms(found):
        return np.array([2.3 * base[b] + 0.001 * (dict(b.params)["se"] > 0) for b in found])

    def base_ms(found):
        return np.array([base[b] for b in found])

    helped = fit_blocks(known, other_ms(known), base_ms(known))
    alone = fit_blocks(known, other_ms(known))
    with_base = np.abs(helped.predict(rest, base_ms(rest)) / other_ms(rest) - 1)
    without = np.abs(alone.predict(rest) / other_ms(rest) - 1)
    assert np.median(with_base) < 0.05
    assert with_base.mean() < 0.5 * without.mean()


def test_blocks_that_lie_apart_are_chosen_first():
    chosen = spread_out(blocks(), 30)
    assert len(set(chosen)) == 30
    kinds = {(b.stride, b.params[0], bool(dict(b.params)["se"])) for b in blocks()}
    picked = [blocks()[i] for i in chosen]
    assert {(b.stride, b.params[0], bool(dict(b.params)["se"])) for b in picked} == kinds
    assert spread_out(blocks(), 10) == chosen[:10], "a shorter list is the beginning of a longer"
    assert spread_out(blocks(), 20, first=chosen[:10]) == chosen[10:30]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_no_more_are_chosen_than_there_are(number):
    five = blocks()[:5]
    assert sorted(spread_out(five, number)) == sorted(set(spread_out(five, number)))
    assert len(spread_out(five, number + 3)) == min(5, number + 3)
    assert spread_out(five, number, first=range(5)) == []
