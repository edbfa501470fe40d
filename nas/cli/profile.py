"""`nas profile`: measure this machine and write its latency table."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import (
    PLAN_HELP,
    PYTHON,
    add_board_options,
    command_parser,
    open_transport,
    positive,
    seed,
    whole,
)
from nas.devices.agent.runtimes import NAMES
from nas.devices.quality import QUALITIES
from nas.errors import OptionError

if TYPE_CHECKING:
    from nas.devices.plan import ProfileSettings
    from nas.devices.relative import Relative
    from nas.latency.device_file import Calibration
    from nas.latency.table import LatencyTable


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "profile",
        "measure this machine or a board and write its latency table",
        "nas profile --device my-gateway --space mobilenetv3 --plan small",
    )
    parser.add_argument("--device", required=True, metavar="NAME", help="name for the device")
    parser.add_argument("--space", default="mobilenetv3", help="search space (%(default)s)")
    parser.add_argument("--plan", help=PLAN_HELP)
    parser.add_argument(
        "--resolution", type=positive, metavar="PIXELS", action="append", default=[],
        help="input size in pixels; repeat for several (default: all of the plan)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=whole(1, 100_000), metavar="N", action="append", default=[],
        help="number of classes to measure beside 2, 10, 100, 1000 (others are interpolated); "
        "repeat for several",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=whole(1, 1024), default=1, help="threads of the runtime (%(default)s)"
    )
    parser.add_argument(
        "--runtime", choices=NAMES, default="onnxruntime", help="what runs it (%(default)s)"
    )
    _add_places(parser)
    parser.add_argument(
        "--quality", choices=tuple(QUALITIES), default="normal",
        help="how much is measured; the rest is interpolated, full: nothing (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--like", metavar="DEVICE",
        help="derive the table from that of another device and a handful of measurements",
    )  # fmt: skip
    parser.add_argument(
        "--alias", action="append", default=[], help="short name of the device; repeat for several"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (%(default)s)")
    parser.add_argument(
        "--out", type=Path, help="folder to write NAME/ into (default: the user's data folder)"
    )
    parser.set_defaults(run=run)


def _add_places(parser: argparse.ArgumentParser) -> None:
    """Options that say where it is measured."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--bundle", type=Path, metavar="ZIP",
        help="only write what python3 ZIP measures on a board that cannot be reached",
    )  # fmt: skip
    where.add_argument(
        "--import", dest="result", type=Path, metavar="JSON",
        help="the result of that bundle; all other options as for --bundle",
    )  # fmt: skip
    add_board_options(parser, where)  # last: usage shows options that exclude each other in a row


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.cli.progress import TerminalWatcher
    from nas.devices.profile import profile
    from nas.files import data_folder

    settings = _settings(options)
    out = options.out or data_folder() / "latency_tables"
    for name in (options.device, *options.alias):
        _check_free(name, out / options.device)
    if options.bundle is not None:
        return _bundle(options, settings, out)
    if options.result is not None:
        _print(_import(options, settings, out), settings)
        return 0
    try:
        with TerminalWatcher() as watcher:
            table = profile(
                settings,
                open_transport(options),
                out,
                lambda done, n: watcher.progress("profile", done, n),
            )
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from there.", file=sys.stderr)
        raise
    _print(table, settings)
    return 0


def _settings(options: argparse.Namespace) -> ProfileSettings:
    from nas.devices.plan import CLASSES, ProfileSettings, check_name, check_resolutions
    from nas.space import load_space

    for name in (options.device, *options.alias):
        check_name(name)
    space = load_space(options.space)
    plan = options.plan or space.plans[0]
    return ProfileSettings(
        name=options.device,
        space=space,
        plan=plan,
        resolutions=check_resolutions(space, plan, options.resolution),
        classes=tuple(sorted({*CLASSES, *options.classes})),
        runtime=options.runtime,
        threads=options.threads,
        seed=options.seed,
        aliases=tuple(options.alias),
        quality=QUALITIES[options.quality],
        like=_relative(options),
    )


def _relative(options: argparse.Namespace) -> Relative | None:
    from nas.devices.relative import Relative
    from nas.latency.table import load_table

    if options.like is None:
        return None
    table = load_table(options.like)
    if table.provenance != "measured":
        raise OptionError(
            "--like takes a measured table",
            got=f"{options.like}, estimated",
            do="nas devices lists which are measured",
        )
    return Relative(table)


