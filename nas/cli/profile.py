"""`nas profile`: measure this machine and write its latency table."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.common import command_parser, positive, seed, whole
from nas.errors import OptionError

RUNTIMES = ("onnxruntime", "openvino")
if TYPE_CHECKING:
    from nas.latency.table import LatencyTable
    from nas.space import SearchSpace


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = command_parser(
        commands,
        "profile",
        "measure this machine and write its latency table",
        "nas profile --device my-gateway --space mobilenetv3 --plan small",
    )
    parser.add_argument("--device", required=True, metavar="NAME", help="name for this machine")
    parser.add_argument("--space", default="mobilenetv3", help="search space (%(default)s)")
    parser.add_argument("--plan", help="input plan (default: the space's first)")
    parser.add_argument(
        "--resolution", type=positive, action="append", default=[],
        help="input size in pixels; repeat for several (default: all of the plan)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=whole(1, 100_000), action="append", default=[],
        help="number of classes to measure beside 2, 10, 100, 1000 (others are interpolated)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=whole(1, 1024), default=1, help="threads of the runtime (%(default)s)"
    )
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="onnxruntime", help="what runs it (%(default)s)"
    )
    parser.add_argument("--alias", action="append", default=[], help="short name of the device")
    parser.add_argument("--seed", type=seed, default=0, help="of everything random (%(default)s)")
    parser.add_argument(
        "--out", type=Path, help="folder to write NAME/ into (default: the user's data folder)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from nas.cli.progress import TerminalWatcher
    from nas.devices.profile import CLASSES, ProfileSettings, check_resolutions, profile
    from nas.devices.runtimes import open_runtime
    from nas.files import data_folder
    from nas.space import load_space

    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{,99}", options.device):
        raise OptionError(
            "a device's name is its folder's: hardware-runtime[-threads]",
            got=options.device,
            allowed="at most 100 lower-case letters, digits, '.', '_', '-'",
            do="--device my-device",
        )
    space = load_space(options.space)
    plan = options.plan or space.plans[0]
    settings = ProfileSettings(
        name=options.device,
        space=space,
        plan=plan,
        resolutions=check_resolutions(space, plan, options.resolution),
        classes=tuple(sorted({*CLASSES, *options.classes})),
        seed=options.seed,
        aliases=tuple(options.alias),
    )
    out = options.out or data_folder() / "latency_tables"
    for name in (options.device, *options.alias):
        _check_free(name, out / options.device)
    runtime = open_runtime(options.runtime, options.threads)
    try:
        with TerminalWatcher() as watcher:
            table = profile(
                settings, runtime, out, lambda done, n: watcher.progress("profile", done, n)
            )
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from there.", file=sys.stderr)
        raise
    _print(table, space, plan)
    return 0


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
    if table.folder.resolve() == folder.resolve() or table.provenance == "estimated":
        return
    raise OptionError(
        "a device's name or alias is not that of another measured table",
        got=f"{name}, {table.name} in {table.folder} ({table.device.hardware})",
        allowed="a name that nas devices does not list",
        do="--device my-device",
    )


def _print(table: LatencyTable, space: SearchSpace, plan: str) -> None:
    found = table.calibration(space.name, plan, table.device.precision)
    assert found is not None
    held = found.certificate
    print(
        f"{table.folder}\n"
        f"{len(table.rows)} blocks measured. On {held.models} other whole models: error "
        f"{held.mape:.1%}, {held.within_5:.0%} within 5 %, {held.within_10:.0%} within 10 %, rank "
        f"correlation {held.rank_correlation:.3f}, {held.coverage:.0%} under the upper bound "
        f"(prediction x {found.upper_factor:.3f}); two measurements differ by "
        f"{held.repeat_difference:.1%}.\n"
        f"nas search --device {table.name} {space.option} --budget ..."
    )
