"""`nas devices`: which latency tables there are, and how far each can be trusted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nas.cli.common import command_parser, print_json

if TYPE_CHECKING:
    from nas.latency.table import LatencyTable


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "devices",
        "list devices with a latency table: provenance, certificate, age",
        "nas devices --json",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    import sys

    from nas.errors import TableError
    from nas.latency.table import read_table, table_folders

    facts, broken = [], []
    for _, folder in sorted(table_folders().items()):
        try:
            facts.append(describe(read_table(folder)))
        except TableError as error:
            broken.append(error)
    if options.json:
        print_json(facts)
    else:
        _print(facts)
    for reason in broken:
        print(f"nas: left out: {reason}", file=sys.stderr)
    return 2 if broken else 0


def describe(table: LatencyTable) -> dict[str, Any]:
    """What is known about a table."""
    import datetime

    device = table.device
    certificate: dict[str, Any] | None = None
    if device.certificate is not None:
        certificate = device.certificate.model_dump()
    calibrations = [c.model_dump(exclude={"certificate": {"points"}}) for c in device.calibrations]
    return {
        "name": table.name,
        "aliases": device.aliases,
        "hardware": device.hardware,
        "runtime": device.runtime,
        "runtime_version": device.runtime_version,
        "threads": device.threads,
        "precision": device.precision,
        "provenance": table.provenance,
        "date": device.provenance.date.isoformat(),
        "age_days": (datetime.date.today() - device.provenance.date).days,
        "blocks": len(table.rows) or None,
        "interpolation": device.interpolation.model_dump() if device.interpolation else None,
        "calibrations": calibrations,
        "certificate": certificate,
        "folder": str(table.folder),
    }


def _print(facts: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("device", "runtime", "provenance", "certificate", "age"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading in ("device", "provenance", "age")
        )
    for fact in facts:
        name = fact["name"] + "".join(f"\n({alias})" for alias in fact["aliases"])
        threads = f", {fact['threads']} threads" if (fact["threads"] or 1) > 1 else ""
        runtime = f"{fact['runtime']} {fact['runtime_version'] or ''}".strip()
        table.add_row(
            escape(name),
            escape(f"{runtime}\n{fact['precision']}{threads}"),
            fact["provenance"],
            escape(_certificate(fact)),
            f"{fact['age_days']} d",
        )
    Console().print(table)


def _certificate(fact: dict[str, Any]) -> str:
    if fact["certificate"] is not None:
        found = fact["certificate"]
        return (
            f"whole networks of left-out families: median error {found['median_error']:.0%}, "
            f"largest {found['largest_error']:.0%}; any block"
        )
    lines = []
    for c in fact["calibrations"]:
        held = c["certificate"]
        lines.append(
            f"{c['space']} {c['plan']} {'/'.join(map(str, c['resolutions']))} px: error "
            f"{held['mape']:.1%} on {held['models']} whole models, {held['within_10']:.0%} within "
            f"10 %"
        )
    if fact["interpolation"] is not None:
        derived = fact["interpolation"]
        lines.append(
            f"{derived['blocks']} of {fact['blocks']} blocks derived from others: "
            f"{derived['median_error']:.1%} off (median)"
        )
    return "\n".join(lines)