def _bundle(options: argparse.Namespace, settings: ProfileSettings, out: Path) -> int:
    from nas.devices.bundle import write_bundle
    from nas.devices.parts import so_far, work_folder
    from nas.devices.plan import make_plan

    _check_bundle(options.bundle)
    plan, _ = so_far(make_plan(settings, out, None), work_folder(settings, out))
    write_bundle(options.bundle, plan.job)
    python = PYTHON if options.python is None else options.python
    there, back = options.bundle.name, f"{options.bundle.stem}.results.json"
    print(
        f"{options.bundle}: {len(plan.job.items)} models\n"
        f"On the board: {shlex.join([python, there])}   (stopped, it goes on where it was)\n"
        f"Then here: the same command with {shlex.join(['--import', back])} instead of --bundle"
    )
    return 0


def _check_bundle(path: Path) -> None:
    """Refuse to write over what is no bundle, or where there is no folder.

    Raises:
        OptionError: It would.
    """
    from nas.devices.bundle import is_bundle

    if path.parent.exists() and not path.parent.is_dir():
        raise OptionError(
            "--bundle is written into a folder",
            got=f"{path}, where {path.parent} is a file",
            do="--bundle board.zip",
        )
    if not path.parent.is_dir():
        raise OptionError(
            "--bundle is written into a folder that exists",
            got=str(path),
            do=shlex.join(["mkdir", "-p", str(path.parent)]),
        )
    if os.path.lexists(path) and not is_bundle(path):
        raise OptionError(
            "--bundle names a new file, or a bundle that is written anew",
            got=str(path),
            do="--bundle board.zip",
        )


def _import(options: argparse.Namespace, settings: ProfileSettings, out: Path) -> LatencyTable:
    from nas.devices.profile import carried
    from nas.devices.result_file import check_file

    check_file(options.result)
    return carried(settings, options.result, out)


def _check_free(name: str, folder: Path) -> None:
    """Refuse a name that would hide another measured table than the one in `folder`.

    Raises:
        OptionError: It would. An estimate may be replaced by a measurement.
    """
    from nas.errors import TableError
    from nas.latency.table import load_table

    try:
        table = load_table(name)
    except (OptionError, TableError):
        return
    if table.folder.resolve() == folder.resolve():
        return
    if table.provenance == "estimated":
        print(
            f"{name} is estimated so far ({table.name}): the measured table takes its place",
            file=sys.stderr,
        )
        return
    raise OptionError(
        "a device's name or alias is not that of another measured table",
        got=f"{name}, {table.name} in {table.folder} ({table.device.hardware})",
        allowed="a name that nas devices does not list",
        do="--device my-device",
    )


def _print(table: LatencyTable, settings: ProfileSettings) -> None:
    device = table.device
    measured = sum(row.source == "measured" for row in table.rows.values())
    print(f"{table.folder}\n{measured} blocks measured on {device.hardware}.")
    if device.interpolation is not None:
        held_out = device.interpolation
        derived = (
            "interpolated" if settings.like is None else f"derived from {settings.like.table.name}"
        )
        print(
            f"{held_out.blocks} blocks are {derived}: measured ones that were left out came out "
            f"off by {held_out.median_error:.1%} (median), nine of ten by at most "
            f"{held_out.p90_error:.1%}."
        )
    for found in table.calibrations(settings.space.name, settings.plan, device.precision):
        _print_calibration(found)
    session = device.session
    if session is not None and session.repeated:
        print(
            f"The machine was not steady: {session.repeated} timings were done again; those of "
            f"{session.unsettled:.0%} of the blocks and models never agreed."
        )
    print_next(table, settings)


def print_next(table: LatencyTable, settings: ProfileSettings) -> None:
    """The command that uses the table, or what it still lacks."""
    from nas.latency.table import table_folders

    space, plan = settings.space, settings.plan
    known = table.calibrations(space.name, plan, table.device.precision)
    done = {resolution for found in known for resolution in found.resolutions}
    left = [resolution for resolution in space.plan(plan).resolutions if resolution not in done]
    if left:
        options = " ".join(f"--resolution {resolution}" for resolution in left)
        print(f"nas search needs the whole plan: the same profile with {options} adds the rest.")
        return
    named = table_folders().get(table.name) == table.folder
    device = table.name if named else str(table.folder)
    print(f"nas search --device {shlex.quote(device)} {space.option} --budget ...")


def _print_calibration(found: Calibration) -> None:
    held = found.certificate
    like = found.bound_models == found.fit_models == held.models
    how = "each left out in turn" if like else "that were not used to make it"
    print(
        f"{found.space} {found.plan} {'/'.join(map(str, found.resolutions))} px, on {held.models} "
        f"whole models {how}: error {held.mape:.1%}, {held.within_5:.0%} "
        f"within 5 %, {held.within_10:.0%} within 10 %, rank correlation "
        f"{held.rank_correlation:.3f}, {held.coverage:.0%} under the upper bound (prediction x "
        f"{found.upper_factor:.3f}); timings of one model differ by {held.repeat_difference:.1%}."
    )
