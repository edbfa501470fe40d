"""YAML documents read against a schema, with the line of every mistake in the message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from nas.errors import InputError


class Section(BaseModel):
    """A part of a document: immutable, unknown keys refused, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{at}: unknown key {location[-1]!r} in {_parent(location)}"
    if problem["type"] == "missing":
        missing = location if not lines else (*known, location[-1])
        return f"{at}: {'.'.join(map(str, missing))} is missing"
    got = problem["input"]
    shown = "" if isinstance(got, dict | list) and len(str(got)) > 60 else f"; got {got!r}"
    about = f"{at}: {name}" if name else at
    return f"{about}: {message[:1].lower()}{message[1:]}{shown}"


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
