"""The `nas` command."""

from __future__ import annotations

import argparse
import difflib
import errno
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from nas.cli import (
    dashboard,
    devices,
    export,
    predict,
    profile,
    report,
    sample,
    search,
    spaces,
    train,
    validate,
)
from nas.errors import NasError, OptionError
from nas.files import map_disk_error
from nas.threads import spin_briefly

DESCRIPTION = """\
Find the models that are fast enough on your board: a Pareto front of accuracy
against latency, as checked ONNX files.

  nas search --device jetson-nano --budget 20ms
      on the embedded digits, about 5 minutes
  nas search --device jetson-nano --budget 20ms --data photos/
      on your own images
"""
UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP, errno.ENOTDIR)
COMMANDS = (
    search, train, profile, validate, predict, export, sample, devices, spaces, report, dashboard,
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Refuses bad input in one line, as everything else does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `--budget -3ms` is a value out of range, not an option that nobody knows.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises:
            OptionError: Always.
        """
        parser = self._of_command(message)
        raise OptionError(message + parser._suggestion(message), do=f"{parser.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Remember what came, to say afterwards which command it was for."""
        self._given = list(args or ())
        return super().parse_known_args(args, namespace)

    def _of_command(self, message: str) -> Parser:
        """What is left over is reported by the first parser, but was meant for a command's."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and "unrecognized" in message:
                for given in self._given:
                    if given in action.choices:
                        return cast(Parser, action.choices[given])
        return self

    def _suggestion(self, message: str) -> str:
        if message.startswith("argument COMMAND: "):
            given = self._given[0]
            if given.startswith("-"):
                return f"; the command comes first: nas search {shlex.join(self._given)}"
            known = [command.__name__.rpartition(".")[2] for command in COMMANDS]
        elif message.startswith("unrecognized arguments: "):
            given = message.split()[2].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
        else:
            return ""
        close = difflib.get_close_matches(given, known, n=1)
        return f" (did you mean {close[0]}?)" if close else ""


def build_parser() -> Parser:
    """All commands and their options; loads nothing heavy."""
    parser = Parser(
        prog="nas",
        description=DESCRIPTION,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=18
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


class Version(argparse.Action):
    """Prints the installed version."""

    def __call__(self, *_: object, **__: object) -> None:
        """Print and leave."""
        from nas import __version__

        print(f"nas {__version__}")
        sys.exit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0 on success, 2 on bad input, 1 on failure, 130 when stopped.
    """
    spin_briefly()
    _stop_when_terminated()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        _refuse_empty(given)
        options = build_parser().parse_args(given)
        return int(options.run(options))
    except NasError as error:
        print(f"nas: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("nas: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mapped = map_disk_error(error, Path(error.filename or "a file"))
            print(f"nas: {mapped}", file=sys.stderr)
            return mapped.exit_code
        if error.errno in UNUSABLE and error.filename is not None:
            print(
                f"nas: {_short(error.filename)} cannot be used: {error.strerror}", file=sys.stderr
            )
            return 2
        if not isinstance(error, BrokenPipeError):
            raise
        # The reader of our output has gone (as `| head` does): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _stop_when_terminated() -> None:
    """Let SIGTERM (`docker stop`) and SIGHUP (a closed terminal) do what Ctrl-C does."""

    def stop(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:  # not under nohup
            signal.signal(hangup, stop)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """An empty value is a shell variable that was not set, and never meant: `--out "$OUT"`.

    Raises:
        OptionError: There is one.
    """
    for before, value in zip(["nas", *arguments], arguments, strict=False):
        if value == "" or (value.startswith("--") and value.endswith("=")):
            raise OptionError(
                "a value is not empty", got=f"{value or before} ''", do="give a value"
            )


def _short(path: object) -> str:
    text = str(path)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


if __name__ == "__main__":
    sys.exit(main())
