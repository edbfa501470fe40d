"""Space files that break a rule: one line with the file, the line and what is allowed."""

import pytest

from nas.errors import OptionError, SpaceError
from nas.space import load_space, space_names

GOOD = """\
schema: 1
name: tiny
description: for tests
width: [0.5, 1.0]
plans:
  small: {resolutions: [16, 24], stem_stride: 1, strides: [1, 2]}
stem: {channels: 16, activation: relu}
stages:
  - {channels: 16, activation: relu, expand: 3}
  - channels: 32
    depth: [1, 2]
    kernel: [3, 5]
    expand: [3, 6]
    activation: hardswish
    se: 0.25
    default: {depth: 2, kernel: 3, expand: 6}
head: {channels: 64, activation: relu}
references:
  one:
    resolution: 32
    classes: 5
    layers:
      - {op: stem, channels: 8, activation: relu}
      - {op: classifier}
"""
VARIANTS = "variants: {skip: {op: skip}, a: {kernel: 3, expand: 3}}"


@pytest.fixture
def message(tmp_path):
    """The message that a changed file is refused with; the path is cut off in front."""
    path = tmp_path / "tiny.yaml"

    def load(old, new):
        assert GOOD.count(old) == 1, old
        path.write_text(GOOD.replace(old, new), encoding="utf-8")
        with pytest.raises(SpaceError) as caught:
            load_space(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(str(path)).removeprefix(":").strip()

    return load


def test_the_unchanged_file_is_good(tmp_path):
    (tmp_path / "tiny.yaml").write_text(GOOD)
    space = load_space(tmp_path / "tiny.yaml")
    assert (space.name, space.plans) == ("tiny", ("small",))
    assert space.reference("one").classes == 5


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # wrong types
        ("width: [0.5, 1.0]", "width: 1.0", "line 4: width: input should be a valid list; got 1.0"),
        ("width: [0.5, 1.0]", "width: [wide]", "line 4: width.0: input should be a number"),
        ("width: [0.5, 1.0]", "width: [true]", "line 4: width.0: input should be a number"),
        ("width: [0.5, 1.0]", "width: [.nan]", "line 4: width.0: input should be greater than 0"),
        ("width: [0.5, 1.0]", "width: [.inf]", "line 4: width.0: input should be less than or"),
        ("depth: [1, 2]", "depth: 1.5", "line 11: stages.1.depth: input should be a valid integer"),
        ("depth: [1, 2]", "depth: [1, x]", "line 11: stages.1.depth.1: input should be a valid"),
        ("depth: [1, 2]", "depth: [0]", "line 10: stages.1: a stage has a depth above 0 to choose"),
        ("depth: [1, 2]", "depth: [-1, 2]", "line 11: stages.1.depth.0: input should be greater"),
        ("channels: 64", "channels: '64'", "line 17: head.channels: input should be a valid"),
        ("activation: hardswish", "activation: gelu", "line 14: stages.1.activation: input should"),
        ("stem_stride: 1", "stem_stride: 3", "line 6: plans.small.stem_stride: input should be 1"),
        ("[16, 24]", "[4]", "line 6: plans.small.resolutions.0: input should be greater than or"),
        ("se: 0.25", "se: 2", "line 15: stages.1.se: input should be less than or equal to 1"),
        # unknown and missing keys
        ("kernel: [3, 5]", "kernal: [3, 5]", "line 12: unknown key 'kernal' in stages.1"),
        ("head:", "heads:", "line 17: unknown key 'heads' in the document"),
        ("small:", "medium:", "line 6: plans.medium: input should be 'small' or 'large'"),
        ("name: tiny\n", "", "name is missing"),
        ("    activation: hardswish\n", "", "line 10: stages.1.activation is missing"),
        ("width: [0.5, 1.0]", "name: again", "line 4 is not valid YAML: the key 'name' is given"),
        # zero choices, duplicate choices
        ("width: [0.5, 1.0]", "width: []", "line 4: width: list should have at least 1 item"),
        ("depth: [1, 2]", "depth: []", "line 11: stages.1.depth: list should have at least 1 item"),
        ("kernel: [3, 5]", "kernel: []", "line 12: stages.1.kernel: list should have at least 1"),
        ("expand: [3, 6]", "expand: []", "line 13: stages.1.expand: list should have at least 1"),
        ("[16, 24]", "[]", "line 6: plans.small.resolutions: list should have at least 1 item"),
        ("kernel: [3, 5]", "variants: {}", "line 12: stages.1.variants: dictionary should have"),
        ("width: [0.5, 1.0]", "width: [1, 1.0]", "line 4: width: a choice is listed twice; got"),
        ("kernel: [3, 5]", "kernel: [3, 3]", "line 12: stages.1.kernel: a choice is listed twice"),
        ("expand: [3, 6]", "expand: [3, 3.0]", "line 13: stages.1.expand: a choice is listed"),
        ("[16, 24]", "[16, 16]", "line 6: plans.small.resolutions: a choice is listed twice"),
        # numbers that make no network
        ("kernel: [3, 5]", "kernel: [3, 4]", "line 12: stages.1.kernel.1: a kernel is an odd"),
        ("kernel: [3, 5]", "kernel: 2", "line 12: stages.1.kernel: a kernel is an odd number"),
        ("{channels: 16, activation: relu}", "{channels: 16, kernel: 2, activation: relu}",
         "line 7: stem.kernel: a kernel is an odd number; got 2"),
        ("op: stem, channels: 8", "op: stem, kernel: 4, channels: 8",
         "line 23: references.one.layers.0.kernel: a kernel is an odd number; got 4"),
        ("expand: [3, 6]", "expand: [0.5]", "line 13: stages.1.expand.0: input should be greater"),
        ("strides: [1, 2]", "strides: [1]", "plan small needs one stride for each of the 2 stages"),
        ("strides: [1, 2]", "strides: [1, 2, 2]", "plan small needs one stride for each of the 2"),
        ("strides: [1, 2]", "strides: [1, 3]", "line 6: plans.small.strides.1: input should be 1"),
        # defaults
        ("kernel: 3, expand: 6}", "kernel: 7}", "line 10: stages.1: default kernel must be one of "
         "the choices [3, 5]"),
        ("{depth: 2,", "{depth: 3,", "line 10: stages.1: default depth must be one of the choices"),
        ("width: [0.5, 1.0]", "width: [0.5]\ndefault_width: 1.0",
         "default_width must be one of the choices [0.5]"),
        # variants
        ("kernel: [3, 5]\n    expand: [3, 6]", VARIANTS,
         "line 10: stages.1: a stage with a skip variant has one depth: skips already vary it"),
        ("depth: [1, 2]\n    kernel: [3, 5]", "variants: {a: {op: pool}}",
         "line 11: stages.1.variants.a.op: input should be 'skip'"),
        ("depth: [1, 2]\n    kernel: [3, 5]", "variants: {a: {kernel: 4}}",
         "line 11: stages.1.variants.a.kernel: a kernel is an odd number; got 4"),
        ("depth: [1, 2]", "variants: {a: {kernel: 3}}",
         "line 10: stages.1: a stage with variants lists no kernels or expand ratios: they do"),
        ("depth: [1, 2]", "depth: [1, 2]\n    one_variant: true",
         "line 10: stages.1: one_variant is for a stage with variants, none of which is skip"),
        ("depth: [1, 2]\n    kernel: [3, 5]\n    expand: [3, 6]",
         f"one_variant: true\n    {VARIANTS}",
         "line 10: stages.1: one_variant is for a stage with variants, none of which is skip"),
        # exits
        ("depth: [1, 2]", "depth: [1, 2]\n    exit: 1",
         "the last stage has no exit: the classifier follows it"),
        ("{channels: 16, activation: relu, expand: 3}", "{channels: 16, activation: relu, exit: 2}",
         "line 9: stages.0.exit: input should be less than or equal to 1; got 2"),
        ("{channels: 16, activation: relu, expand: 3}",
         "{channels: 16, activation: relu, exit: true}",
         "line 9: stages.0.exit: input should be a valid integer; got True"),
        ("{channels: 16, activation: relu, expand: 3}",
         "{channels: 16, activation: relu, exit: [0, 0]}",
         "line 9: stages.0.exit: a choice is listed twice"),
        ("{channels: 16, activation: relu, expand: 3}",
         "{channels: 16, activation: relu, exit: 1, variants: {a: {op: skip}, b: {kernel: 5}}}",
         "line 9: stages.0: a stage with a skip variant has no exit: it may be empty"),
        ("head: {", "exit_head: {channels: 8, activation: relu}\nhead: {",
         "an exit_head is for stages with an exit, of which there are none"),
        # other
        ("schema: 1", "schema: 2", "line 1: schema: input should be 1; got 2"),
        ("name: tiny", "name: Tiny Space", "line 2: name: input should be small letters"),
        ("op: classifier", "op: pool", "line 24: references.one.layers.1.op: input should be"),
        ("op: stem, channels: 8", "op: stem", "reference one: a stem needs channels"),
        ("op: classifier", "op: head, channels: 8",
         "line 22: references.one.layers: the last layer, and no other, is the classifier"),
        ("op: classifier", "op: classifier, pooling: last, hidden: 4",
         "reference one: a classifier that pools last has no hidden layer and no channels of its"),
        ("{channels: 16, activation: relu, expand: 3}",
         "{op: depthwise_separable, channels: 16, activation: relu, expand: 3, "
         "variants: {a: {op: skip}, b: {kernel: 5}}}",
         "line 9: stages.0: a depthwise_separable stage has no expand ratio and no se"),
        ("{channels: 16, activation: relu, expand: 3}",
         "{op: shuffle_unit, channels: [7, 16], activation: relu}",
         "stage1.block1: a shuffle_unit joins two halves: its channels are even; got 7"),
    ],
)  # fmt: skip
def test_a_broken_rule(message, old, new, expected):
    assert expected in message(old, new)


