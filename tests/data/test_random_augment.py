"""Random changes of shape and colour: bounded, seeded, never a mirrored image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data import random_augment as module
from nas.data.random_augment import KINDS, random_augment


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(number: int = 16, size: int = 12) -> torch.Tensor:
    return torch.rand(number, 3, size, size, generator=_generator(9))


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(1, 5), st.integers(2, 9))
def test_pixels_stay_in_range_and_the_seed_decides(seed, strength, number, size):
    batch = _batch(number, size)
    changed = random_augment(batch, _generator(seed), strength)
    assert changed.shape == batch.shape
    assert changed.isfinite().all() and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(changed, random_augment(batch, _generator(seed), strength))
    assert torch.equal(batch, _batch(number, size)), "what came in is not changed"


def test_nothing_changes_without_strength():
    batch = _batch()
    assert torch.equal(random_augment(batch, _generator(0), 0.0), batch)
    with pytest.raises(ValueError, match="a strength is from 0 to 1, got 1.5"):
        random_augment(batch, _generator(0), 1.5)


def test_more_strength_changes_more():
    batch = _batch(200)
    changes = [
        (random_augment(batch, _generator(0), strength) - batch).abs().mean()
        for strength in (0.1, 0.4, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_every_kind_but_nothing_changes_its_images_and_only_those():
    batch = _batch(len(KINDS))
    kinds = torch.arange(len(KINDS))
    signed = torch.full((len(KINDS),), 0.8)
    changed = module._cut_out(
        module._recolour(module._reshape(batch, kinds, signed), kinds, signed),
        kinds, signed, torch.full((2, len(KINDS)), 0.5),
    )  # fmt: skip
    same = (changed == batch).flatten(1).all(1).tolist()
    assert [kind for kind, unchanged in zip(KINDS, same, strict=True) if unchanged] == ["nothing"]
    hole = changed[KINDS.index("cutout")] == 0.5
    assert hole[0].sum() == 16 and torch.equal(hole[0], hole[2])
    levels = changed[KINDS.index("posterise")].unique()
    assert len(levels) <= 2**5


def test_a_mark_on_the_left_stays_on_the_left():
    """A bright left edge: shifts of 0.3 and turns of 30 degrees do not bring it across."""
    batch = torch.zeros(400, 3, 20, 20)
    batch[..., :4] = 1
    changed = module._reshape(
        batch,
        torch.arange(400) % len(KINDS),
        torch.rand(400, generator=_generator(1)) * 2 - 1,
    )
    assert (changed[..., :10].sum((1, 2, 3)) >= changed[..., 10:].sum((1, 2, 3))).all()


def test_strength_is_bounded_by_what_the_constants_say():
    batch = _batch(1, 20)
    moved = module._reshape(batch, torch.tensor([KINDS.index("shift x")]), torch.tensor([1.0]))
    assert torch.allclose(moved[..., :14], batch[..., 6:], atol=1e-5), "0.3 of 20 pixels"
