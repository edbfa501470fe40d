"""Architectures: one value and one id for one network, however it is written."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import ArchitectureError, OptionError
from nas.space import load_space, space_names
from nas.space.sample import from_genome, sample

SPACES = {name: load_space(name) for name in sorted(space_names())}
PLANS = [(name, plan) for name, space in SPACES.items() for plan in space.plans]


@st.composite
def genomes(draw):
    name, plan = draw(st.sampled_from(PLANS))
    space = SPACES[name]
    genome = {d.name: draw(st.sampled_from(d.choices)) for d in space.dimensions(plan)}
    return space, plan, genome


def every_genome(space, plan):
    dimensions = space.dimensions(plan)
    for choices in itertools.product(*(d.choices for d in dimensions)):
        yield {d.name: choice for d, choice in zip(dimensions, choices, strict=True)}


def test_the_shipped_spaces():
    both = [
        "efficientnetv2", "mixed", "mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv3-exits",
        "shufflenetv2", "squeezenet",
    ]  # fmt: skip
    expected = {name: ("small", "large") for name in both} | {"nas-bench-macro": ("small",)}
    assert {name: space.plans for name, space in SPACES.items()} == expected


def test_dimensions_start_with_resolution_and_width(elastic):
    assert [(d.name, d.choices) for d in elastic.dimensions("small")] == [
        ("resolution", (16, 24)),
        ("width", (0.5, 1.0)),
        ("stage1.depth", (1, 2)),
        ("stage1.block1.kernel", (3, 5)),
        ("stage1.block2.kernel", (3, 5)),
        ("stage2.depth", (1, 3)),
        ("stage2.block1.expand", (1, 3)),
        ("stage2.block2.expand", (1, 3)),
        ("stage2.block3.expand", (1, 3)),
    ]


def test_an_architecture_resolves_to_its_blocks(elastic):
    choices = {
        "width": 0.5, "stage1.depth": 1, "stage1.block1.kernel": 5,
        "stage2.depth": 1, "stage2.block1.expand": 3,
    }  # fmt: skip
    network = elastic.network(elastic.architecture("small", 24, choices), classes=7)
    assert [(place, str(block)) for place, block in network.blocks] == [
        ("stem", 'stem 24x24x3->8 {"activation":"relu","kernel":3,"stride":1}'),
        (
            "stage1.block1",
            'depthwise_separable 24x24x8->16 {"activation":"relu","kernel":5,"stride":1}',
        ),
        (
            "stage2.block1",
            'inverted_residual 24x24x16->16 {"activation":"hardswish","gate":"hardsigmoid",'
            '"hidden":48,"kernel":3,"residual":false,"se":16,"stride":2}',
        ),
        ("head", 'head 12x12x16->64 {"activation":"relu6"}'),
        (
            "classifier",
            'classifier 12x12x64->7 {"activation":"hardswish","hidden":24,"pooling":"mean"}',
        ),
    ]
    assert [str(key) for key in network.keys("int8", 4)][0].endswith(" int8 batch 4")


def test_classes_default_by_plan(elastic):
    small, large = (elastic.architecture(plan, size, choices_of(elastic)) for plan, size in
                    [("small", 16), ("large", 64)])  # fmt: skip
    assert elastic.network(small).classes == 10
    assert elastic.network(large).classes == 1000


def choices_of(space):
    return {d.name: d.choices[0] for d in space.choice_dimensions}


@given(genomes(), st.randoms())
def test_the_order_of_choices_does_not_matter(drawn, random):
    space, plan, genome = drawn
    shuffled = list(genome.items())
    random.shuffle(shuffled)
    assert from_genome(space, plan, dict(shuffled)) == from_genome(space, plan, genome)


@given(genomes())
def test_canonical_choices_describe_the_same_architecture(drawn):
    space, plan, genome = drawn
    found = from_genome(space, plan, genome)
    assert space.architecture(plan, found.resolution, dict(found.choices)) == found
    assert space.network(found).id == found.id
    order = [d.name for d in space.choice_dimensions]
    names = [name for name, _ in found.choices]
    assert names == sorted(names, key=order.index)


@given(genomes())
def test_objects_are_read_back(drawn):
    space, plan, genome = drawn
    found = from_genome(space, plan, genome)
    text = json.dumps(found.to_json())
    assert space.from_json(json.loads(text)) == found
    assert json.dumps(space.from_json(json.loads(text)).to_json()) == text


@given(genomes(), st.integers(2, 5000))
def test_the_id_does_not_depend_on_classes(drawn, classes):
    space, plan, genome = drawn
    found = from_genome(space, plan, genome)
    assert space.network(found, classes).id == found.id
    assert space.network(found, classes).classes == classes


def test_whole_numbers_may_be_written_as_decimals(elastic):
    choices = choices_of(elastic)
    decimals = {name: float(choice) for name, choice in choices.items()}
    found = elastic.architecture("small", 16, decimals)
    assert found == elastic.architecture("small", 16, choices)
    assert json.dumps(found.to_json()) == json.dumps(
        elastic.architecture("small", 16, choices).to_json()
    )


def test_choices_without_effect_are_dropped(elastic):
    choices = {**choices_of(elastic), "stage1.depth": 1, "stage2.depth": 1}
    found = elastic.architecture("small", 16, choices)
    assert [name for name, _ in found.choices] == [
        "width", "stage1.depth", "stage1.block1.kernel", "stage2.depth", "stage2.block1.expand",
    ]  # fmt: skip
    other = {**choices, "stage1.block2.kernel": 5, "stage2.block3.expand": 3}
    assert elastic.architecture("small", 16, other) == found


def test_one_network_has_one_id_and_one_value(small_space):
    """Over all full assignments: equal values, equal ids and equal chains of blocks coincide."""
    for plan in small_space.plans:
        by_id = {}
        for genome in every_genome(small_space, plan):
            found = from_genome(small_space, plan, genome)
            network = small_space.network(found)
            computed = (network.resolution, tuple(block for _, block in network.blocks))
            by_id.setdefault(found.id, set()).add((found, computed))
        assert {len(values) for values in by_id.values()} == {1}
        assert len({value for values in by_id.values() for _, value in values}) == len(by_id)


def variants(space, plan, *names):
    dimensions = [d.name for d in space.choice_dimensions]
    size = space.plan(plan).resolutions[0]
    return space.architecture(plan, size, dict(zip(dimensions, names, strict=True)))


def test_skipped_blocks_are_moved_behind_the_others(skips):
    found = variants(skips, "small", "skip", "b", "a", "a", "skip")
    assert found == variants(skips, "small", "b", "skip", "a", "a", "skip")
    assert [choice for _, choice in found.choices] == ["b", "a", "skip", "a", "skip"]


def test_the_order_of_blocks_that_do_something_stays(skips):
    a_b = variants(skips, "small", "a", "b", "skip", "a", "skip")
    b_a = variants(skips, "small", "b", "a", "skip", "a", "skip")
    assert a_b != b_a and a_b.id != b_a.id


def test_a_skipped_first_block_that_changes_the_shape_keeps_its_place(skips):
    found = variants(skips, "small", "skip", "skip", "skip", "skip", "a")
    assert [choice for _, choice in found.choices] == ["skip", "skip", "skip", "skip", "a"]
    blocks = [(place, block.op) for place, block in skips.network(found).blocks]
    assert blocks == [
        ("stem", "stem"),
        ("stage2.block1", "conv"),
        ("stage2.block2", "inverted_residual"),
        ("classifier", "classifier"),
    ]


def test_whether_a_first_block_changes_the_shape_depends_on_the_plan(skips):
    small = variants(skips, "small", "skip", "a", "a", "a", "a")
    large = variants(skips, "large", "skip", "a", "a", "a", "a")
    assert [choice for _, choice in small.choices][:3] == ["a", "a", "skip"]
    assert [choice for _, choice in large.choices][:3] == ["skip", "a", "a"]


def test_ids_differ_with_resolution_and_plan(elastic):
    choices = choices_of(elastic)
    found = {elastic.architecture(p, r, choices).id for p, r in
             [("small", 16), ("small", 24), ("large", 64)]}  # fmt: skip
    assert len(found) == 3


def test_ids_stay_as_they_are():
    """Run folders, tables and reports are named by them: a change needs a new key schema."""
    space = SPACES["mobilenetv3"]
    choices = {d.name: max(d.choices) for d in space.choice_dimensions}
    assert space.architecture("small", 32, choices).id == "b0be3e3ff472"


# Mistakes


def refusal(space, value):
    with pytest.raises((ArchitectureError, OptionError)) as caught:
        space.from_json(value)
    assert caught.value.exit_code == 2
    return str(caught.value)


KEYS = "allowed: {schema, space, plan, resolution, choices, id}"


@pytest.mark.parametrize("value", [[], None, "a", 3, {}, {"space": "elastic", "plan": "small"}])
def test_what_is_no_architecture(elastic, value):
    assert refusal(elastic, value) == (
        f"an architecture is one object of `nas sample --json`; {KEYS}"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": 1}, f"an architecture has an unknown key; got 'colour'; {KEYS}"),
        ({"space": "x"}, "an architecture belongs to one space; got 'x'; allowed: elastic"),
        ({"schema": 2}, "schema version; got '2'; allowed: 1"),
        ({"choices": []}, "choices is an object and resolution a whole number"),
        ({"resolution": 16.0}, "choices is an object and resolution a whole number"),
        ({"resolution": True}, "choices is an object and resolution a whole number"),
        (
            {"resolution": 20},
            "plan small of elastic has no such resolution; got 20; allowed: 16, 24",
        ),
        (
            {"plan": "medium"},
            "search space elastic has no such input plan; got 'medium'; allowed: small, large",
        ),
        (
            {"id": "0" * 12},
            "the id is the hash of the resolved network; got '000000000000'; allowed: {id}; "
            "try: leave the id out, or sample again with the space file as it is now",
        ),
    ],
)
def test_broken_objects(elastic, change, expected):
    good = elastic.architecture("small", 16, choices_of(elastic))
    assert refusal(elastic, {**good.to_json(), **change}) == expected.replace("{id}", good.id)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"stage1.depth": 3},
            "stage1.depth of elastic is one of its choices; got 3; allowed: 1",
        ),
        ({"stage1.depth": True}, "stage1.depth of elastic is one of its choices; got True; "),
        ({"stage1.depth": [1]}, "stage1.depth of elastic is one of its choices; got [1]; "),
        ({"stage1.depth": None}, "stage1.depth of elastic is one of its choices; "),
        (
            {"width": "wide"},
            "width of elastic is one of its choices; got 'wide'; allowed: 0.5",
        ),
        ({"stage9.depth": 1}, "elastic has no such choice; got 'stage9.depth'; allowed: width, "),
    ],
)
def test_broken_choices(elastic, change, expected):
    good = elastic.architecture("small", 16, choices_of(elastic)).to_json()
    del good["id"]
    message = refusal(elastic, {**good, "choices": {**good["choices"], **change}})
    assert message.startswith(expected)


def test_a_missing_choice(elastic):
    choices = choices_of(elastic)
    del choices["stage2.block1.expand"]
    with pytest.raises(ArchitectureError) as caught:
        elastic.architecture("small", 16, choices)
    assert str(caught.value) == (
        "an architecture of elastic needs every active choice; "
        "got 'none for stage2.block1.expand'; allowed: 1, 3"
    )


def test_a_missing_skip(skips):
    with pytest.raises(ArchitectureError, match="needs every active choice; got 'none for stage1"):
        skips.architecture("small", 16, {"stage1.block1.variant": "a"})


def test_id_schema_and_inactive_choices_may_be_left_out(elastic):
    good = elastic.architecture("small", 16, choices_of(elastic))
    short = {k: v for k, v in good.to_json().items() if k not in ("id", "schema")}
    assert elastic.from_json(short) == good


def test_an_unknown_reference_lists_the_known_ones(elastic):
    with pytest.raises(OptionError, match="got 'x'; allowed: none; try: nas sample --space"):
        elastic.reference("x")
    with pytest.raises(OptionError, match="allowed: mobilenet_v3_large, mobilenet_v3_small$"):
        SPACES["mobilenetv3"].reference("x")


def test_architectures_are_values():
    space = SPACES["mobilenetv1"]
    found = sample(space, "small", np.random.default_rng(0))
    assert {found: 1}[sample(space, "small", np.random.default_rng(0))] == 1
    with pytest.raises(AttributeError):
        found.resolution = 3
