"""What several commands share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ArchitectureError, OptionError

if TYPE_CHECKING:
    from nas.space import Architecture, SearchSpace
    from nas.space.architecture import Network


def command_parser(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    """A parser whose help ends with an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def positive(text: str) -> int:
    """A whole number above zero."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"a whole number above zero is needed, got {text!r}")
    return value


def not_negative(text: str) -> int:
    """A whole number, zero or above."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is needed, got {text!r}")
    return value


def print_json(value: Any) -> int:
    """The answer for programs, alone on standard output; returns the exit code 0."""
    print(json.dumps(value, indent=2))
    return 0


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Ways to name a network: an architecture object, or a published reference."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--arch", metavar="FILE", help="architecture object of nas sample --json ('-': stdin)"
    )
    which.add_argument(
        "--reference", metavar="SPACE/NAME", help="published network, as nas spaces show lists them"
    )
    parser.add_argument(
        "--classes", type=positive, help="number of classes (default: 10 small plan, 1000 large)"
    )


def read_architectures(path: str) -> list[tuple[SearchSpace, Architecture]]:
    """One architecture object, or a list of them, from a file.

    Raises:
        ArchitectureError: Unreadable, not JSON, or not architectures.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as cause:
        raise ArchitectureError(
            f"{path} cannot be read: {cause.strerror}", do="nas sample -n 1 --json > arch.json"
        ) from cause
    except ValueError as cause:
        raise ArchitectureError(
            f"{path} is not JSON: {cause}", do="nas sample -n 1 --json > arch.json"
        ) from cause
    return [_architecture(item) for item in (content if isinstance(content, list) else [content])]


def _architecture(value: Any) -> tuple[SearchSpace, Architecture]:
    from nas.space import load_space

    if not isinstance(value, dict) or not isinstance(value.get("space"), str):
        raise ArchitectureError(
            "an architecture is one object of `nas sample --json`",
            got=type(value).__name__,
            allowed="{schema, space, plan, resolution, choices, id}",
        )
    space = load_space(value["space"])
    return space, space.from_json(value)


def read_reference(text: str, classes: int | None) -> tuple[SearchSpace, str, Network]:
    """A space, the name of a reference in it, and the network.

    Raises:
        OptionError: There is no such reference.
    """
    from nas.space import load_space

    space_name, slash, name = text.rpartition("/")
    if not slash:
        raise OptionError(
            "--reference names a space and a network in it",
            got=text,
            allowed="SPACE/NAME such as mobilenetv3/mobilenet_v3_large",
        )
    space = load_space(space_name)
    return space, name, space.reference(name, classes)
