"""Small spaces that can be walked through completely."""

from __future__ import annotations

import pytest

from nas.documents import parse_yaml
from nas.errors import SpaceError
from nas.space.schema import SpaceFile
from nas.space.space import SearchSpace

ELASTIC = """\
schema: 1
name: elastic
description: elastic depth, kernel, expand ratio, width and resolution
width: [0.5, 1.0]
plans:
  small: {resolutions: [16, 24], stem_stride: 1, strides: [1, 2]}
  large: {resolutions: [64], stem_stride: 2, strides: [2, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {op: depthwise_separable, channels: 24, depth: [1, 2], kernel: [3, 5], activation: relu}
  - channels: 32
    depth: [1, 3]
    expand: [1, 3]
    activation: hardswish
    se: 0.25
    default: {depth: 3, expand: 3}
head: {channels: 64, activation: relu6, scale: false}
classifier: {hidden: 48, activation: hardswish}
"""
# Stage 1 keeps the shape of the stem's output, so there even the first block can vanish.
SKIPS = """\
schema: 1
name: skips
description: blocks that can be left out
plans:
  small: {resolutions: [16], stem_stride: 1, strides: [1, 2]}
  large: {resolutions: [64], stem_stride: 2, strides: [2, 1]}
stem: {channels: 16, activation: relu}
stages:
  - {channels: 16, depth: 3, variants: &all {a: {kernel: 5}, skip: {op: skip}, b: {expand: 3}},
     activation: relu}
  - {channels: 24, depth: 2, variants: *all, activation: relu6}
"""
# A stage that is left out takes its stride along, and the next one gets another input.
DROPS = """\
schema: 1
name: drops
description: stages that can be left out
width: [0.5, 1.0]
plans:
  small: {resolutions: [16], stem_stride: 1, strides: [1, 1, 1]}
  large: {resolutions: [64], stem_stride: 2, strides: [2, 2, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {channels: 24, depth: [0, 1], kernel: [3, 5], expand: 3, activation: relu}
  - {channels: 40, depth: [0, 2], kernel: [3, 5], expand: 3, activation: relu}
  - {channels: 64, depth: 1, kernel: 3, expand: [2, 3], activation: hardswish}
head: {channels: 64, activation: relu}
"""


# Exits are choices, and given; a stage that is left out has none.
EXITS = """\
schema: 1
name: exits
description: inference may end early
width: [0.5, 1.0]
plans:
  small: {resolutions: [16, 24], stem_stride: 1, strides: [1, 2, 2]}
  large: {resolutions: [64], stem_stride: 2, strides: [1, 2, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {channels: 24, depth: [0, 1, 2], expand: [2, 3], activation: relu, exit: [0, 1],
     default: {depth: 2, exit: 1}}
  - {channels: 40, depth: [0, 1], kernel: [3, 5], expand: 3, activation: relu, exit: 1}
  - {channels: 64, depth: 1, expand: [2, 3], activation: hardswish}
head: {channels: 64, activation: relu}
exit_head: {channels: 48, activation: hardswish}
"""


# All blocks of a stage are of one family; one stage may be left out.
ALIKE = """\
schema: 1
name: alike
description: stages choose a family for all of their blocks
width: [0.5, 1.0]
plans:
  small: {resolutions: [16], stem_stride: 1, strides: [1, 2]}
  large: {resolutions: [64], stem_stride: 2, strides: [1, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {channels: 16, depth: [1, 2], one_variant: true, exit: [0, 1], activation: relu,
     variants: {a: {kernel: 5}, b: {op: residual}, c: {op: shuffle_unit}}}
  - {channels: 24, depth: [0, 1, 3], one_variant: true, activation: relu6,
     variants: {a: {expand: 3}, f: {op: fire}}, default: {depth: 3, variant: f}}
"""


def space_of(text: str) -> SearchSpace:
    space = SearchSpace(parse_yaml(text, SpaceFile, SpaceError, "test.yaml"))
    space.check()
    return space


@pytest.fixture(scope="session")
def elastic() -> SearchSpace:
    return space_of(ELASTIC)


@pytest.fixture(scope="session")
def skips() -> SearchSpace:
    return space_of(SKIPS)


@pytest.fixture(scope="session")
def exits() -> SearchSpace:
    return space_of(EXITS)


@pytest.fixture(scope="session", params=["elastic", "skips", "drops", "exits", "alike"])
def small_space(request: pytest.FixtureRequest) -> SearchSpace:
    texts = {
        "elastic": ELASTIC, "skips": SKIPS, "drops": DROPS, "exits": EXITS, "alike": ALIKE,
    }  # fmt: skip
    return space_of(texts[request.param])