def test_one_skip_variant_is_enough(message):
    new = "variants: {a: {op: skip}, b: {op: skip}, c: {kernel: 3}}"
    old = "depth: [1, 2]\n    kernel: [3, 5]\n    expand: [3, 6]"
    assert "line 10: stages.1: a stage has at most one skip variant: " in message(old, new)


def test_separable_blocks_have_no_expand_ratio(message):
    old = "{channels: 16, activation: relu, expand: 3}"
    new = "{op: depthwise_separable, channels: 16, activation: relu, expand: 3}"
    assert message(old, new).startswith(
        "line 9: stages.0: a depthwise_separable stage has no expand ratio and no se"
    )


def test_an_exit_that_rounds_to_zero_channels(tmp_path):
    """Found when the space is read, although its first choice is none."""
    path = tmp_path / "tiny.yaml"
    old = "{channels: 16, activation: relu, expand: 3}"
    text = GOOD.replace(old, "{channels: 16, activation: relu, exit: [0, 1]}")
    path.write_text(f"{text}exit_head: {{channels: 7, activation: relu}}\n")
    with pytest.raises(SpaceError, match="width 0.5 leaves 7 channels with none"):
        load_space(path)


def test_a_width_that_rounds_to_zero_channels(message):
    assert message("width: [0.5, 1.0]", "width: [0.1, 1.0]") == (
        "search space tiny: width 0.1 leaves 16 channels with none; allowed: widths that keep at "
        "least 4 channels everywhere; try: a larger width or more channels"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must hold keys and values; got 'NoneType'; allowed: a mapping"),
        ("- a\n", "must hold keys and values; got 'list'; allowed: a mapping"),
        ("schema: [1", "line 1 is not valid YAML: "),
        (GOOD[: len(GOOD) // 2], "is missing"),
    ],
)
def test_what_is_no_space_file(tmp_path, text, expected):
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    assert expected in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(
        SpaceError, match=r"no\.yaml cannot be read: No such file or directory; try: the path"
    ):
        load_space(tmp_path / "no.yaml")


def test_a_changed_copy_has_a_name_of_its_own(tmp_path):
    """Latency tables would take it for the space that they were made for."""
    shipped = space_names()["mobilenetv2"].read_text()
    path = tmp_path / "mobilenetv2.yaml"
    path.write_text(shipped.replace("description: ", "description: A copy of "))
    assert load_space(path).content == {
        **load_space("mobilenetv2").content, "description": load_space(path).file.description
    }  # fmt: skip
    path.write_text(shipped.replace("rounding: 8", "rounding: 4"))
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    message = str(caught.value)
    assert message.startswith(
        f"{path}: a space that differs from another one has a name of its own; got 'mobilenetv2'; "
        "allowed: any but "
    )
    assert message.endswith("; try: change name: in the file")
    (tmp_path / "run.yaml").touch()
    assert load_space(path).file.rounding == 4, "a run keeps the space of its time"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(OptionError) as caught:
        load_space("mobilenet")
    assert str(caught.value) == (
        "no search space has this name; got 'mobilenet'; "
        "allowed: efficientnetv2, mixed, mobilenetv1, mobilenetv2, mobilenetv3, "
        "mobilenetv3-exits, nas-bench-macro, shufflenetv2, squeezenet; "
        "try: nas spaces, or the path of a YAML file"
    )


def test_the_working_folder_wins_over_the_users_and_that_over_the_shipped(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "mine"))
    mine = tmp_path / "mine" / "search_spaces"
    here = tmp_path / "here" / "search_spaces"
    for number, folder in enumerate([mine, here]):
        folder.mkdir(parents=True)
        text = GOOD.replace("name: tiny", "name: mobilenetv3")
        (folder / "mobilenetv3.yaml").write_text(text.replace("for tests", f"number {number}"))
    assert load_space("mobilenetv3").file.description == "number 0"
    monkeypatch.chdir(tmp_path / "here")
    assert load_space("mobilenetv3").file.description == "number 1"
    assert space_names()["mobilenetv3"] == here / "mobilenetv3.yaml"
    assert space_names()["mobilenetv2"].parent not in (here, mine)


def test_a_file_has_the_name_of_its_space(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path))
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    (folder / "small.yaml").write_text(GOOD)
    with pytest.raises(SpaceError) as caught:
        load_space("small")
    assert str(caught.value) == (
        f"{folder / 'small.yaml'}: the file and the space in it have one name; "
        "got 'tiny'; allowed: small"
    )
