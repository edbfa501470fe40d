"""YAML documents read against a schema, with the line of every mistake in the message."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from nas.errors import InputError


class Section(BaseModel):
    """A part of a document: immutable, unknown keys refused, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


WORDS = {
    "dict_type": "input should be keys and values",
    "model_type": "input should be keys and values",
    "string_pattern_mismatch": "input should be small letters, digits, '.', '_' and '-'",
}
"""Of mistakes that pydantic tells in Python's terms, or by a regular expression."""
MOST_PLACES = 100_000
"""Keys and values of a document: a few aliases of aliases would otherwise take all memory."""
Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


def read_yaml(path: Path, model: type[Model], error: type[InputError]) -> Model:
    """Read a YAML file as `model`.

    Raises:
        InputError: As the subclass `error`: unreadable, not YAML, a repeated key, or content that
            the schema refuses. The message names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is not UTF-8 text"
        raise error(
            f"{path} cannot be read: {reason}", do="the path of a file that this user may read"
        ) from cause
    return parse_yaml(text, model, error, str(path))


def parse_yaml(text: str, model: type[Model], error: type[InputError], where: str) -> Model:
    """The same for a text; `where` names it in messages."""
    try:
        try:
            content, lines = _content_and_lines(text, LOADER)
        except yaml.YAMLError:  # PyYAML's own reader says what is wrong the same way everywhere
            content, lines = _content_and_lines(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        line = f" line {mark.line + 1}" if mark else ""
        raise error(f"{where}{line} is not valid YAML: {cause.problem}") from cause
    except (yaml.YAMLError, RecursionError, ValueError) as cause:
        # PyYAML leaks the ValueError of what only looks like a date or a number: 2026-13-45.
        raise error(f"{where} is not valid YAML: {cause}") from cause
    return validate(content, model, error, where, lines)


def _make_loader() -> type[Any]:
    """Read by libyaml where PyYAML has it, which takes a fraction of the time.

    Composed in Python: libyaml's own way overruns the stack where a text is nested too deep.
    """
    if not yaml.__with_libyaml__:
        return yaml.SafeLoader
    from yaml._yaml import CParser

    class Loader(Composer, CParser, SafeConstructor, Resolver):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Loader


LOADER = _make_loader()


def _content_and_lines(text: str, make: type[Any]) -> tuple[Any, dict[Location, int]]:
    loader, lines = make(text), dict[Location, int]()
    try:
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _collect_lines(node, (), lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def validate(
    content: Any,
    model: type[Model],
    error: type[InputError],
    where: str,
    lines: Mapping[Location, int] | None = None,
) -> Model:
    """Check already parsed content against `model`."""
    if not isinstance(content, dict):
        raise error(
            f"{where} must hold keys and values", got=type(content).__name__, allowed="a mapping"
        )
    try:
        return model.model_validate(content)
    except ValidationError as cause:
        raise error(_first_problem(cause, model, where, lines or {})) from cause


def _first_problem(
    cause: ValidationError, model: type[BaseModel], where: str, lines: Mapping[Location, int]
) -> str:
    problem = max(cause.errors(include_url=False), key=_depth)
    location = problem["loc"]
    line = _line_of(location, lines)
    at = f"{where} line {line}" if line else where
    known = _known(location, lines)
    name = "".join(f"{part}." for part in known).removesuffix(".")
    message = WORDS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    if problem["type"] == "extra_forbidden":
        keys = sorted(_keys_at(model, location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), keys, n=1)
        meant = f"; try: {close[0]}" if close else ""
        return (
            f"{at}: unknown key {location[-1]!r} in {_parent(known)}; allowed: {', '.join(keys)}"
            f"{meant}"
        )
    if problem["type"] == "missing":
        missing = location if not lines else (*known, location[-1])
        return f"{at}: {'.'.join(map(str, missing))} is missing"
    got = problem["input"]
    long = isinstance(got, dict | list) and len(str(got)) > 60
    shown = "" if long else "; got nothing" if got is None else f"; got {got!r}"
    about = f"{at}: {name}" if name else at
    return f"{about}: {message[:1].lower()}{message[1:]}{shown}"


def _keys_at(annotation: Any, location: Location) -> set[str]:
    """Keys that the schema has at a location, where names of union members are parts, too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        if not location:
            return set(fields)
        field = fields.get(str(location[0]))
        return set() if field is None else _keys_at(field.annotation, location[1:])
    forms = get_args(annotation)
    if get_origin(annotation) in (list, tuple, dict):  # the part is an index, or any key
        forms, location = forms[-1:], location[1:]
    elif len(forms) > 1 and location and not isinstance(location[0], int):
        # One of several forms, which pydantic names.
        here = [keys for form in forms if (keys := _keys_at(form, location))]
        return set().union(*here) or set().union(*(_keys_at(f, location[1:]) for f in forms))
    return set().union(*(_keys_at(form, location) for form in forms))


def _depth(problem: Any) -> tuple[bool, int]:
    """Unknown keys first (they explain the rest), then the most specific."""
    return problem["type"] == "extra_forbidden", len(problem["loc"])


def _known(location: Location, lines: Mapping[Location, int]) -> Location:
    """The parts of a pydantic location that are in the document (not names of union members)."""
    if not lines:
        return location
    found: Location = ()
    for part in location:
        if (*found, part) in lines:
            found = (*found, part)
    return found


def _line_of(location: Location, lines: Mapping[Location, int]) -> int | None:
    found: Location = ()
    line = None
    for part in location:
        if (*found, part) in lines:
            found = (*found, part)
            line = lines[found]
    return line


def _parent(location: Location) -> str:
    return ".".join(str(part) for part in location[:-1]) or "the document"


def _collect_lines(node: yaml.Node, location: Location, lines: dict[Location, int]) -> None:
    lines.setdefault(location, node.start_mark.line + 1)
    if len(lines) > MOST_PLACES:
        raise yaml.MarkedYAMLError(
            problem=f"it has more than {MOST_PLACES:,} keys and values, its aliases written out",
            problem_mark=node.start_mark,
        )
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*location, index), lines)
    elif isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*location, str(key_node.value))
            if key in lines:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key_node.value!r} is given twice",
                    problem_mark=key_node.start_mark,
                )
            lines[key] = key_node.start_mark.line + 1
            _collect_lines(value_node, key, lines)
