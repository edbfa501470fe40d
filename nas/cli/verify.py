"""`nas search --verify` on the terminal: ask the device before the search, measure after it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.cli.common import open_transport
from nas.errors import NasError, OptionError

if TYPE_CHECKING:
    from nas.search.run_folder import RunFolder
    from nas.search.verify import Verifier


def ask_device(options: argparse.Namespace, devices: Sequence[str]) -> Verifier | None:
    """The device that `--verify` measures, after it answered; `None` without `--verify`.

    Args:
        options: Of the command.
        devices: Of the search, as they were typed.

    Raises:
        OptionError: Several devices and none of them named, a board without `--verify`, or a table
            that nothing can be compared with.
        MeasurementError: The device cannot be reached, or has no such runtime.
    """
    transport = open_transport(options)
    if options.verify is None:
        if options.host is not None or options.adb is not None:
            raise OptionError(
                "--host and --adb say where --verify measures", got="no --verify", do="add --verify"
            )
        return None
    from nas.search.verify import find_verifier

    device = options.verify or (devices[0] if len(devices) == 1 else None)
    if device is None or device not in devices:
        raise OptionError(
            "--verify measures one device of the search",
            got=options.verify or "several devices",
            allowed=", ".join(devices),
            do=f"--verify {devices[0]}",
        )
    verifier = find_verifier(device, transport)
    if verifier.difference:
        print(f"nas: {verifier.difference}", file=sys.stderr)
    return verifier


def measure(folder: RunFolder, verifier: Verifier) -> None:
    """Measure a finished run's models, and say what is over the budget."""
    from nas.cli.progress import TerminalWatcher
    from nas.search.measured import say_measured
    from nas.search.verify import verify_run

    try:
        with TerminalWatcher() as watcher:
            verify_run(
                folder, verifier, progress=lambda done, n: watcher.progress("verify", done, n)
            )
    except (KeyboardInterrupt, NasError) as reason:
        stopped = "\nStopped. " if isinstance(reason, KeyboardInterrupt) else ""
        print(
            f"{stopped}The models in {folder.path} are finished but not measured; the same command "
            "goes on with that.",
            file=sys.stderr,
        )
        raise
    settings = folder.read_run()["settings"]
    only = {verifier.device: settings["device"][verifier.device]}
    models = folder.read_front()["models"]
    for warning in say_measured(models, {**settings, "device": only})[1]:
        print(f"nas: {warning}", file=sys.stderr)
