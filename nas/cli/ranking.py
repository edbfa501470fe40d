"""`nas search --check-ranking`: how a run's supernet ranks, beside training from scratch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from nas.cli.common import whole
from nas.errors import NasError, OptionError
from nas.search.ranked import FEWEST

if TYPE_CHECKING:
    from nas.search.run_folder import RunFolder
    from nas.search.settings import SearchSettings

EPOCHS = 30


def add_options(add: Callable[..., argparse.Action]) -> None:
    """The options, for a group of them."""
    add(
        "--check-ranking",
        type=whole(FEWEST, 10_000),
        metavar="N",
        help="after the search, train N random architectures (10 or more) from scratch: does the "
        "supernet rank them so?",
    )
    add(
        "--check-epochs",
        type=whole(1, 100_000),
        metavar="N",
        help=f"epochs of each of these trainings ({EPOCHS})",
    )


def check_options(options: argparse.Namespace, settings: SearchSettings) -> None:
    """Refuse one option without the other, and both without a supernet.

    Raises:
        OptionError: There is nothing to train for these epochs, or nothing to check.
    """
    if options.check_ranking and settings.evaluator == "training":
        raise OptionError(
            "--check-ranking checks a supernet",
            got="--evaluator training, which has none",
            do="leave --check-ranking out",
        )
    if options.check_epochs and not options.check_ranking:
        raise OptionError(
            "--check-epochs is for --check-ranking",
            got=f"--check-epochs {options.check_epochs} alone",
            do="--check-ranking 20",
        )


def check(folder: RunFolder, options: argparse.Namespace) -> None:
    """Check the ranks of a finished run; the report is written anew afterwards."""
    from nas.cli.progress import TerminalWatcher
    from nas.search.ranking import check_ranking

    number, epochs = options.check_ranking, options.check_epochs or EPOCHS
    try:
        with TerminalWatcher() as watcher:
            check_ranking(folder, number, epochs, watcher)
    except (KeyboardInterrupt, NasError) as reason:
        stopped = "\nStopped. " if isinstance(reason, KeyboardInterrupt) else ""
        print(
            f"{stopped}The models in {folder.path} are finished, but the supernet's ranks are not "
            "checked; the same command goes on with that.",
            file=sys.stderr,
        )
        raise
    folder.report.unlink(missing_ok=True)
