"""`nas validate`: whether a latency table still holds on this machine."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import (
    add_board_options,
    command_parser,
    open_transport,
    print_json,
    seed,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nas.devices.validate import Validation
    from nas.latency.device_file import Calibration
    from nas.latency.table import LatencyTable
    from nas.space import SearchSpace

BUSY = 0.05
"""Share of models without timings that agree from which the machine is said to be busy."""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "validate",
        "compare a table with fresh whole models, measured on its device",
        "nas validate --device my-gateway -n 30",
    )
    add = parser.add_argument
    add("--device", required=True, help="name, alias or folder of a measured table")
    add("--space", help="search space (default: all that the table is calibrated for)")
    add("--plan", help="input plan (default: all that the table is calibrated for)")
    add("-n", type=whole(10, 10_000), default=30, help="how many models, at least 10 (%(default)s)")
    add("--seed", type=seed, metavar="N", help="of the drawn models (default: a fresh one)")
    add_board_options(parser)
    add("--plot", type=Path, metavar="FILE", help="write predicted against measured as HTML")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.cli.progress import TerminalWatcher
    from nas.devices.validate import fresh_seed, validate
    from nas.latency.table import load_table

    table = load_table(options.device)
    wanted = _wanted(options, table)
    transport = open_transport(options)
    number = fresh_seed(table) if options.seed is None else options.seed
    answers, lasting = [], True
    points: list[list[float]] = []
    for space, calibration in wanted:
        with TerminalWatcher() as watcher:
            try:
                found = validate(
                    table, space, calibration, options.n, number, transport,
                    progress=lambda done, total: watcher.progress("validate", done, total),
                )  # fmt: skip
            except KeyboardInterrupt:
                print("\nStopped. The same command goes on from there.", file=sys.stderr)
                raise
        table, kept = _keep(table, found)
        answers.append(_describe(found, table, number, kept))
        lasting = lasting and found.holds
        if not options.json:
            _print(answers[-1])
        points += found.certificate.points
    if options.json:
        print_json(answers)
    if not lasting:
        print(
            f"nas: the table of {table.name} does not hold there; try: nas profile "
            "under the conditions of use, with a name of its own",
            file=sys.stderr,
        )
    if options.plot is not None:
        with _said():
            _plot(options.plot, points)
    return 0 if lasting else 1


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What cannot be written is said; what was measured is worth its answer all the same."""
    from nas.errors import DiskFullError, RunFolderError

    try:
        yield
    except (DiskFullError, RunFolderError) as error:
        print(f"nas: {error}", file=sys.stderr)


def _wanted(
    options: argparse.Namespace, table: LatencyTable
) -> list[tuple[SearchSpace, Calibration]]:
    from nas.errors import OptionError
    from nas.latency.table import profile_option
    from nas.space import load_space

    chosen = None if options.space is None else load_space(options.space)
    found = []
    for calibration in table.device.calibrations:
        if chosen is not None and calibration.space != chosen.name:
            continue
        if options.plan in (None, calibration.plan):
            found.append((chosen or _space_of(calibration), calibration))
    if not found and table.provenance == "estimated":
        raise OptionError(
            "validate compares a measured table with its device",
            got=f"{table.name}, estimated",
            allowed="a table that nas profile wrote",
            do="nas profile --device my-board --host user@board",
        )
    if not found:
        known = ", ".join(f"{c.space} {c.plan}" for c in table.device.calibrations)
        measure = f"nas profile {profile_option(table.device, table.folder)}"
        raise OptionError(
            f"the table of {table.name} has no such calibration",
            got=f"space {options.space or 'any'}, plan {options.plan or 'any'}",
            allowed=known or "none: the table has blocks alone",
            do="nas devices" if known else measure,
        )
    return found


def _space_of(calibration: Calibration) -> SearchSpace:
    from nas.errors import OptionError
    from nas.space import load_space

    try:
        return load_space(calibration.space)
    except OptionError as cause:
        raise OptionError(
            "the space of a table is found by its name, or named",
            got=f"no space {calibration.space}",
            do=f"--space {calibration.space}.yaml, the file that it was profiled with",
        ) from cause


def _keep(table: LatencyTable, found: Validation) -> tuple[LatencyTable, bool]:
    """The new certificate goes into tables of this machine that are not part of `nas`."""
    from nas.devices.validate import with_certificate
    from nas.files import shipped_folder
    from nas.latency.table import KIND

    shipped = table.folder.parent.resolve() == (shipped_folder() / KIND).resolve()
    if shipped or not found.same_machine or found.version != table.device.runtime_version:
        return table, False
    updated = table
    with _said():
        updated = with_certificate(table, found)
    return updated, updated is not table


def _describe(found: Validation, table: LatencyTable, number: int, kept: bool) -> dict[str, Any]:
    calibration = found.calibration
    return {
        "device": table.name,
        "space": calibration.space,
        "plan": calibration.plan,
        "resolutions": calibration.resolutions,
        "seed": number,
        "holds": found.holds,
        "over_the_upper_bound": found.over,
        "outside_the_interval": found.outside,
        "same_machine": found.same_machine,
        "unsettled": found.unsettled,
        "runtime_version": found.version,
        "runtime_version_of_the_table": table.device.runtime_version,
        "certificate_updated": kept,
        **found.certificate.model_dump(mode="json"),
    }


def _print(answer: dict[str, Any]) -> None:
    sizes = "/".join(map(str, answer["resolutions"]))
    print(
        f"{answer['device']}, {answer['space']} {answer['plan']} {sizes} px: "
        f"{'holds' if answer['holds'] else 'DOES NOT HOLD'}\n"
        f"  {answer['models']} whole models (seed {answer['seed']}): error {answer['mape']:.1%}, "
        f"{answer['within_5']:.0%} within 5 %, {answer['within_10']:.0%} within 10 %, rank "
        f"correlation {answer['rank_correlation']:.3f}\n"
        f"  {answer['over_the_upper_bound']} over the upper bound, "
        f"{answer['outside_the_interval']} outside the interval; timings of one differ by "
        f"{answer['repeat_difference']:.1%}"
    )
    if answer["unsettled"] > BUSY:
        print(
            f"  the machine was not steady: timings of {answer['unsettled']:.0%} of the models "
            "never agreed; try again when nothing else runs there"
        )
    if answer["runtime_version"] != answer["runtime_version_of_the_table"]:
        print(
            f"  measured now with version {answer['runtime_version']}, the table with "
            f"{answer['runtime_version_of_the_table']}"
        )
    if not answer["same_machine"]:
        print("  this is another processor or power mode than the table's: its certificate stays")
    elif answer["certificate_updated"]:
        print("  the table's certificate is updated")


def _plot(path: Path, points: list[list[float]]) -> None:
    from nas.files import write_text
    from nas.report.figures import whole_models_figure

    figure = whole_models_figure(points)
    write_text(path, figure.to_html(include_plotlyjs=True))
