"""What several commands share."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.errors import ArchitectureError, OptionError

if TYPE_CHECKING:
    from nas.devices.transports import Transport
    from nas.space import Architecture, SearchSpace
    from nas.space.architecture import Network

PYTHON = "python3"
"""A board's interpreter where none is named."""


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


def whole(low: int, high: int) -> Callable[[str], int]:
    """A type of option: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"a whole number from {low} to {high} is needed, got {text!r}"
            )
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """A type of option: a number from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"a number from {low:g} to {high:g} is needed, got {text!r}"
            )
        return value

    return parse


positive = whole(1, 10_000_000)
seed = whole(0, 2**31 - 1)


def print_json(value: Any) -> int:
    """The answer for programs, alone on standard output; returns the exit code 0."""
    print(json.dumps(value, indent=2))
    return 0


def add_board_options(parser: Any, where: Any = None) -> None:
    """Ways to the device that is measured; this machine where none is given.

    Args:
        parser: Of the command, or a group of its options.
        where: Its group of options that exclude each other, if it has one.
    """
    where = where or parser.add_mutually_exclusive_group()
    where.add_argument("--host", help="measure a board over ssh: user@board, or a name of ssh's")
    where.add_argument("--adb", metavar="SERIAL", help="measure an Android device over adb")
    parser.add_argument("--python", metavar="PATH", help=f"interpreter on the board ({PYTHON})")


def open_transport(options: argparse.Namespace) -> Transport:
    """The way to the device that is measured.

    Raises:
        OptionError: There cannot be such a device, the program that reaches it is missing, or an
            interpreter is named without a board.
    """
    from nas.devices.transports.adb import Adb
    from nas.devices.transports.local import Local
    from nas.devices.transports.ssh import Ssh

    python = PYTHON if options.python is None else options.python
    if options.host is not None:
        return Ssh(options.host, python)
    if options.adb is not None:
        return Adb(options.adb, python)
    if options.python is not None:
        raise OptionError(
            "--python names the interpreter of a board", got=python, do="add --host or --adb"
        )
    return Local()


PLAN_HELP = "input plan: small (images up to 80 px) or large (default: the space's first)"


def add_network_ways(parser: Any) -> Any:
    """Ways to name a network: an architecture object, or a published reference.

    Returns the group of which one is given, for a command that knows another way.
    """
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--arch",
        metavar="FILE",
        help="from nas sample --json ('-': stdin), or a run's models/<id>.json",
    )
    which.add_argument(
        "--reference", metavar="SPACE/NAME", help="published network, as nas spaces show lists them"
    )
    return which


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """What these ways need beside: the space of an architecture, the number of classes."""
    parser.add_argument(
        "--space", metavar="FILE", help="space file of --arch, where its name is not known here"
    )
    parser.add_argument(
        "--classes",
        type=whole(1, 100_000),
        metavar="N",
        help="number of classes (default: 10 small plan, 1000 large)",
    )


class Named(NamedTuple):
    """An architecture from a file, its space, and the classes of a model that was made of it."""

    space: SearchSpace
    architecture: Architecture
    classes: int | None


def read_architectures(path: str, space: str | None = None) -> list[Named]:
    """One architecture object, or a list of them, from a file; models of a run as well.

    Args:
        path: The file; `-` for standard input.
        space: File of the search space that they belong to, where its name is not known.

    Raises:
        ArchitectureError: Unreadable, not JSON, empty, or not architectures.
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
    items = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and isinstance(content.get("models"), list):
        items = content["models"]  # front.json
    if not items:
        raise ArchitectureError(
            f"{path} holds no architecture", got="[]", do="nas sample -n 1 --json > arch.json"
        )
    return [_architecture(item, space) for item in items]


def _architecture(value: Any, space_file: str | None) -> Named:
    from nas.space import load_space, space_names

    classes = None
    if isinstance(value, dict) and isinstance(value.get("architecture"), dict):
        found = value.get("classes")  # models of before did not say how many they tell apart
        classes = found if isinstance(found, int) and found > 0 else None
        value = value["architecture"]  # a model's entry in front.json, or models/<id>.json
    if not isinstance(value, dict) or not isinstance(value.get("space"), str):
        raise ArchitectureError(
            "an architecture is one object of `nas sample --json`",
            got="an object without space" if isinstance(value, dict) else type(value).__name__,
            allowed="{schema, space, plan, resolution, choices, id}, or a run's front.json or "
            "models/<id>.json",
        )
    known = space_names()
    if space_file is None and value["space"] not in known:
        raise ArchitectureError(
            "no search space has the name in this architecture",
            got=value["space"],
            allowed=", ".join(sorted(known)),
            do="--space FILE (a run keeps its own as space.yaml)",
        )
    # Only a name is taken from the object: a path in it is nobody's business.
    space = load_space(space_file or value["space"])
    return Named(space, space.from_json(value), classes)


def read_reference(
    text: str, classes: int | None, space_file: str | None = None
) -> tuple[SearchSpace, str, Network]:
    """A space, the name of a reference in it, and the network.

    Raises:
        OptionError: There is no such reference.
    """
    from nas.space.load import load_reference

    if space_file is not None:
        raise OptionError("--space goes with --arch", got="--reference", do="leave --space out")
    space, name = load_reference(text)
    return space, name, space.reference(name, classes)
