"""One tree of errors: texts of one line, and an exit code for each."""

import inspect

import pytest

from nas import errors
from nas.errors import DiskFullError, InputError, NasError, UnitError

ALL = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, NasError)]


def test_a_message_says_the_rule_what_came_what_is_allowed_and_what_to_do():
    error = NasError("a cat has four legs", got=5, allowed="4", do="nas cats --count")
    assert str(error) == "a cat has four legs; got 5; allowed: 4; try: nas cats --count"


def test_parts_that_are_not_given_are_left_out():
    assert str(NasError("a cat has four legs")) == "a cat has four legs"
    assert str(NasError("a cat has four legs", got=0)) == "a cat has four legs; got 0"


def test_text_is_shown_in_quotes():
    assert str(NasError("a number", got="five")) == "a number; got 'five'"
    assert str(NasError("a number", got="")) == "a number; got ''"


def test_a_message_is_one_line_whatever_it_quotes():
    assert str(NasError("no name", got=None, do="\x1b[2Ja\0b")) == "no name; try: \\x1b[2Ja\\x00b"
    error = NasError("onnxruntime refuses the model:\n  line 1\n\tline 2", do="a\nb")
    assert str(error) == "onnxruntime refuses the model: line 1 line 2; try: a b"


def test_bad_input_exits_with_2_and_everything_else_with_1():
    assert NasError.exit_code == 1
    assert DiskFullError.exit_code == 1
    assert {c.exit_code for c in ALL if issubclass(c, InputError)} == {2}
    assert {c.exit_code for c in ALL if not issubclass(c, InputError)} == {1}


@pytest.mark.parametrize("error", ALL)
def test_the_tree_in_the_docstring_is_complete(error):
    assert f" {error.__name__} " in errors.__doc__


def test_every_error_can_be_caught_as_the_base():
    with pytest.raises(NasError, match="^a budget needs a unit$"):
        raise UnitError("a budget needs a unit")
