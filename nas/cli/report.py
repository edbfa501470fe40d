"""`nas report`: write a run's page again."""

from __future__ import annotations

import argparse
from typing import Any

from nas.cli.common import command_parser


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands, "report", "write report.html of a finished run", "nas report runs/RUN"
    )
    parser.add_argument("folder", metavar="RUN", help="run folder")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from pathlib import Path

    from nas.report.page import write_report

    print(write_report(Path(options.folder)))
    return 0
