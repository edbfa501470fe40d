"""YAML read against a schema: every message has the file and the line."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from nas.documents import Section, parse_yaml, read_yaml, validate
from nas.errors import SpaceError


class Leg(Section):
    length: Annotated[int, Field(gt=0)]
    shoe: Literal["boot", "sandal"] | None = None


class Cat(Section):
    name: str
    weight: float = 4.0
    legs: list[Leg] = []
    toys: dict[str, int] = {}

    @model_validator(mode="after")
    def _even(self):
        if len(self.legs) % 2:
            raise ValueError("legs come in pairs")
        return self


def parse(text):
    return parse_yaml(text, Cat, SpaceError, "cat.yaml")


def message(text):
    with pytest.raises(SpaceError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_document_is_read():
    cat = parse("name: Tom\nweight: 5\nlegs:\n  - length: 3\n  - {length: 4, shoe: boot}\n")
    assert cat == Cat(
        name="Tom", weight=5.0, legs=[Leg(length=3), Leg(length=4, shoe="boot")], toys={}
    )


def test_a_document_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse("name: Tom").name = "Jerry"


def test_anchors_may_be_reused():
    cat = parse("name: Tom\nlegs: [&leg {length: 3}, *leg]\n")
    assert cat.legs[0] == cat.legs[1]


def test_aliases_of_aliases_of_aliases_are_refused():
    """A few hundred bytes that would be billions of values."""
    lines = [
        "a0: &a0 [0]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)),
    ]
    assert "is not valid YAML: it has more than 100,000 keys and values" in message(
        "\n".join(lines)
    )


def test_an_unknown_key_is_named_with_its_line():
    assert message("name: Tom\ncolour: red\n") == (
        "cat.yaml line 2: unknown key 'colour' in the document; allowed: legs, name, toys, weight"
    )
    assert message("name: Tom\nlegs:\n  - length: 3\n  - length: 3\n    toes: 5\n") == (
        "cat.yaml line 5: unknown key 'toes' in legs.1; allowed: length, shoe"
    )


def test_an_unknown_key_is_reported_before_what_it_caused():
    assert message("nam: Tom\nlegs: 3\n") == (
        "cat.yaml line 1: unknown key 'nam' in the document; allowed: legs, name, toys, weight; "
        "try: name"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("toys: 3\n", "line 2: toys: input should be keys and values; got 3"),
        ("legs: [5]\n", "line 2: legs.0: input should be keys and values; got 5"),
        ("legs:\n", "line 2: legs: input should be a valid list; got nothing"),
    ],
)
def test_forms_are_named_in_words_of_yaml(text, told):
    assert message(f"name: Tom\n{text}") == f"cat.yaml {told}"


def test_keys_are_known_in_forms_of_which_one_is_meant_and_in_mappings():
    class House(Section):
        pets: dict[str, Cat] = {}
        guest: Annotated[Leg | list[Leg], Field()] | None = None

    def refused(text):
        with pytest.raises(SpaceError) as caught:
            parse_yaml(text, House, SpaceError, "house.yaml")
        return str(caught.value)

    assert refused("pets: {a: {name: Tom, leg: []}}") == (
        "house.yaml line 1: unknown key 'leg' in pets.a; allowed: legs, name, toys, weight; "
        "try: legs"
    )
    assert refused("guest: {length: 1, size: 2}").startswith(
        "house.yaml line 1: unknown key 'size' in guest; allowed: length, shoe"
    )
    assert refused("guest: [{length: 1, size: 2}]").startswith(
        "house.yaml line 1: unknown key 'size' in guest.0; allowed: length, shoe"
    )


def test_a_key_that_is_given_twice():
    assert message("name: Tom\nweight: 3\nname: Tim\n") == (
        "cat.yaml line 3 is not valid YAML: the key 'name' is given twice"
    )
    assert message("name: Tom\nlegs:\n  - length: 3\n    length: 4\n") == (
        "cat.yaml line 4 is not valid YAML: the key 'length' is given twice"
    )


def test_a_missing_key():
    assert message("weight: 3\n") == "cat.yaml: name is missing"
    assert message("name: Tom\nlegs:\n  - length: 1\n  - shoe: boot\n") == (
        "cat.yaml line 4: legs.1.length is missing"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: 3", "line 1: name: input should be a valid string; got 3"),
        ("name: Tom\nweight: 'x'", "line 2: weight: input should be a valid number; got 'x'"),
        ("name: Tom\nweight: true", "line 2: weight: input should be a valid number; got True"),
        ("name: Tom\nlegs: 4", "line 2: legs: input should be a valid list; got 4"),
        (
            "name: Tom\nlegs:\n- length: 3\n- length: 1.5",
            "line 4: legs.1.length: input should be a valid integer; got 1.5",
        ),
        (
            "name: Tom\nlegs:\n- length: 0",
            "line 3: legs.0.length: input should be greater than 0; got 0",
        ),
        (
            "name: Tom\nlegs:\n- length: 1\n  shoe: heel",
            "line 4: legs.0.shoe: input should be 'boot' or 'sandal'; got 'heel'",
        ),
        ("name: Tom\ntoys: {ball: x}", "line 2: toys.ball: input should be a valid integer; got"),
        ("name: Tom\nlegs:\n- length: 1", "legs come in pairs; got {'name': 'Tom', 'legs': ["),
    ],
)
def test_wrong_types_and_values(text, expected):
    assert expected in message(text)


def test_a_long_value_is_not_repeated():
    assert message(f"name: {list(range(100))}") == (
        "cat.yaml line 1: name: input should be a valid string"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [Tom", "cat.yaml line 1 is not valid YAML: expected ',' or ']', but got "),
        ("name: Tom\n\tweight: 3", "cat.yaml line 2 is not valid YAML: found character '\\t'"),
        ("name: Tom\n weight: 3", "cat.yaml line 2 is not valid YAML: mapping values are not"),
        ("name: *nobody", "cat.yaml line 1 is not valid YAML: found undefined alias"),
        ("name: Tom\n---\nname: Tim", "cat.yaml line 2 is not valid YAML: but found another doc"),
        ("name: &a [*a]", "cat.yaml is not valid YAML: maximum recursion depth"),
        ("[" * 100_000, "cat.yaml is not valid YAML: maximum recursion depth"),
        ("name: 2026-13-45", "cat.yaml is not valid YAML: month must be in 1..12"),
        ("name: \x00", "cat.yaml is not valid YAML: "),
        ("name: !!python/object/apply:os.getcwd []", "cat.yaml line 1 is not valid YAML: could no"),
    ],
)
def test_broken_yaml(text, expected):
    assert message(text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "got"),
    [("", "NoneType"), ("# nothing\n", "NoneType"), ("- a\n", "list"), ("3", "int")],
)
def test_a_document_is_a_mapping(text, got):
    assert message(text) == (f"cat.yaml must hold keys and values; got {got!r}; allowed: a mapping")


def test_content_without_lines():
    with pytest.raises(SpaceError, match=r"^front.json: legs.0.length is missing$"):
        validate({"name": "Tom", "legs": [{}]}, Cat, SpaceError, "front.json")


def test_files_are_read(tmp_path):
    path = tmp_path / "cat.yaml"
    path.write_text("name: Tôm\n", encoding="utf-8")
    assert read_yaml(path, Cat, SpaceError).name == "Tôm"
    path.write_text("name: Tom\nweight: heavy\n")
    with pytest.raises(SpaceError) as caught:
        read_yaml(path, Cat, SpaceError)
    assert str(caught.value) == (
        f"{path} line 2: weight: input should be a valid number; got 'heavy'"
    )


def test_files_that_cannot_be_read(tmp_path):
    missing, binary = tmp_path / "no.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, reason in [
        (missing, "No such file or directory"),
        (binary, "it is not UTF-8 text"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(SpaceError) as caught:
            read_yaml(path, Cat, SpaceError)
        assert str(caught.value) == (
            f"{path} cannot be read: {reason}; try: the path of a file that this user may read"
        )
